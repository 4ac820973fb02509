package nats

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strconv"
	"time"
)

// Options configures a member's embedded server. Region and Name are required.
//
// A listen address is host:port with an explicit host; port 0 is a free one,
// which Server.Addresses tells. The default listens on loopback only.
type Options struct {
	// Region is the name of the member's region and Name its own, unique in
	// the region: 1 to 64 of A-Z a-z 0-9 _ -
	Region, Name string

	// ClientListen is where clients connect; "127.0.0.1:0" if empty.
	ClientListen string
	// ClusterListen is where the other members of the region connect;
	// "127.0.0.1:0" if empty.
	ClusterListen string
	// GatewayListen is where members of other regions connect; "127.0.0.1:0"
	// if empty.
	GatewayListen string
	// GatewayAdvertise is the host:port that other regions are told to connect
	// to; the bound address if empty.
	GatewayAdvertise string

	// Routes are cluster addresses, host:port, of members of the own region;
	// one that is up suffices. Empty for the first member.
	Routes []string
	// Gateways are gateway addresses, host:port, of members of each region.
	// Every region should list every other: one that is only heard of is
	// forgotten when it is away. An entry for the own region is ignored.
	Gateways map[string][]string

	// Lock says who is let in; nil: everybody is.
	Lock *Lock

	// MaxInFlight is the number of requests handled at once, beyond which
	// requesters get ErrBusy; 1024 if 0.
	MaxInFlight int

	// Logger receives the log of server and connections; slog.DiscardHandler
	// if nil.
	Logger *slog.Logger

	// Lost is called with the reason whenever publications may have been
	// missed: disconnected, reconnected, messages dropped because a subscriber
	// was slow. It must return quickly. May be nil.
	Lost func(reason string)

	// SolicitDelay is how long after its start a server first connects to
	// other regions; 1 s, NATS' own, if 0. It holds for all servers of the
	// process that start later. Tests and demonstrations set a few ms.
	SolicitDelay time.Duration
}

const anyLoopbackPort = "127.0.0.1:0"

var validName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (o Options) withDefaults() Options {
	for _, listen := range []*string{&o.ClientListen, &o.ClusterListen, &o.GatewayListen} {
		if *listen == "" {
			*listen = anyLoopbackPort
		}
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = 1024
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Lost == nil {
		o.Lost = func(string) {}
	}
	return o
}

// validate says what is wrong with options that have their defaults.
func (o Options) validate() error {
	for _, check := range []struct{ field, name string }{{"Region", o.Region}, {"Name", o.Name}} {
		if err := checkName(check.field, check.name); err != nil {
			return err
		}
	}
	for _, check := range []struct{ field, address string }{
		{"ClientListen", o.ClientListen}, {"ClusterListen", o.ClusterListen}, {"GatewayListen", o.GatewayListen},
	} {
		if _, _, err := splitAddress(check.field, check.address, 0); err != nil {
			return err
		}
	}
	if o.GatewayAdvertise != "" {
		if _, _, err := splitAddress("GatewayAdvertise", o.GatewayAdvertise, 1); err != nil {
			return err
		}
	}
	for _, address := range o.Routes {
		if _, _, err := splitAddress("Routes", address, 1); err != nil {
			return err
		}
	}
	for region, addresses := range o.Gateways {
		if err := checkName("Gateways", region); err != nil {
			return err
		}
		if len(addresses) == 0 {
			return fmt.Errorf("nats: Gateways: region %q has no address", region)
		}
		for _, address := range addresses {
			if _, _, err := splitAddress("Gateways", address, 1); err != nil {
				return err
			}
		}
	}
	if o.Lock != nil {
		if err := o.Lock.validate(); err != nil {
			return err
		}
	}
	if o.MaxInFlight < 0 {
		return fmt.Errorf("nats: MaxInFlight: %d must not be negative", o.MaxInFlight)
	}
	if o.SolicitDelay < 0 {
		return fmt.Errorf("nats: SolicitDelay: %v must not be negative", o.SolicitDelay)
	}
	return nil
}

func checkName(field, name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("nats: %s: %q is not 1 to 64 of A-Z a-z 0-9 _ -", field, name)
	}
	return nil
}

// splitAddress takes host:port apart. The port is at least lowest; -1 is
// taken for 0 where that is allowed, as NATS does.
func splitAddress(field, address string, lowest int) (host string, port int, err error) {
	fail := func(what string) (string, int, error) {
		return "", 0, fmt.Errorf("nats: %s: %q %s", field, address, what)
	}
	host, text, err := net.SplitHostPort(address)
	if addr := (*net.AddrError)(nil); errors.As(err, &addr) {
		return fail("is not host:port: " + addr.Err)
	}
	if host == "" {
		return fail("has no host: 127.0.0.1 means this machine, 0.0.0.0 all its interfaces")
	}
	port, err = strconv.Atoi(text)
	if port == -1 {
		port = 0
	}
	if err != nil || port < lowest || port > 65535 {
		return fail(fmt.Sprintf("has a port that is not a number from %d to 65535", lowest))
	}
	return host, port, nil
}
