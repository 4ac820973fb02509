package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
)

// attached says that the member uses servers of an existing NATS deployment.
func (c Config) attached() bool { return len(c.NATS) > 0 }

// checkAttached checks that a member has servers of its own or uses others, and
// whether it can log in there as it is told to.
func (c Config) checkAttached(named bool) error {
	if !c.attached() {
		if c.NATSCredentials+c.NATSNkey+c.NATSCA+c.NATSCert+c.NATSKey != "" {
			return fmt.Errorf("%w: it is said how to log in to a NATS server, and not to which: name one as nats", ErrConfig)
		}
		return nil
	}
	if !named {
		return fmt.Errorf("%w: a member that uses an existing NATS deployment needs a name of its own", ErrConfig)
	}
	for _, own := range []struct {
		what  string
		given bool
	}{
		{"an address to listen for clients", c.Listen.Client != ""},
		{"an address to listen for routes", c.Listen.Route != ""},
		{"an address to listen for gateways", c.Listen.Gateway != ""},
		{"a gateway address to advertise", c.GatewayAdvertise != ""},
		{"a member to join", len(c.Join) > 0},
		{"a gateway of another region", len(c.Regions) > 0},
	} {
		if own.given {
			return fmt.Errorf("%w: %s is given, which is for a member with a NATS server of its own, and so is nats, which is for one that uses others", ErrConfig, own.what)
		}
	}
	return ofAttaching(nats.CheckAttach(c.attachment()))
}

// ofAttaching gives an error of attaching the words and the kind of this package.
func ofAttaching(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %s", ErrConfig, strings.TrimPrefix(err.Error(), "nats: "))
}

func (c Config) attachment() nats.AttachOptions {
	return nats.AttachOptions{
		Region: c.Region, Name: c.Name, Servers: c.NATS, Credentials: c.NATSCredentials, Nkey: c.NATSNkey,
		CA: c.NATSCA, Certificate: c.NATSCert, Key: c.NATSKey,
	}
}

func (c Config) attach(ctx context.Context, log *slog.Logger, lost func(string)) (*nats.Server, error) {
	options := c.attachment()
	options.Logger, options.Lost = log, lost
	s, err := nats.Attach(ctx, options)
	return s, ofAttaching(err)
}

// meeting is what a member finds at the servers of others when it starts.
type meeting struct {
	others bool     // there may be other members, of any region
	own    bool     // and of the own one
	told   []string // other regions that somebody there knows
}

// meet asks who is there, before anything is made. With no server in reach there
// may be anybody.
func (c Config) meet(ctx context.Context) (Config, error) {
	conn, err := nats.Attach(ctx, c.attachment())
	if err != nil {
		return c, ofAttaching(err)
	}
	defer conn.Close()
	c.met = &meeting{others: true, own: true}
	if !conn.Connected() {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	said, err := conn.Request(ctx, transport.Info(transport.Trusted), nil)
	if errors.Is(err, transport.ErrNoResponders) {
		c.met = &meeting{}
		return c, nil
	}
	if err != nil { // somebody is there, and busy
		return c, nil
	}
	var info pb.ClusterInfo
	if err := proto.Unmarshal(said, &info); err != nil {
		return c, fmt.Errorf("%w: who answers at the NATS server makes no sense: %w", ErrConfig, err)
	}
	return c.meets(&info)
}

// meets takes in what somebody says of the cluster at the servers.
func (c Config) meets(info *pb.ClusterInfo) (Config, error) {
	const who = "who answers at the NATS server"
	if e := info.GetError(); e != nil {
		return c, fmt.Errorf("%w: %s does not say what there is: %.300q", ErrConfig, who, e.GetText())
	}
	if err := checkTold(who, info.GetCluster(), int(info.GetShards())); err != nil {
		return c, err
	}
	switch {
	case c.Cluster != "" && c.Cluster != info.GetCluster():
		return c, fmt.Errorf("%w: the cluster at the NATS server is %q, not %q", ErrConfig, info.GetCluster(), c.Cluster)
	case c.Shards != 0 && c.Shards != int(info.GetShards()):
		return c, fmt.Errorf("%w: the cluster at the NATS server has %d shards, not %d", ErrConfig, info.GetShards(), c.Shards)
	}
	c.Cluster, c.Shards = info.GetCluster(), int(info.GetShards())
	regions := append(info.GetRegions(), info.GetRegion())
	c.met = &meeting{others: true, own: slices.Contains(regions, c.Region)}
	for _, name := range regions {
		if name != c.Region && namePattern.MatchString(name) && !slices.Contains(c.met.told, name) {
			c.met.told = append(c.met.told, name)
		}
	}
	return c, nil
}

// told returns the other regions that there are, as far as this member was told.
func (c Config) told() []string {
	if c.met != nil {
		return c.met.told
	}
	return c.otherRegions()
}

// joins says whether there are other members, or may be.
func (c Config) joins() bool {
	if c.met != nil {
		return c.met.others
	}
	return len(c.asked) > 0 || len(c.Join)+len(c.Regions) > 0
}

// seeds says whether there are other members in the own region, or may be.
func (c Config) seeds() bool {
	if c.met != nil {
		return c.met.own
	}
	return len(c.Join) > 0
}

// listedRegions returns the other regions that the table of members has, in the
// order of their names: how near they are, only the servers know.
func (s *Server) listedRegions() []string {
	var regions []string
	members, _ := s.replica.Table() // what cannot be read now, is asked for again
	for _, m := range members {
		if r := m.GetRegion(); r != s.config.Region && !slices.Contains(regions, r) {
			regions = append(regions, r)
		}
	}
	slices.Sort(regions)
	return regions
}

// clock returns the clock of the member; nil is the machine's.
func (c Config) clock() func() time.Time {
	if c.ClockOffset == 0 {
		return nil
	}
	return func() time.Time { return time.Now().Add(c.ClockOffset) }
}
