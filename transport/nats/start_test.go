package nats

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// A port that is taken between the check and the start must still come back
// as an error: the server itself only logs it.
func TestServerCannotListen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	for name, o := range map[string]Options{
		"client":  {ClientListen: address},
		"cluster": {ClusterListen: address},
		"gateway": {GatewayListen: address},
	} {
		o.Region, o.Name = "eu", "eu-1"
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		o = o.withDefaults()
		err := (&Server{log: newServerLog(o.Logger)}).listen(ctx, o)
		cancel()
		if err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("%s: err = %v, want that the address is in use", name, err)
		}
	}
}

// Each of these was found to matter; none of them shows in a short test.
func TestServerSettings(t *testing.T) {
	o := serverOptions(Options{
		Region: "eu", Name: "eu-1",
		Gateways: map[string][]string{"eu": {"127.0.0.1:1"}, "us": {"127.0.0.1:2", "127.0.0.1:3"}},
	}.withDefaults())
	for name, holds := range map[string]bool{
		"a silent link does not throttle publishers":    o.NoFastProducerStall,
		"a burst fits into the queue of a receiver":     o.MaxPending == 256<<20,
		"a silent link is noticed in 6 s":               o.PingInterval == 2*time.Second && o.MaxPingsOut <= 2,
		"a dead gateway is closed":                      o.Gateway.WriteDeadline == 2*time.Second && o.Gateway.WriteTimeout == server.WriteTimeoutPolicyClose,
		"a dead route is closed":                        o.Cluster.WriteDeadline == 2*time.Second && o.Cluster.WriteTimeout == server.WriteTimeoutPolicyClose,
		"cluster and gateway are the region":            o.Cluster.Name == "eu" && o.Gateway.Name == "eu",
		"signals are the program's business":            o.NoSigs,
		"nothing is stored":                             !o.JetStream,
		"the log is on":                                 !o.NoLog,
		"other regions are listed, the own one is not":  len(o.Gateway.Gateways) == 1 && len(o.Gateway.Gateways[0].URLs) == 2,
		"clients are served on loopback by default":     o.Host == "127.0.0.1" && o.Port == server.RANDOM_PORT,
		"the region is served on loopback by default":   o.Cluster.Host == "127.0.0.1" && o.Cluster.Port == server.RANDOM_PORT,
		"other regions are served on loopback likewise": o.Gateway.Host == "127.0.0.1" && o.Gateway.Port == server.RANDOM_PORT,
	} {
		if !holds {
			t.Errorf("not so: %s", name)
		}
	}
}
