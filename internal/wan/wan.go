package wan

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Mode is how a cut shows.
type Mode int

const (
	// Reset closes connections and resets new ones at once.
	Reset Mode = iota + 1
	// Silent passes nothing on and tells nobody.
	Silent
)

// Network is a set of regions and what connects them. Its methods may be
// called concurrently. They panic on a region that New was not given.
type Network struct {
	regions   []string
	listeners map[string]net.Listener // by region
	ways      map[pair]*way           // both directions of every two regions
	running   sync.WaitGroup
	closed    chan struct{}
	close     sync.Once

	mu       sync.Mutex
	open     map[*connection]struct{}
	gateways map[string][]string // addresses by region
	turns    int                 // gateways take turns
	cuts     map[string]Mode     // by region
	between  map[pair]Mode       // with from < to
	changed  chan struct{}       // closed and replaced when gateways or cuts change
}

// pair is two regions, in a direction.
type pair struct{ from, to string }

// way is what holds for one direction between two regions.
type way struct {
	delay atomic.Int64 // nanoseconds
	bytes atomic.Int64
}

// New opens the addresses of regions, all on loopback.
func New(regions ...string) (*Network, error) {
	n := &Network{
		regions:   slices.Clone(regions),
		listeners: map[string]net.Listener{},
		ways:      map[pair]*way{},
		closed:    make(chan struct{}),
		open:      map[*connection]struct{}{},
		gateways:  map[string][]string{},
		cuts:      map[string]Mode{},
		between:   map[pair]Mode{},
		changed:   make(chan struct{}),
	}
	for _, region := range regions {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(fmt.Errorf("wan: %w", err), n.Close())
		}
		n.listeners[region] = listener
		for _, other := range regions {
			if other != region {
				n.ways[pair{region, other}] = &way{}
			}
		}
	}
	for region, listener := range n.listeners {
		n.running.Go(func() { n.accept(region, listener) })
	}
	return n, nil
}

// Addresses returns the address of each region, in the form of a gateway's
// configuration.
func (n *Network) Addresses() map[string][]string {
	all := map[string][]string{}
	for region, listener := range n.listeners {
		all[region] = []string{listener.Addr().String()}
	}
	return all
}

// Attach adds a gateway of a region: connections to the region go to its
// gateways in turn. As long as it has none they wait, so that regions may start
// one after the other.
func (n *Network) Attach(region, address string) {
	n.know(region)
	n.change(func() { n.gateways[region] = append(n.gateways[region], address) })
}

// Detach removes a gateway. Connections there are stay.
func (n *Network) Detach(region, address string) {
	n.know(region)
	n.change(func() {
		n.gateways[region] = slices.DeleteFunc(slices.Clone(n.gateways[region]), func(a string) bool { return a == address })
	})
}

// Cut severs a region from all others. Once it returns, nothing that is sent
// across crosses before Heal.
func (n *Network) Cut(region string, mode Mode) {
	n.know(region)
	n.change(func() { n.cuts[region] = mode })
}

// Heal ends the Cut of a region.
func (n *Network) Heal(region string) {
	n.know(region)
	n.change(func() { delete(n.cuts, region) })
}

// CutBetween severs two regions from each other, and from nobody else. It is
// independent of Cut.
func (n *Network) CutBetween(a, b string, mode Mode) {
	n.way(a, b)
	n.change(func() { n.between[pair{min(a, b), max(a, b)}] = mode })
}

// HealBetween ends CutBetween.
func (n *Network) HealBetween(a, b string) {
	n.way(a, b)
	n.change(func() { delete(n.between, pair{min(a, b), max(a, b)}) })
}

// SetDelay sets how long bytes take from one region to another, from now on.
func (n *Network) SetDelay(from, to string, delay time.Duration) {
	n.way(from, to).delay.Store(int64(delay))
}

// Bytes returns how many bytes have crossed from one region to another.
func (n *Network) Bytes(from, to string) int64 { return n.way(from, to).bytes.Load() }

// Close closes all addresses and connections. It may be called more than once.
func (n *Network) Close() error {
	var errs []error
	n.close.Do(func() {
		close(n.closed)
		for _, listener := range n.listeners {
			errs = append(errs, listener.Close())
		}
		n.mu.Lock()
		for c := range n.open {
			c.end(reset)
		}
		n.mu.Unlock()
		n.running.Wait()
	})
	return errors.Join(errs...)
}

// change applies a change, ends what it cuts off and wakes what waits.
func (n *Network) change(apply func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	apply()
	for c := range n.open {
		if n.mode(c) == Reset {
			c.end(reset)
		}
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// mode returns the cut that holds for a connection, 0 if there is none. A
// reset shows, whatever else is silent. n.mu is held.
func (n *Network) mode(c *connection) Mode {
	modes := []Mode{n.cuts[c.to], n.cuts[c.from], n.between[pair{min(c.from, c.to), max(c.from, c.to)}]}
	switch {
	case slices.Contains(modes, Reset):
		return Reset
	case slices.Contains(modes, Silent):
		return Silent
	}
	return 0
}

// attached returns the gateways of a region, once it has any.
func (n *Network) attached(region string, giveUp <-chan struct{}) []string {
	for {
		n.mu.Lock()
		gateways, changed := n.gateways[region], n.changed
		n.mu.Unlock()
		if len(gateways) > 0 {
			return gateways
		}
		select {
		case <-changed:
		case <-giveUp:
			return nil
		}
	}
}

func (n *Network) know(region string) {
	if n.listeners[region] == nil {
		panic(fmt.Sprintf("wan: unknown region %q", region))
	}
}

func (n *Network) way(from, to string) *way {
	w := n.ways[pair{from, to}]
	if w == nil {
		panic(fmt.Sprintf("wan: no way from %q to %q", from, to))
	}
	return w
}
