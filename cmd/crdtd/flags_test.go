package main

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/server"
)

// configFrom returns what crdtd makes of its arguments.
func configFrom(t *testing.T, args ...string) (config server.Config) {
	t.Helper()
	a := app()
	a.Action = func(c *cli.Context) (err error) {
		config, err = configOf(c)
		return err
	}
	if err := a.RunContext(t.Context(), append([]string{"crdtd"}, args...)); err != nil {
		t.Fatal(err)
	}
	return config
}

func want(t *testing.T, got, want server.Config) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

var everything = server.Config{
	Cluster: "c", Name: "n", Region: "eu", Data: "d",
	Listen: server.Listen{Client: "127.0.0.1:1", Route: "127.0.0.1:2", Gateway: "127.0.0.1:3", HTTP: "127.0.0.1:12"}, Pprof: true,
	Join: []string{"127.0.0.1:4", "127.0.0.1:5"},
	Regions: map[string][]string{
		"us": {"127.0.0.1:6", "127.0.0.1:7"}, "ap": {"127.0.0.1:8"},
	},
	Shards: 9, Secret: "s", Durability: "os", LogLimit: 10, GatewayAdvertise: "127.0.0.1:11",
	ScrubInterval: 90 * time.Minute, ScrubRate: 12, JoinRate: 30, HintLimit: 31, Heartbeat: 13 * time.Millisecond, Phi: 14.5, DownAfter: 15 * time.Second,
	NATS: []string{"127.0.0.1:16", "127.0.0.1:17"}, NATSCredentials: "18", NATSNkey: "19", NATSCA: "20", NATSCert: "21", NATSKey: "22",
	SecretFile: "23", TLSCA: "24", TLSCert: "25", TLSKey: "26", Insecure: true,
}

func TestFlags(t *testing.T) {
	want(t, configFrom(t), server.Config{})
	want(t, configFrom(t,
		"--cluster", "c", "--name", "n", "--region", "eu", "--data", "d",
		"--listen", "127.0.0.1:1", "--listen-route", "127.0.0.1:2", "--listen-gateway", "127.0.0.1:3",
		"--join", "127.0.0.1:4", "--join", "127.0.0.1:5",
		"--peer", "us=127.0.0.1:6", "--peer", "us=127.0.0.1:7", "--peer", "ap=127.0.0.1:8",
		"--http", "127.0.0.1:12", "--pprof",
		"--shards", "9", "--secret", "s", "--durability", "os", "--log-limit", "10", "--gateway-advertise", "127.0.0.1:11",
		"--scrub-interval", "1h30m", "--scrub-rate", "12", "--join-rate", "30", "--hint-limit", "31", "--heartbeat", "13ms", "--phi", "14.5", "--down-after", "15s",
		"--nats", "127.0.0.1:16", "--nats", "127.0.0.1:17",
		"--nats-creds", "18", "--nats-nkey", "19", "--nats-ca", "20", "--nats-cert", "21", "--nats-key", "22",
		"--secret-file", "23", "--tls-ca", "24", "--tls-cert", "25", "--tls-key", "26", "--insecure",
	), everything)
	want(t, configFrom(t, "--clock-offset", "-1h"), server.Config{ClockOffset: -time.Hour})
	want(t, configFrom(t, "--nats", "nats://u:p,w@127.0.0.1:1"), server.Config{NATS: []string{"nats://u:p,w@127.0.0.1:1"}})
	want(t, configFrom(t, "--scrub-interval", "0s"), server.Config{ScrubInterval: -1}) // never
}

func TestFileAndFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "atoll.toml")
	err := os.WriteFile(file, []byte(`
cluster = "c"
name = "n"
region = "eu"
data = "d"
join = ["127.0.0.1:4", "127.0.0.1:5"]
shards = 9
secret = "s"
secret_file = "23"
tls_ca = "24"
tls_cert = "25"
tls_key = "26"
insecure = true
durability = "os"
log_limit = 10
scrub_interval = "1h30m"
scrub_rate = 12
join_rate = 30
hint_limit = 31
heartbeat = "13ms"
phi = 14.5
down_after = "15s"
gateway_advertise = "127.0.0.1:11"
pprof = true
nats = ["127.0.0.1:16", "127.0.0.1:17"]
nats_creds = "18"
nats_nkey = "19"
nats_ca = "20"
nats_cert = "21"
nats_key = "22"
[listen]
client = "127.0.0.1:1"
route = "127.0.0.1:2"
gateway = "127.0.0.1:3"
http = "127.0.0.1:12"
[regions]
us = ["127.0.0.1:6", "127.0.0.1:7"]
ap = ["127.0.0.1:8"]
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	want(t, configFrom(t, "--config", file), everything)

	changed := everything
	changed.Data, changed.Listen.Route, changed.LogLimit = "e", "127.0.0.1:22", 1
	changed.NATS, changed.NATSNkey = []string{"127.0.0.1:26"}, "29"
	changed.Listen.HTTP, changed.Pprof = "127.0.0.1:23", false
	changed.Regions = map[string][]string{"sa": {"127.0.0.1:9"}}
	want(t, configFrom(t, "--config", file, "--data", "e", "--listen-route", "127.0.0.1:22", "--log-limit", "1",
		"--http", "127.0.0.1:23", "--pprof=false", "--nats", "127.0.0.1:26", "--nats-nkey", "29", "--peer", "sa=127.0.0.1:9"), changed)
}

// A secret on the command line is for all to see.
func TestSecretOfTheEnvironment(t *testing.T) {
	t.Setenv("ATOLL_SECRET", "hidden")
	want(t, configFrom(t), server.Config{Secret: "hidden"})
	want(t, configFrom(t, "--secret", "shown"), server.Config{Secret: "shown"})
}
