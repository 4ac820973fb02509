package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/replica"
	"github.com/atolldb/atoll/server"
)

// The exit codes, as --help lists them.
const (
	exitFailure = 1
	exitUsage   = 2
	exitInUse   = 3
	exitDisk    = 4
)

const description = `A member keeps all data of its region under --data and serves applications on
--listen. Flags override the file of --config, which is TOML:

   region = "eu"
   name = "eu-2"
   data = "/var/lib/atoll"
   join = ["10.0.0.2:6222"]             # members of this region
   [listen]
   client = "127.0.0.1:4222"
   route = "10.0.0.1:6222"
   gateway = "10.0.0.1:7222"
   http = "127.0.0.1:8222"
   [regions]                            # gateways of the others
   us = ["10.1.0.1:7222"]

A member that others than this machine can reach takes --tls-ca, --tls-cert,
--tls-key and --secret-file; crdtctl certs makes them. Then members, users and
whoever asks by HTTP prove who they are; see crdtctl user --help.

With --http there are /metrics for Prometheus, /healthz, /readyz, /loglevel
(PUT debug, info, warn or error there), and with --pprof /debug/pprof/.

Exit codes: 0 stopped as asked, 1 other failures (such as a port that is taken),
2 wrong flags or configuration, 3 data directory in use by another process,
4 data damaged, of another cluster, or no space.`

func app() *cli.App {
	return &cli.App{
		Name:            "crdtd",
		Usage:           "run one member of an Atoll cluster",
		Description:     description,
		Version:         server.Version,
		HideHelpCommand: true,
		// A comma is a part of a password.
		DisableSliceFlagSeparator: true,
		Action:                    run,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "read the configuration from `FILE`"},
			&cli.StringFlag{Name: "data", Usage: "keep everything in directory `DIR`"},
			&cli.StringFlag{Name: "region", Usage: "`NAME` of the region that this member stands in"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of this member, unique in the cluster (default: the region's; required with --join)"},
			&cli.StringFlag{Name: "zone", Usage: "`NAME` of what this member fails together with, such as a rack"},
			&cli.IntFlag{Name: "weight", Usage: "hold `N` times as much as a member of weight 1", DefaultText: "1"},
			&cli.StringFlag{Name: "cluster", Usage: "`NAME` of the cluster (default: atoll)"},
			&cli.StringFlag{Name: "listen", Usage: "serve applications on `HOST:PORT` (default: 127.0.0.1:4222)"},
			&cli.StringFlag{Name: "listen-route", Usage: "meet members of the own region on `HOST:PORT` (default: 127.0.0.1, any port)"},
			&cli.StringFlag{Name: "listen-gateway", Usage: "meet members of other regions on `HOST:PORT` (default: 127.0.0.1, any port)"},
			&cli.StringFlag{Name: "gateway-advertise", Usage: "tell other regions to connect to `HOST:PORT`"},
			&cli.StringSliceFlag{Name: "join", Usage: "`HOST:PORT` at which a member of any region serves applications, or the route address of one of the own region (repeatable)"},
			&cli.StringSliceFlag{Name: "peer", Usage: "gateway address `REGION=HOST:PORT` of a member of another region (repeatable)"},
			&cli.StringSliceFlag{Name: "nats", Usage: "use the NATS server at `URL` instead of one of its own: nats://[USER:PASSWORD@]HOST:PORT or tls://... (repeatable, those of the own region)"},
			&cli.StringFlag{Name: "nats-creds", Usage: "log in there with the JWT and the seed in `FILE`"},
			&cli.StringFlag{Name: "nats-nkey", Usage: "log in there with the seed of an nkey in `FILE`"},
			&cli.StringFlag{Name: "nats-ca", Usage: "trust those servers by the certificates in `FILE` (default: the system's)"},
			&cli.StringFlag{Name: "nats-cert", Usage: "show them the certificate in `FILE`"},
			&cli.StringFlag{Name: "nats-key", Usage: "whose key is in `FILE`"},
			&cli.IntFlag{Name: "shards", Usage: "number of shards of the cluster, fixed at its creation", DefaultText: "256"},
			&cli.StringFlag{Name: "secret", Usage: "`SECRET` of the cluster, the same in all members", EnvVars: []string{"ATOLL_SECRET"}},
			&cli.StringFlag{Name: "secret-file", Usage: "read the secret from `FILE`"},
			&cli.StringFlag{Name: "tls-ca", Usage: "let in only who proves who it is; members, by certificates of the authority in `FILE`"},
			&cli.StringFlag{Name: "tls-cert", Usage: "this member's certificate is in `FILE`"},
			&cli.StringFlag{Name: "tls-key", Usage: "whose key is in `FILE`"},
			&cli.BoolFlag{Name: "insecure", Usage: "listen beyond loopback without that: everybody is let in"},
			&cli.StringFlag{Name: "durability", Usage: "fsync: acknowledged writes are on disk; os: power loss may take them back (default: fsync)"},
			&cli.IntFlag{Name: "log-limit", Usage: "keep `N` events of each writer and shard for peers that were away", DefaultText: "1024"},
			&cli.DurationFlag{Name: scrubInterval, Usage: "compare all that is stored with its digests every `TIME`, such as 90m, 0: never", DefaultText: "24h"},
			&cli.IntFlag{Name: "scrub-rate", Usage: "read at most `N` MiB per second for that", DefaultText: "16"},
			&cli.IntFlag{Name: "join-rate", Usage: "take over at most `N` MiB per second of shards that this member is to own", DefaultText: "64"},
			&cli.IntFlag{Name: "hint-limit", Usage: "keep at most `N` MiB of writes for owners that cannot be reached, and refuse more", DefaultText: "64"},
			&cli.DurationFlag{Name: heartbeat, Usage: "say every `TIME` that the member is there, the same in the whole cluster", DefaultText: "250ms"},
			&cli.Float64Flag{Name: "phi", Usage: "suspect a member when its silence has a chance of 1 in 10^`N`, by the rhythm that it had", DefaultText: "8"},
			&cli.DurationFlag{Name: downAfter, Usage: "a majority finds a member down that was silent for `TIME`", DefaultText: "3s"},
			&cli.StringFlag{Name: "http", Usage: "serve metrics and health to who runs the member on `HOST:PORT` (default: nowhere)"},
			&cli.BoolFlag{Name: "pprof", Usage: "serve profiles of the process there, too"},
			&cli.DurationFlag{Name: clockOffset, Hidden: true}, // for tests of a wrong clock
			&cli.StringFlag{Name: "log-level", Value: "info", Usage: "debug, info, warn or error"},
			&cli.StringFlag{Name: "log-format", Value: "text", Usage: "text or json"},
		},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return fmt.Errorf("%w: %s; see crdtd --help", server.ErrConfig, inWords(err))
		},
	}
}

