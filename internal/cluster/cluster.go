package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/atolldb/atoll/internal/ports"
)

// Cluster is one member in each of several regions, or more.
type Cluster struct {
	// Members are in the order of the regions, and then of Add.
	Members []*Member

	program, dir string
	flags        []string
}

// New lays out a cluster below dir, of members that run the given program with
// flags on top of their own. Nothing is started.
func New(program, dir string, regions []string, flags ...string) (*Cluster, error) {
	// A secret of its own keeps it apart from a cluster that comes by one of
	// its ports while a member is down.
	flags = append([]string{"--secret", fmt.Sprintf("%016x", rand.Uint64())}, flags...)
	c := &Cluster{program: program, dir: dir, flags: flags}
	for _, region := range regions {
		if err := c.layOut(region, region); err != nil {
			return nil, err
		}
	}
	for _, m := range c.Members {
		for _, other := range c.Members {
			if other != m {
				m.Peers[other.Region] = other.Gateway
			}
		}
	}
	return c, nil
}

func (c *Cluster) layOut(region, name string) error {
	var addresses [3]string
	for i := range addresses {
		port, err := ports.Draw()
		if err != nil {
			return err
		}
		addresses[i] = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	c.Members = append(c.Members, &Member{
		Name: name, Region: region, Data: filepath.Join(c.dir, name),
		Client: addresses[0], Route: addresses[1], Gateway: addresses[2],
		Peers: map[string]string{}, Flags: c.flags, program: c.program,
	})
	return nil
}

// Add lays out one more member of a region, which joins the first one there that
// is still in the cluster and reaches other regions as that does.
func (c *Cluster) Add(region, name string) (*Member, error) {
	i := slices.IndexFunc(c.Members, func(m *Member) bool { return m.Region == region })
	if i < 0 {
		return nil, fmt.Errorf("cluster: there is no member in %s to join", region)
	}
	if err := c.layOut(region, name); err != nil {
		return nil, err
	}
	m := c.Members[len(c.Members)-1]
	m.Join, m.Peers = c.Members[i].Route, c.Members[i].Peers
	return m, nil
}

// Remove takes a member that does not run out of the cluster.
func (c *Cluster) Remove(m *Member) {
	c.Members = slices.DeleteFunc(c.Members, func(o *Member) bool { return o == m })
}

// Spread returns the servers of n clients, which begin in all regions in turn.
// Every other one knows the next region as well, and goes there when its own is
// gone.
func (c *Cluster) Spread(n int) [][]string {
	servers := make([][]string, n)
	for i := range servers {
		servers[i] = []string{c.Members[i%len(c.Members)].Client}
		if i/len(c.Members)%2 == 1 {
			servers[i] = append(servers[i], c.Members[(i+1)%len(c.Members)].Client)
		}
	}
	return servers
}

// Close kills the members that run.
func (c *Cluster) Close() error {
	var errs []error
	for _, m := range c.Members {
		errs = append(errs, m.Kill())
	}
	return errors.Join(errs...)
}
