package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
)

// Cluster is one member in each of several regions.
type Cluster struct {
	// Members are in the order of the regions.
	Members []*Member
}

// New lays out a cluster below dir, of members that run the given program with
// flags on top of their own. Nothing is started.
func New(program, dir string, regions []string, flags ...string) (*Cluster, error) {
	c := &Cluster{}
	// A secret of its own keeps it apart from a cluster that comes by one of
	// its ports while a member is down.
	flags = append([]string{"--secret", fmt.Sprintf("%016x", rand.Uint64())}, flags...)
	for _, region := range regions {
		addresses, err := freeAddresses(3)
		if err != nil {
			return nil, err
		}
		c.Members = append(c.Members, &Member{
			Region: region, Data: filepath.Join(dir, region),
			Client: addresses[0], Route: addresses[1], Gateway: addresses[2],
			Peers: map[string]string{}, Flags: flags, program: program,
		})
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

// Ports are drawn from below those that systems hand out by themselves, so
// that a member finds its own free again after a restart.
const (
	lowestPort  = 10_000
	highestPort = 32_000
)

// freeAddresses returns addresses where nobody listens now.
func freeAddresses(n int) ([]string, error) {
	var addresses []string
	var listeners []net.Listener // open until all are found, so that they differ
	defer func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	for range 100 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		listeners = append(listeners, l)
		if addresses = append(addresses, l.Addr().String()); len(addresses) == n {
			return addresses, nil
		}
	}
	return nil, fmt.Errorf("cluster: hardly a port from %d to %d is free", lowestPort, highestPort)
}