// The flags that take a time.
const (
	scrubInterval = "scrub-interval"
	heartbeat     = "heartbeat"
	downAfter     = "down-after"
	clockOffset   = "clock-offset"
)

// inWords returns what package flag says of a wrong command line, in the words
// of this program. It has only its text to read.
func inWords(err error) string {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return fmt.Sprintf("there is no flag --%s", strings.TrimPrefix(name, "-"))
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return fmt.Sprintf("--%s needs a value", strings.TrimPrefix(name, "-"))
	}
	if rest, ok := strings.CutPrefix(text, "invalid value "); ok {
		value, rest, _ := strings.Cut(rest, " for flag -")
		name, _, _ := strings.Cut(rest, ":")
		kind := "a number"
		if slices.Contains([]string{scrubInterval, heartbeat, downAfter, clockOffset}, name) {
			kind = "a time such as 250ms or 24h"
		}
		return fmt.Sprintf("--%s %s; it takes %s", name, value, kind)
	}
	return text
}

// required checks what a member cannot do without, before anything is made.
func required(c server.Config) error {
	switch {
	case c.Region == "":
		return fmt.Errorf("%w: no region given; --region NAME says which one this member stands in", server.ErrConfig)
	case c.Data == "":
		return fmt.Errorf("%w: no data directory given; --data DIR says where this member keeps everything", server.ErrConfig)
	}
	return nil
}

