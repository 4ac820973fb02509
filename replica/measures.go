package replica

import (
	"maps"
	"slices"
	"time"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/internal/membership"
	pb "github.com/atolldb/atoll/proto"
)

// Measures is what a replica has counted since it was opened, and how it
// stands. It belongs to who has asked for it.
type Measures struct {
	Counters   map[string]uint64 // see Counters
	Operations []Operations
	Requests   []Requests
	// Commits is how long batches took to disk.
	Commits Times
	// Repairs counts what was done to catch up: fetches of events, and sessions
	// over Merkle digests, by cause (antientropy.Kind).
	Repairs map[string]uint64
	Traffic []Traffic
	Peers   []PeerLag
	// Members counts the members of the table, this one included, by the state
	// in which this one sees them.
	Members map[string]int

	// Copies counts the shards of applications, the system shard is none, of
	// which there is a copy, by what it is: "owned" and served, "joining" if it
	// is being taken over, "ready" if it is served once the owners change,
	// "handing" if it is kept until all owners have what it has, or "hinted" if it
	// holds writes that were taken in place of owners.
	Copies map[string]int
	// HintedEvents is how many events wait here for owners, HintedBytes how much that
	// is, about, and HintLimit how much it may be; JoinedBytes is how much was taken
	// over.
	HintedEvents, HintedBytes, HintLimit, JoinedBytes uint64
	// Shards is how many copies there are, NotWhole how many of them have ranges
	// ahead of others or are damaged, Damaged how many are known to be
	// damaged, and Diverged how many differ from a peer's that has heard the
	// same.
	Shards, NotWhole, Damaged, Diverged int
	// LogEvents is how many events the logs hold at most: less, if some have
	// come as fields.
	LogEvents uint64
	// Queued is how many tasks wait for a loop.
	Queued int
	Scrub  *pb.ScrubState
}

// Operations counts operations of one kind that had one result: "ok" or the
// name of an error's code.
type Operations struct {
	Kind, Result string
	Count        uint64
}

// Requests is how long requests took: those of one kind, "read" or "write"
// (anything that writes), at one level of consistency.
type Requests struct {
	Kind, Level string
	Times
}

// Traffic counts bytes of messages of one kind.
type Traffic struct {
	Kind           string
	Sent, Received uint64
}

// PeerLag is how a peer stands to this member, by what it has last said.
type PeerLag struct {
	Member, Region string
	Silent         time.Duration // since it was last heard of
	// Lag is how many events this member has and the peer lacks, Age how old
	// the oldest of them is of those that were looked at, and Behind how many
	// the peer has and this member lacks.
	Lag    uint64
	Age    time.Duration
	Behind uint64
}

const (
	// maxAges bounds how many events are read to tell how far a peer lags.
	maxAges = 1024
	// forgottenAfter is how long a peer that is not in the table of members has
	// been silent when nothing more is told of it.
	forgottenAfter = time.Minute
)

// Measure returns the measures as of now. What that costs depends on the
// numbers of shards, writers and peers, and not on how much is stored.
func (r *Replica) Measure() Measures {
	m := Measures{
		Counters: r.Counters(), Commits: r.meter.commits.load(), Repairs: map[string]uint64{},
		Members: r.memberStates(), Copies: r.copies(), HintLimit: uint64(r.options.HintLimit),
		JoinedBytes: r.arranger.joinedBytes.Load(), Scrub: r.scrubState(),
	}
	m.HintedEvents, m.HintedBytes = r.hintsKept()
	r.meter.report(&m)
	for _, l := range r.loops {
		m.Queued += len(l.tasks)
	}
	for i, s := range r.shards {
		if !s.held() {
			continue
		}
		m.Shards++
		state := r.State(i)
		if !state.Whole {
			m.NotWhole++
		}
		if s.health.hurt() {
			m.Damaged++
		}
		for _, seq := range state.Vector {
			m.LogEvents += min(seq, r.logLimit(s))
		}
	}
	m.Peers, m.Diverged = r.lags()
	return m
}

