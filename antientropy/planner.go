package antientropy

import (
	"cmp"
	"slices"
	"time"

	"github.com/atolldb/atoll/crdt"
)

// Config sets the pace of a Planner.
type Config struct {
	// Grace is how long a gap may be open before it is fetched: events on
	// their way close most of them. Default 50 ms.
	Grace time.Duration
	// WalkInterval is the time between two periodic walks of one shard.
	// Default 10 min.
	WalkInterval time.Duration
	// MaxTasks bounds the tasks under way at once. Default 8.
	MaxTasks int
	// Backoff is the pause after a failed task with a peer; it doubles up to
	// 16 times with each further one. Default 250 ms.
	Backoff time.Duration
}

func (c Config) withDefaults() Config {
	c.Grace = cmp.Or(c.Grace, 50*time.Millisecond)
	c.WalkInterval = cmp.Or(c.WalkInterval, 10*time.Minute)
	c.MaxTasks = cmp.Or(c.MaxTasks, 8)
	c.Backoff = cmp.Or(c.Backoff, 250*time.Millisecond)
	return c
}

// Kind is what to do with a peer about a shard.
type Kind int

// The kinds of tasks, in the order in which they are tried.
const (
	Fetch Kind = iota
	WalkBehind
	WalkDiverged
	WalkPeriodic
)

// String returns the kind as one word.
func (k Kind) String() string {
	return [...]string{"fetch", "walk-behind", "walk-diverged", "walk-periodic"}[k]
}

// Task is one thing to do; Done must be called when it ended.
type Task struct {
	Kind  Kind
	Peer  string
	Shard int
}

// Outcome is how a task ended.
type Outcome struct {
	Err error
	// LogEnded says of a fetch that the peer's log no longer reaches back far
	// enough: walk next.
	LogEnded bool
}

// Planner keeps what peers advertise and decides what to do about it. It is
// not safe for concurrent use.
type Planner struct {
	config  Config
	shards  int
	peers   map[string]*peer
	running map[int]bool // by shard
	walked  []time.Time  // when each shard was last walked, or first seen
	turn    int          // rotates periodic walks over the peers
	ended   []ending     // since the last tick
}

// ending is that a task ended.
type ending struct {
	Task
	Outcome
	at time.Time
}

type peer struct {
	rank     int
	doubt    int // as of this tick: how unlikely it is to answer, 0 if nothing speaks against it
	shards   []advert
	failures int
	pause    time.Time // no tasks before
}

type advert struct {
	state       State
	behindSince time.Time // zero: not behind
	walk        bool      // a fetch did not reach back far enough
	divergedAt  time.Time // when the last walk for divergence was planned
	walkedAt    time.Time // when the last walk of any kind was planned
}

// maxPeers bounds the names that a planner remembers; further ones are ignored.
const maxPeers = 1024

// NewPlanner returns a planner for a number of shards that knows no peers.
func NewPlanner(c Config, shards int) *Planner {
	return &Planner{
		config: c.withDefaults(), shards: shards, peers: map[string]*peer{},
		running: map[int]bool{}, walked: make([]time.Time, shards),
	}
}

// Advertise takes in what a peer says of a shard. Among peers that are as likely
// to answer, those of a lower rank are asked first. The planner keeps the state.
func (p *Planner) Advertise(name string, rank, shard int, s State) {
	if a := p.advert(name, shard); a != nil {
		p.peers[name].rank = rank
		a.state = s
	}
}

// Forget takes in that a peer has no copy of a shard any more.
func (p *Planner) Forget(name string, shard int) {
	if known, ok := p.peers[name]; ok && shard >= 0 && shard < p.shards {
		known.shards[shard] = advert{}
	}
}

// ForgetPeer takes in that a peer is gone for good. Tasks with it that are under
// way end as they do.
func (p *Planner) ForgetPeer(name string) { delete(p.peers, name) }

// Saw takes in that a peer has sent an event of a shard, and so has it.
func (p *Planner) Saw(name string, shard int, d crdt.Dot) {
	if a := p.advert(name, shard); a != nil && !a.state.Vector.Covers(d) {
		a.state.Vector = a.state.Vector.Clone()
		a.state.Vector.Observe(d)
		a.state.Whole = false // what it advertised is out of date
	}
}

// Advertised returns what a peer last said of a shard, or false if nothing.
func (p *Planner) Advertised(name string, shard int) (State, bool) {
	if known, ok := p.peers[name]; ok && shard >= 0 && shard < p.shards {
		s := known.shards[shard].state
		return s, s.Vector != nil
	}
	return State{}, false
}

