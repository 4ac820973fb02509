package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/atolldb/atoll/client"
	pb "github.com/atolldb/atoll/proto"
)

// probeTimeout is how long an address to join may take to say what listens
// there, and a member to say who else there is.
const probeTimeout = 3 * time.Second

// unmetPause is the time between two looks at a member that is joining others
// itself.
const unmetPause = 50 * time.Millisecond

// errUnmet is what becomes of a question to a member that is joining others.
var errUnmet = errors.New("was told of others, and has met none of them yet")

// greets returns what a NATS server says of itself when somebody connects, or
// nil.
func greets(ctx context.Context, address string) map[string]any {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if conn.SetReadDeadline(deadline) != nil {
		return nil
	}
	return greeting(conn)
}

// maxGreeting bounds what is read of a greeting.
const maxGreeting = 16 << 10

// greeting reads what a NATS server says when somebody connects: nil if it is
// none, or longer than that of any.
func greeting(r io.Reader) map[string]any {
	line, err := bufio.NewReaderSize(r, maxGreeting).ReadSlice('\n')
	said, ok := bytes.CutPrefix(line, []byte("INFO "))
	if err != nil || !ok {
		return nil
	}
	var info map[string]any
	if json.Unmarshal(said, &info) != nil {
		return nil
	}
	return info
}

// contact is a member to join, at the address at which it serves clients.
type contact struct {
	address string
	member  string // its name, empty if what listens there does not tell
}

// contactAt says who serves clients at an address. What listens for routes and
// gateways greets otherwise.
func contactAt(ctx context.Context, address string) (contact, bool) {
	member, ok := memberOf(greets(ctx, address))
	return contact{address: address, member: member}, ok
}

// memberOf returns the name in a greeting, and whether it is one for clients.
func memberOf(said map[string]any) (member string, takesClients bool) {
	_, takesClients = said["client_ip"]
	server, _ := said["server_name"].(string)
	_, member, _ = strings.Cut(server, ".") // after the region
	if !takesClients || !namePattern.MatchString(member) {
		member = ""
	}
	return member, takesClients
}

// discover replaces addresses to join at which members serve clients by those
// that they know: the routes of the own region, the gateways of others. The
// rest are taken for routes of the own region, that may be up later.
func (c Config) discover(ctx context.Context) (Config, error) {
	if c.attached() {
		return c.meet(ctx)
	}
	var routes []string
	var contacts []contact
	for _, address := range c.Join {
		if of, ok := contactAt(ctx, address); ok {
			contacts = append(contacts, of)
		} else {
			routes = append(routes, address)
		}
	}
	if len(contacts) == 0 {
		return c, nil
	}
	status, members, err := c.surveyAny(ctx, contacts)
	if err != nil {
		return c, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	c.Join = routes
	for _, of := range contacts {
		c.asked = append(c.asked, of.address)
	}
	return c.joining(status, members)
}

// joining takes in what a member to join says of its cluster, and who else there
// is.
func (c Config) joining(status *pb.Status, members []*pb.Member) (Config, error) {
	cluster, shards := status.GetCluster(), len(status.GetShards())-1 // and the system's
	if err := checkTold("the member to join", cluster, shards); err != nil {
		return c, err
	}
	switch {
	case c.Cluster != "" && c.Cluster != cluster:
		return c, fmt.Errorf("%w: the member to join is of the cluster %q, not %q", ErrConfig, cluster, c.Cluster)
	case c.Shards != 0 && c.Shards != shards:
		return c, fmt.Errorf("%w: the cluster to join has %d shards, not %d", ErrConfig, shards, c.Shards)
	}
	c.Cluster, c.Shards = cluster, shards
	return c.with(members), nil
}

// checkTold says whether what somebody tells of a cluster can be: what is left
// out would be taken for a default, and the data directory made for that.
func checkTold(who, cluster string, shards int) error {
	if !namePattern.MatchString(cluster) || shards < 1 || shards > maxShards {
		return fmt.Errorf("%w: %s tells of a cluster %.64q of %d shards, which cannot be", ErrConfig, who, cluster, shards)
	}
	return nil
}

// surveyAny asks one member after the other, until one answers.
func (c Config) surveyAny(ctx context.Context, contacts []contact) (*pb.Status, []*pb.Member, error) {
	var failed error
	for _, of := range contacts {
		status, members, err := c.survey(ctx, of)
		if err == nil {
			return status, members, nil
		}
		failed = errors.Join(failed, fmt.Errorf("the member to join at %s does not say who else there is: %w", of.address, err))
	}
	return nil, nil, failed
}

// survey asks a member for its cluster and its table, until it knows: one that
// has only just been started may not serve yet, or have met nobody yet.
func (c Config) survey(ctx context.Context, of contact) (*pb.Status, []*pb.Member, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	pause := time.NewTicker(unmetPause)
	defer pause.Stop()
	for {
		status, members, err := c.surveyOnce(ctx, of)
		if !errors.Is(err, errUnmet) && !errors.Is(err, client.ErrUnreachable) {
			return status, members, err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil, nil, err
		}
	}
}

// surveyOnce asks the member at the address, and no other that takes part in the
// same queue group: one that is itself joining may know of others, but not of the
// one to join.
func (c Config) surveyOnce(ctx context.Context, of contact) (status *pb.Status, members []*pb.Member, err error) {
	options, err := c.asMember([]string{of.address})
	if err != nil {
		return nil, nil, err
	}
	conn, err := client.Connect(ctx, options)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if status, err = conn.Status(ctx, of.member, true); err != nil {
		return nil, nil, err
	}
	if status.GetUnmet() {
		return nil, nil, fmt.Errorf("%s %w", status.GetMember(), errUnmet)
	}
	views, err := conn.Members(ctx, status.GetMember())
	for _, v := range views {
		members = append(members, v.GetMember())
	}
	return status, members, err
}

// with adds the addresses of members to those that are named. Who is of a region
// that can be none is left out: the network would not start with it.
func (c Config) with(members []*pb.Member) Config {
	c.Join = slices.Clone(c.Join)
	regions := map[string][]string{}
	for region, addresses := range c.Regions {
		regions[region] = slices.Clone(addresses)
	}
	for _, m := range members {
		switch {
		case m.GetName() == c.Name || m.GetName() == "" || !namePattern.MatchString(m.GetRegion()):
		case m.GetRegion() == c.Region:
			c.Join = addAddress(c.Join, m.GetRoute())
		default:
			if with := addAddress(regions[m.GetRegion()], m.GetGateway()); len(with) > 0 {
				regions[m.GetRegion()] = with
			}
		}
	}
	c.Regions = regions
	return c
}

func addAddress(addresses []string, address string) []string {
	if address == "" || slices.Contains(addresses, address) || checkAddress("of a member", address, 1) != nil {
		return addresses
	}
	return append(addresses, address)
}

// introduce has the member that was asked who there is know of this one, so that
// one which asks next finds it, though no link to it is up yet.
func (s *Server) introduce(ctx context.Context) error {
	if len(s.config.asked) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	options, err := s.config.asMember(s.config.asked)
	if err != nil {
		return err
	}
	conn, err := client.Connect(ctx, options)
	if err != nil {
		return err
	}
	return errors.Join(conn.Enroll(ctx, s.record()), conn.Close())
}
