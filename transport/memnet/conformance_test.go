package memnet_test

import (
	"testing"
	"time"

	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/memnet"
	"github.com/atolldb/atoll/transport/transporttest"
)

func TestConformance(t *testing.T) {
	for name, link := range map[string]memnet.Link{
		"immediate": {},
		"delayed":   {Delay: time.Millisecond, Jitter: 2 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			transporttest.Run(t, func(t *testing.T) transporttest.Network {
				return &network{t: t, Network: start(t, memnet.Options{Link: link, MaxInFlight: transporttest.MaxInFlight}), members: map[string]*memnet.Member{}}
			})
		})
	}
}

// network is a memnet as the suite wants it.
type network struct {
	*memnet.Network
	t       *testing.T
	members map[string]*memnet.Member
}

func (n *network) Join(region, name string) transport.Transport {
	n.members[name] = join(n.t, n.Network, region, name)
	return n.members[name]
}

func (n *network) Leave(name string) {
	if err := n.members[name].Close(); err != nil {
		n.t.Fatal(err)
	}
}

func (n *network) Cut(region string)  { n.CutRegion(region) }
func (n *network) Heal(region string) { n.RestoreRegion(region) }

func start(t *testing.T, options memnet.Options) *memnet.Network {
	t.Helper()
	n, err := memnet.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// join adds a member that closes when the test ends.
func join(t *testing.T, n *memnet.Network, region, name string) *memnet.Member {
	t.Helper()
	m, err := n.Join(region, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}
