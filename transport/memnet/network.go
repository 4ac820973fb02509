package memnet

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/atolldb/atoll/transport"
)

// Options configures a Network. The zero value is a network without faults.
type Options struct {
	// Seed determines all faults and choices.
	Seed uint64
	// Link is how messages travel from any region to any other, until SetLink
	// says otherwise for a pair. Inside a region they arrive at once.
	Link Link
	// MaxInFlight is the number of requests a member handles at once before it
	// answers ErrBusy; 1024 if 0.
	MaxInFlight int
	// QueueMessages is the number of messages that may wait at a subscription
	// before further ones are dropped; 65536 if 0.
	QueueMessages int
	// AfterFunc calls f once d has passed; time.AfterFunc if nil.
	AfterFunc func(d time.Duration, f func())
}

func (o Options) withDefaults() (Options, error) {
	if o.MaxInFlight < 0 || o.QueueMessages < 0 {
		return o, fmt.Errorf("memnet: MaxInFlight %d and QueueMessages %d must not be negative", o.MaxInFlight, o.QueueMessages)
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = 1024
	}
	if o.QueueMessages == 0 {
		o.QueueMessages = 65536
	}
	if o.AfterFunc == nil {
		o.AfterFunc = func(d time.Duration, f func()) { time.AfterFunc(d, f) }
	}
	return o, o.Link.validate()
}

// Network connects members. Its methods may be called concurrently.
type Network struct {
	options Options

	mu      sync.Mutex
	choices *rand.Rand // which member of a group serves
	members []*Member  // in the order joined, so that choices repeat
	links   map[pair]Link
	cuts    map[pair]bool
	ways    map[way]*path
	traffic map[string]*Traffic // by subject
}

// pair is a direction between two regions.
type pair struct{ from, to string }

// way leads from a member into a region.
type way struct{ member, region string }

// New makes a network without members.
func New(options Options) (*Network, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Network{
		options: options,
		choices: rand.New(rand.NewPCG(options.Seed, 0)),
		links:   map[pair]Link{},
		cuts:    map[pair]bool{},
		ways:    map[way]*path{},
		traffic: map[string]*Traffic{},
	}, nil
}

// Join adds a member. Names are unique among the members that have not closed.
func (n *Network) Join(region, name string) (*Member, error) {
	if region == "" || name == "" {
		return nil, fmt.Errorf("memnet: region %q and name %q must not be empty", region, name)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, other := range n.members {
		if other.name == name {
			return nil, fmt.Errorf("memnet: member %q is there already", name)
		}
	}
	m := &Member{network: n, region: region, name: name, closed: make(chan struct{})}
	n.members = append(n.members, m)
	return m, nil
}

// SetLink sets how messages travel from one region to another from now on.
func (n *Network) SetLink(from, to string, link Link) error {
	if err := link.validate(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[pair{from, to}] = link
	return nil
}

// Cut loses everything sent from one region to another, until Restore. What is
// under way is lost, too. The opposite direction has a cut of its own.
func (n *Network) Cut(from, to string) { n.setCut(from, to, true) }

// Restore ends a Cut.
func (n *Network) Restore(from, to string) { n.setCut(from, to, false) }

// CutRegion cuts a region from all regions that have members, both ways.
func (n *Network) CutRegion(region string) { n.setRegionCut(region, true) }

// RestoreRegion ends all cuts to and from a region.
func (n *Network) RestoreRegion(region string) { n.setRegionCut(region, false) }

func (n *Network) setCut(from, to string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[pair{from, to}] = cut
}

func (n *Network) setRegionCut(region string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.members {
		if m.region != region {
			n.cuts[pair{region, m.region}] = cut
			n.cuts[pair{m.region, region}] = cut
		}
	}
}

// path returns the way of a member's messages into another region. n.mu is held.
func (n *Network) path(from *Member, region string) *path {
	key := way{from.name, region}
	p := n.ways[key]
	if p == nil {
		hash := fnv.New64a()
		fmt.Fprintf(hash, "%q %q", from.name, region)
		p = &path{
			network: n,
			regions: pair{from.region, region},
			faults:  rand.New(rand.NewPCG(n.options.Seed, hash.Sum64())),
		}
		n.ways[key] = p
	}
	return p
}

// link returns the settings of a direction. n.mu is held.
func (n *Network) link(regions pair) Link {
	if link, ok := n.links[regions]; ok {
		return link
	}
	return n.options.Link
}

// Member is one end of a Network; it implements transport.Transport.
type Member struct {
	network      *Network
	region, name string
	closed       chan struct{}

	// Guarded by network.mu.
	left          bool
	detached      bool
	subscriptions []*subscription
	services      []*service
	inFlight      int
}

var _ transport.Transport = (*Member)(nil)

// Detach takes the member off the network until Attach: what it sends fails
// with ErrUnreachable, and nothing reaches it.
func (m *Member) Detach() { m.setDetached(true) }

// Attach ends a Detach.
func (m *Member) Attach() { m.setDetached(false) }

func (m *Member) setDetached(detached bool) {
	m.network.mu.Lock()
	defer m.network.mu.Unlock()
	m.detached = detached
}

// usable says why the member cannot send. network.mu is held.
func (m *Member) usable() error {
	switch {
	case m.left:
		return transport.ErrClosed
	case m.detached:
		return transport.ErrUnreachable
	}
	return nil
}

// Close leaves the network: it ends all subscriptions and own requests, and
// waits for running handlers, so it must not be called from one.
func (m *Member) Close() error {
	n := m.network
	n.mu.Lock()
	if m.left {
		n.mu.Unlock()
		return nil
	}
	m.left = true
	close(m.closed)
	subscriptions, services := m.subscriptions, m.services
	for i, other := range n.members {
		if other == m {
			n.members = append(n.members[:i:i], n.members[i+1:]...)
			break
		}
	}
	n.mu.Unlock()

	for _, s := range subscriptions {
		_ = s.Close()
	}
	for _, s := range services {
		_ = s.Close()
	}
	return nil
}
