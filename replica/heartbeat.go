package replica

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/membership"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

// observer is the member's detector of failures, for several goroutines.
type observer struct {
	mu       sync.Mutex
	detector *membership.Detector
	// standings are what it makes of others. They are replaced, never changed;
	// then news is closed.
	standings standings
	news      chan struct{}
}

// standings are the states of other members. Those that are not observed count
// as alive: nothing is held against them.
type standings map[string]membership.State

// gone says whether a member is confirmed not to be there.
func (s standings) gone(member string) bool { return s[member] >= membership.Down }

// away says whether a member is missed, and may come back any time.
func (s standings) away(member string) bool {
	return s[member] == membership.Suspect || s[member] == membership.Down
}

// absent says whether a member is not known to be there.
func (s standings) absent(member string) bool { return s[member] != membership.Alive }

// absentOf returns those of some members that are not known to be there.
func (s standings) absentOf(members []string) []string {
	return slices.DeleteFunc(slices.Clone(members), func(m string) bool { return !s.absent(m) })
}

// doubt says how unlikely a member is to answer, 0 if nothing speaks against it.
func (s standings) doubt(member string) int { return int(s[member]) }

func newObserver(o Options) observer {
	return observer{detector: membership.New(o.Member, o.Heartbeats), news: make(chan struct{})}
}

func (o *observer) hear(h membership.Heartbeat, now time.Time) []membership.Change {
	o.mu.Lock()
	defer o.mu.Unlock()
	changes := o.detector.Hear(h, now)
	o.show(changes)
	return changes
}

// tick lets time pass, and returns also whom the heartbeats are to name.
func (o *observer) tick(now time.Time) (changes []membership.Change, suspects []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	changes = o.detector.Tick(now)
	o.show(changes)
	return changes, o.detector.Suspects()
}

// forget ends the observation of a member.
func (o *observer) forget(member string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.detector.Forget(member)
	o.show([]membership.Change{{Member: member, To: membership.Alive}})
}

// show replaces the standings. It is called with the lock held.
func (o *observer) show(changes []membership.Change) {
	if len(changes) == 0 {
		return
	}
	now := maps.Clone(o.standings)
	if now == nil {
		now = standings{}
	}
	for _, c := range changes {
		now[c.Member] = c.To
		if c.To == membership.Alive {
			delete(now, c.Member)
		}
	}
	o.standings = now
	close(o.news)
	o.news = make(chan struct{})
}

// opinion returns the standings, and a channel that is closed when there are
// others.
func (o *observer) opinion() (standings, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.standings, o.news
}

func (o *observer) views(now time.Time) []membership.View {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.detector.Views(now)
}

// pulse is when the next things are due that have to do with heartbeats.
type pulse struct {
	beat  time.Time
	table *antientropy.State // of which the members are expected
}

// beat sends a heartbeat if it is time, and looks whose are missing.
func (r *Replica) beat(p *pulse) {
	now := r.options.Now()
	if now.Before(p.beat) {
		return
	}
	p.beat = now.Add(r.options.Heartbeats.Interval)
	if table := r.shards[r.System()].published.Load(); table != p.table && r.expect(now) {
		p.table = table
	}
	changes, suspects := r.observer.tick(now)
	r.tellChanges(changes)
	r.sendHeartbeat(suspects, false)
	r.reviewLogs()
}

// expect has the members of the table observed, also those never heard, and
// those no more that are gone and were removed. Should this member have been
// removed, it is there all the same, and says so.
func (r *Replica) expect(now time.Time) bool {
	table, err := r.table()
	if err != nil {
		return false // it is read again
	}
	listed := map[string]bool{}
	r.observer.mu.Lock()
	for _, m := range table {
		listed[m.GetName()] = true
		r.observer.detector.Expect(m.GetName(), now)
	}
	r.observer.mu.Unlock()
	states, _ := r.observer.opinion()
	for member := range states {
		if states.gone(member) && !listed[member] {
			r.observer.forget(member)
			r.peers.forget(member)
		}
	}
	if !listed[r.options.Member] && r.options.Record != nil && !r.placed() { // or it appears
		r.tasksWG.Go(func() { r.enrollAs(r.options.Record()) })
	}
	return true
}

func (r *Replica) sendHeartbeat(suspects []string, leaving bool) {
	n := r.network.Load()
	if n == nil {
		return
	}
	message := marshal(&pb.Heartbeat{
		Member: r.options.Member, Incarnation: r.identity.Starts, Suspects: suspects, Leaving: leaving, Cluster: r.cluster, Protocol: pb.Protocol,
	})
	if err := n.transport.Publish(transport.Heartbeat, message); err != nil {
		r.counters.unsent.Add(1)
	}
}

// receiveHeartbeat takes in that another member is there.
func (r *Replica) receiveHeartbeat(m transport.Message) {
	var h pb.Heartbeat
	err := proto.Unmarshal(m.Data, &h)
	if err == nil {
		err = checkSender(h.GetMember())
	}
	if err == nil {
		err = checkSuspects(h.GetSuspects())
	}
	if err != nil {
		r.refuse(m.Subject, fmt.Errorf("a heartbeat: %w", err))
		return
	}
	if r.isForeign(h.GetCluster()) {
		return
	}
	if err := checkProtocol(h.GetProtocol()); err != nil {
		r.refuse(h.GetMember(), fmt.Errorf("a heartbeat: %w", err))
		return
	}
	if !r.isKnown(h.GetMember()) {
		return
	}
	r.tellChanges(r.observer.hear(membership.Heartbeat{
		Member: h.GetMember(), Incarnation: h.GetIncarnation(), Suspects: h.GetSuspects(), Leaving: h.GetLeaving(),
	}, r.options.Now()))
}

// checkSuspects bounds what is kept of each member of those that it suspects.
func checkSuspects(names []string) error {
	if n := len(names); n > maxPeers {
		return fmt.Errorf("%w: %d suspects", crdt.ErrInvalid, n)
	}
	for _, name := range names {
		if !namePattern.MatchString(name) {
			return fmt.Errorf("%w: a suspect named %.64q", crdt.ErrInvalid, name)
		}
	}
	return nil
}

// isKnown says whether a member has gossiped: so whoever observes it is as many
// as there are peers.
func (r *Replica) isKnown(member string) bool {
	r.peers.mu.Lock()
	defer r.peers.mu.Unlock()
	_, known := r.peers.known[member]
	return known
}

func (r *Replica) tellChanges(changes []membership.Change) {
	for _, c := range changes {
		r.log.Info("a member is seen as "+c.To.String(), "member", c.Member, "before", c.From.String(),
			"suspicions", c.Suspicions, "observers", c.Observers)
	}
}