// configOf reads the file, if one is given, and puts the flags on top.
func configOf(c *cli.Context) (server.Config, error) {
	var config server.Config
	if c.Args().Present() {
		return config, fmt.Errorf("%w: unexpected argument %q; see crdtd --help", server.ErrConfig, c.Args().First())
	}
	if path := c.String("config"); path != "" {
		var err error
		if config, err = server.LoadConfig(path); err != nil {
			return config, err
		}
	}
	for name, field := range map[string]*string{
		"data": &config.Data, "zone": &config.Zone, "region": &config.Region, "name": &config.Name, "cluster": &config.Cluster,
		"listen": &config.Listen.Client, "listen-route": &config.Listen.Route, "listen-gateway": &config.Listen.Gateway, "http": &config.Listen.HTTP,
		"gateway-advertise": &config.GatewayAdvertise, "secret": &config.Secret, "secret-file": &config.SecretFile, "durability": &config.Durability,
		"tls-ca": &config.TLSCA, "tls-cert": &config.TLSCert, "tls-key": &config.TLSKey,
		"nats-creds": &config.NATSCredentials, "nats-nkey": &config.NATSNkey,
		"nats-ca": &config.NATSCA, "nats-cert": &config.NATSCert, "nats-key": &config.NATSKey,
	} {
		if c.IsSet(name) {
			*field = c.String(name)
		}
	}
	for name, field := range map[string]*int{"shards": &config.Shards, "log-limit": &config.LogLimit, "scrub-rate": &config.ScrubRate, "join-rate": &config.JoinRate, "hint-limit": &config.HintLimit, "weight": &config.Weight} {
		if c.IsSet(name) {
			if *field = c.Int(name); *field < 1 {
				return config, fmt.Errorf("%w: --%s %d; it takes at least 1", server.ErrConfig, name, *field)
			}
		}
	}
	if c.IsSet(scrubInterval) {
		switch config.ScrubInterval = c.Duration(scrubInterval); {
		case config.ScrubInterval < 0:
			return config, fmt.Errorf("%w: --%s %v; it takes 0 or more, such as 24h", server.ErrConfig, scrubInterval, config.ScrubInterval)
		case config.ScrubInterval == 0:
			config.ScrubInterval = server.Never
		}
	}
	for name, field := range map[string]*time.Duration{heartbeat: &config.Heartbeat, downAfter: &config.DownAfter, clockOffset: &config.ClockOffset} {
		if c.IsSet(name) {
			if *field = c.Duration(name); *field == 0 && name != clockOffset { // it would be taken for the default
				return config, fmt.Errorf("%w: --%s 0s; it takes more, such as 250ms", server.ErrConfig, name)
			}
		}
	}
	for name, field := range map[string]*[]string{"nats": &config.NATS, "join": &config.Join} {
		if c.IsSet(name) {
			*field = c.StringSlice(name)
		}
	}
	for name, field := range map[string]*bool{"pprof": &config.Pprof, "insecure": &config.Insecure} {
		if c.IsSet(name) {
			*field = c.Bool(name)
		}
	}
	if c.IsSet("phi") {
		if config.Phi = c.Float64("phi"); config.Phi == 0 {
			return config, fmt.Errorf("%w: --phi 0; it takes 1 to 100", server.ErrConfig)
		}
	}
	if c.IsSet("peer") {
		config.Regions = map[string][]string{}
		for _, peer := range c.StringSlice("peer") {
			region, address, ok := strings.Cut(peer, "=")
			if !ok {
				return config, fmt.Errorf("%w: --peer %q; it takes REGION=HOST:PORT", server.ErrConfig, peer)
			}
			config.Regions[region] = append(config.Regions[region], address)
		}
	}
	return config, nil
}

// advice says what to do about an error that does not say so itself.
func advice(err error) string {
	switch {
	case errors.Is(err, store.ErrCorrupt):
		return "; start with an empty directory, and the member pulls what it had from the others; one that is alone needs a copy of the directory"
	case errors.Is(err, store.ErrNoSpace):
		return "; free some space on that disk"
	}
	return ""
}

func exitCode(err error) int {
	switch {
	case errors.Is(err, server.ErrConfig):
		return exitUsage
	case errors.Is(err, store.ErrInUse):
		return exitInUse
	case errors.Is(err, store.ErrCorrupt), errors.Is(err, store.ErrNoSpace), errors.Is(err, replica.ErrForeign):
		return exitDisk
	}
	return exitFailure
}