// advert returns where to keep what a peer says of a shard, or nil if there is
// no such shard or no room for another peer.
func (p *Planner) advert(name string, shard int) *advert {
	known, ok := p.peers[name]
	if shard < 0 || shard >= p.shards || !ok && len(p.peers) >= maxPeers {
		return nil
	}
	if !ok {
		known = &peer{shards: make([]advert, p.shards)}
		p.peers[name] = known
	}
	return &known.shards[shard]
}

// Tick returns the tasks to start now, given the states of the own copies (of
// shards without one, a state without a vector), and how unlikely each peer is
// to answer, 0 if nothing speaks against it. The likely ones are asked first,
// whatever their rank.
func (p *Planner) Tick(now time.Time, own func(shard int) State, doubt func(peer string) int) []Task {
	p.settle()
	for name, known := range p.peers {
		known.doubt = doubt(name)
	}
	var tasks []Task
	for _, name := range p.byRank() {
		known := p.peers[name]
		if now.Before(known.pause) {
			continue
		}
		for shard := range known.shards {
			a := &known.shards[shard]
			if a.state.Vector == nil {
				continue
			}
			mine := own(shard)
			if mine.Vector == nil {
				continue
			}
			kind, due := p.due(now, a, mine, shard)
			if !due || p.running[shard] || len(p.running) >= p.config.MaxTasks {
				continue
			}
			if kind == WalkPeriodic && p.walkedEarlier(now, a, shard) {
				continue
			}
			p.running[shard] = true
			if kind == WalkDiverged {
				a.divergedAt = now
			}
			if kind != Fetch {
				p.walked[shard], a.walkedAt = now, now
			}
			tasks = append(tasks, Task{kind, name, shard})
		}
	}
	p.turn++
	return tasks
}

// due decides what to do about one shard of one peer.
func (p *Planner) due(now time.Time, a *advert, own State, shard int) (Kind, bool) {
	if !own.Vector.Dominates(a.state.Vector) {
		if a.behindSince.IsZero() {
			a.behindSince = now
		}
		kind := Fetch
		if a.walk {
			kind = WalkBehind
		}
		return kind, now.Sub(a.behindSince) >= p.config.Grace
	}
	a.behindSince = time.Time{}
	a.walk = false
	if Diverged(own, a.state) {
		return WalkDiverged, now.Sub(a.divergedAt) >= p.config.WalkInterval/10
	}
	last := p.walked[shard]
	if last.IsZero() {
		// Spread the first walks, so that they do not all come at once.
		last = now.Add(-p.config.WalkInterval * time.Duration(shard%64) / 64)
		p.walked[shard] = last
	}
	return WalkPeriodic, now.Sub(last) >= p.config.WalkInterval
}

// walkedEarlier says whether there is a peer whose shard was walked longer ago
// than this one. Periodic walks go to all peers in turn, the far ones too: what
// a peer has heard in some ranges only, and nobody has in full, spreads by
// nothing else. Those that may not answer are not waited for.
func (p *Planner) walkedEarlier(now time.Time, than *advert, shard int) bool {
	for _, other := range p.peers {
		a := &other.shards[shard]
		if a.state.Vector != nil && other.doubt == 0 && !now.Before(other.pause) && a.walkedAt.Before(than.walkedAt) {
			return true
		}
	}
	return false
}

// byRank returns the peers, those of less doubt first, and among them those of a
// lower rank, each rank rotated from tick to tick.
func (p *Planner) byRank() []string {
	names := make([]string, 0, len(p.peers))
	for name := range p.peers {
		names = append(names, name)
	}
	slices.Sort(names)
	if n := len(names); n > 0 {
		names = append(names[p.turn%n:], names[:p.turn%n]...)
	}
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(p.peers[a].doubt, p.peers[b].doubt), cmp.Compare(p.peers[a].rank, p.peers[b].rank))
	})
	return names
}

// Done says how a task ended. The next tick goes by it.
func (p *Planner) Done(t Task, now time.Time, o Outcome) {
	p.ended = append(p.ended, ending{t, o, now})
}

// settle takes in how tasks ended: those that ended at one moment in the order
// of their shards, whoever was the first to say so.
func (p *Planner) settle() {
	slices.SortFunc(p.ended, func(a, b ending) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.Shard, b.Shard))
	})
	for _, e := range p.ended {
		p.end(e)
	}
	p.ended = p.ended[:0]
}

func (p *Planner) end(e ending) {
	delete(p.running, e.Shard)
	known, ok := p.peers[e.Peer]
	if !ok {
		return
	}
	if e.Err != nil {
		known.pause = e.at.Add(p.config.Backoff << min(known.failures, 4))
		known.failures++
		return
	}
	known.failures = 0
	a := &known.shards[e.Shard]
	a.behindSince = time.Time{}
	a.walk = e.LogEnded
}