// report fills in what a meter has measured.
func (m *meter) report(out *Measures) {
	for i := range m.operations {
		for j := range m.operations[i] {
			out.Operations = append(out.Operations, Operations{
				string(whatOf.Fields().Get(i).Name()), resultNames[j], m.operations[i][j].Load(),
			})
		}
	}
	for i := range m.requests {
		for j := range m.requests[i] {
			out.Requests = append(out.Requests, Requests{requestKinds[i], levelNames[j], m.requests[i][j].load()})
		}
	}
	for i := range m.tasks {
		out.Repairs[antientropy.Kind(i).String()] = m.tasks[i].Load()
	}
	for i := range m.traffic {
		f := &m.traffic[i]
		out.Traffic = append(out.Traffic, Traffic{trafficKinds[i], f.sent.Load(), f.received.Load()})
	}
}

// copies counts the copies of shards by what they are.
func (r *Replica) copies() map[string]int {
	h := r.holdings()
	return map[string]int{
		"owned": int(h.GetOwned()), "joining": int(h.GetJoining()), "ready": int(h.GetReady()),
		"handing": int(h.GetHanding() - h.GetHints()), "hinted": int(h.GetHints()),
	}
}

// hurt says that damage is known.
func (h *health) hurt() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.damaged) > 0 || h.lost != nil
}

// memberStates counts the members of the table by state.
func (r *Replica) memberStates() map[string]int {
	states := map[string]int{unknown: 0}
	for state := membership.Alive; state <= membership.Left; state++ {
		states[state.String()] = 0
	}
	views := map[string]membership.State{r.options.Member: membership.Alive}
	for _, v := range r.observer.views(r.options.Now()) {
		views[v.Member] = v.State
	}
	for member := range r.listed() {
		if state, seen := views[member]; seen {
			states[state.String()]++
		} else {
			states[unknown]++
		}
	}
	return states
}

// listed returns the members of the table, and this one.
func (r *Replica) listed() map[string]bool {
	listed := map[string]bool{r.options.Member: true}
	l, err := r.view()
	if err != nil {
		return listed // it cannot be read just now, which shows elsewhere
	}
	for member := range l.members {
		listed[member] = true
	}
	return listed
}

// word is what a peer has said of its copies.
type word struct {
	PeerLag
	states []antientropy.State // by shard; without a vector where it said nothing
}

// words returns what each peer has said of all shards, in the order of their
// names.
func (r *Replica) words() []word {
	now, listed := r.options.Now(), r.listed()
	r.peers.mu.Lock()
	defer r.peers.mu.Unlock()
	var all []word
	for _, name := range slices.Sorted(maps.Keys(r.peers.known)) {
		known := r.peers.known[name]
		p := word{PeerLag: PeerLag{Member: name, Region: known.region, Silent: now.Sub(known.heard)}}
		if p.Silent > forgottenAfter && !listed[name] {
			continue
		}
		for i := range r.shards {
			state, _ := r.peers.planner.Advertised(name, i)
			p.states = append(p.states, state)
		}
		all = append(all, p)
	}
	return all
}

// lags compares all shards with what peers have said, and counts those that
// differ from a peer's that has heard the same.
func (r *Replica) lags() (lags []PeerLag, diverged int) {
	snap := r.store.Snapshot()
	defer snap.Close()
	now := r.options.Now()
	differ := map[int]bool{}
	for _, p := range r.words() {
		ages := maxAges
		for i, theirs := range p.states {
			// A shard that the peer has not spoken of yet counts as empty there,
			// unless it may have no copy.
			if !r.shards[i].held() || theirs.Vector == nil && r.placed() && i != r.System() {
				continue
			}
			mine := r.State(i)
			p.Lag += theirs.Vector.Missing(mine.Vector)
			p.Behind += mine.Vector.Missing(theirs.Vector)
			if antientropy.Diverged(mine, theirs) {
				differ[i] = true
			}
			p.Age = max(p.Age, oldestMissing(snap, i, mine, theirs, now, &ages))
		}
		lags = append(lags, p.PeerLag)
	}
	return lags, len(differ)
}
