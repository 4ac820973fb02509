package sim

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/replica"
)

// The pace of a simulated cluster. Gossip and walks come often, so that a
// short history sees many of them.
const (
	gossipInterval  = 200 * time.Millisecond
	questionTimeout = 1_000_123_456 * time.Nanosecond // of ticks, no multiple
	clientPatience  = 5 * time.Second
)

// world is a cluster while a schedule is played.
//
// What happens at one moment may happen in any order, so moments are kept
// apart: messages arrive at even nanoseconds, each at its own; everything else
// happens at odd ones.
type world struct {
	schedule Schedule
	chance   chance
	network  *network
	start    time.Time
	members  []*member
	clients  sync.WaitGroup

	mu       sync.Mutex // guards what follows, and the members' states
	record   *record
	requests []*request
	sessions map[sessionShard][]byte // what they have seen: encoded vectors
	outcome  Outcome
	commits  uint64             // hash of all
	losses   int                // events that may be gone for good
	rots     int                // entries that were changed on a disk
	torn     bool               // some may have been heard of some ranges only, for good
	resigned bool               // what has rotted and nobody else has is given up
	formed   bool               // the regions have met
	agreed   map[int][]*request // acknowledged writes, by shard
	faults   int                // of copies that lost something
	founders map[string]*member // of regions
	split    bool               // another member has founded one
	borne    bool               // one of them did not end the present age
}

// Outcome is what came of a schedule.
type Outcome struct {
	Failure string   // what was wrong first, if anything
	Lines   []string // what happened, in order
	Hash    uint64   // of all that happened
	Stats   Stats

	Accesses []Access        // of the register that is exact
	Counts   []Count         // of the counter
	Ages     []time.Duration // when later ages began: see Access
}

// member is one member, up or down.
type member struct {
	Member
	world    *world
	index    int
	actors   uint64
	skew     time.Duration
	backup   store.Snapshot
	reverted bool          // its next start is on its backup, and nobody says so
	leaving  bool          // it is decommissioned
	dead     bool          // for good
	seat     int           // where it stands: see place
	buried   time.Duration // when an operator last tried to remove it
	owns     map[int]bool
	suspect  bool // its disk was put back: the next start must not go on under its actors
	mood     func(*disk)
	held     map[int]crdt.Actor // shards that must notice that they were put back
	end      *end
	disk     *disk
	replica  *replica.Replica // nil while down

	// Guarded by world.mu.
	rotten  map[int]bool    // shards of which something is changed
	decayed map[string]bool // keys of entries that are not what their checksums say
	hurt    map[int]bool    // those of which something ever was: they may forget
	damaged map[leafAt]bool // what is changed in particular
	struck  map[leafAt]bool // and what ever was: a commit may have come over it since
	states  []*copyState    // on disk, by shard
	waiting []*request      // arrived and not answered
	groups  int
	// By shard, when the copy last lost something and went on, and when all of it:
	// after so many faults.
	forgot, emptied map[int]int
	left            map[int]owners // at least, when it lost all
}

// Replay is the label of goroutines that tells how a history is replayed.
const Replay = "replay"

// Run plays a schedule in a bubble of testing/synctest. Goroutines get the
// labels of ctx, see runtime/pprof, so that one that panics tells what it was a
// part of. Where the engine panics while it takes in a message, that is what is
// wrong with the history; from its own goroutines nothing can save the process.
func Run(ctx context.Context, s Schedule) *Outcome {
	w := &world{
		schedule: s, chance: chance(mix(s.Seed)), start: time.Now(), record: newRecord([32]byte{}),
	}
	w.sessions = map[sessionShard][]byte{}
	w.agreed = map[int][]*request{}
	w.founders = map[string]*member{}
	w.network = newNetwork(ctx, w.chance, s.Network)
	w.network.panicked = func(what any, stack []byte) {
		// What it held may be locked for good: then this is all that is seen.
		command, _ := pprof.Label(ctx, Replay)
		fmt.Fprintf(os.Stderr, "panic: %v\nto replay it: %s\n", what, cmp.Or(command, "play the schedule again"))
		w.fail("panic: %v\n%s", what, stack)
	}
	for i, m := range s.Members {
		w.add(i, m)
	}
	for _, step := range s.Steps {
		if w.failed() {
			break
		}
		time.Sleep(w.odd(w.start.Add(step.At)))
		w.do(step)
	}
	if !w.failed() {
		w.settle()
	}
	for _, m := range w.members {
		m.stop()
	}
	w.clients.Wait()
	w.finish()
	return &w.outcome
}

// odd returns how long it is to the first odd nanosecond from a time on.
func (w *world) odd(at time.Time) time.Duration {
	at = at.Add(time.Duration(at.Nanosecond()+1) % 2)
	return max(time.Until(at), time.Duration(1+time.Now().Nanosecond()%2))
}

func (w *world) now() time.Duration { return time.Since(w.start) }

// fail notes what is wrong, the first time.
func (w *world) fail(format string, arguments ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failLocked(format, arguments...)
}

func (w *world) failLocked(format string, arguments ...any) {
	if w.outcome.Failure == "" {
		w.outcome.Failure = fmt.Sprintf("%.6fs: ", w.now().Seconds()) + fmt.Sprintf(format, arguments...)
	}
}

func (w *world) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.outcome.Failure != ""
}

// note adds a line to what happened. w.mu is held.
func (w *world) note(m *member, format string, arguments ...any) {
	line := fmt.Sprintf("%10.6fs  %-8s ", w.now().Seconds(), m.Name) + fmt.Sprintf(format, arguments...)
	w.outcome.Lines = append(w.outcome.Lines, line)
}

func (w *world) add(i int, is Member) {
	m := &member{Member: is, world: w, index: i, skew: is.Skew, mood: func(d *disk) { d.pace = is.Pace }}
	m.rotten, m.hurt, m.damaged, m.struck = map[int]bool{}, map[int]bool{}, map[leafAt]bool{}, map[leafAt]bool{}
	m.forgot, m.emptied, m.left = map[int]int{}, map[int]int{}, map[int]owners{}
	for range w.schedule.Shards {
		m.states = append(m.states, emptyState())
	}
	w.members = append(w.members, m)
	m.put(nil)
	if !is.Late {
		m.open()
	}
}

// put gives the member a disk with what a snapshot holds.
func (m *member) put(content store.Snapshot) {
	d, err := newDisk(m.world.chance, content)
	if err != nil {
		m.world.fail("%s: %v", m.Name, err)
		return
	}
	if m.disk != nil {
		m.world.outcome.Stats.Commits.add(m.disk.tally)
	}
	d.begun = func(writes []store.Write) any { return m.begun(writes) }
	d.wrote = func(writes []store.Write, note any) { m.wrote(writes, note.(groups)) }
	d.came = m.came
	d.set(m.mood)
	m.disk = d
}

// open starts the member on its disk.
func (m *member) open() {
	if m.replica != nil || m.dead {
		return
	}
	m.disk.restart() // also after a start that failed
	if m.reverted {
		m.goBack()
	}
	w := m.world
	options := replica.Options{
		Cluster: "sim", Member: m.Name, Region: m.Region, Shards: w.schedule.Shards,
		Volatile: m.Volatile || m.suspect, LogLimit: m.LogLimit, Loops: 1,
		GossipInterval: gossipInterval, QuestionTimeout: questionTimeout,
		AntiEntropy: antientropy.Config{WalkInterval: w.schedule.Walks},
		Now:         func() time.Time { return time.Now().Add(m.skew) },
		NewActor:    m.newActor,
		Gather:      m.gather,
		Owners:      w.owners,
	}
	if w.schedule.Placed {
		m.place(&options)
	}
	r, err := replica.Open(options, m.disk)
	if err != nil && m.disk.unwell() {
		return // it refuses to start, as it should
	}
	if err != nil {
		w.fail("%s does not open: %v", m.Name, err)
		return
	}
	m.suspect = false
	m.replica, m.end = r, w.network.join(m.Region, m.Name)
	if err := r.Start(watched{m.end, m}); err != nil {
		w.fail("%s does not start: %v", m.Name, err)
	}
}

// owners are all members, also those that come late: with a set that changes
// while they come, quorums would not have to overlap.
func (w *world) owners() map[string][]string {
	owners := map[string][]string{}
	for _, m := range w.schedule.Members {
		owners[m.Region] = append(owners[m.Region], m.Name)
	}
	return owners
}

// newActor returns an actor that tells its member: 2003 is the third of the
// second.
func (m *member) newActor() crdt.Actor {
	m.actors++
	return crdt.Actor(uint64(m.index+1)*1000 + m.actors)
}

// gather lets everybody who has something to write say so, then notes whose
// requests the group will hold: all that have arrived.
func (m *member) gather() {
	w := m.world
	time.Sleep(w.odd(time.Now()))
	w.mu.Lock()
	defer w.mu.Unlock()
	m.groups++
	for _, r := range m.waiting {
		if r.group == 0 {
			r.group = m.groups
		} else {
			r.begun = true // in an earlier group, by now, if it had any effect
		}
	}
}

// stop closes the member and keeps its disk.
func (m *member) stop() {
	if m.replica == nil {
		return
	}
	if err := m.replica.Close(); err != nil {
		m.world.fail("%s does not close: %v", m.Name, err)
	}
	m.checkCounters()
	m.end.kill()
	m.replica = nil
}

// checkCounters looks for what must never be counted.
func (m *member) checkCounters() {
	counters := m.replica.Counters()
	m.world.outcome.Stats.count(counters)
	for _, name := range []string{"messages_malformed", "messages_foreign", "namesakes"} {
		if n := counters[name]; n > 0 {
			m.world.fail("%s counts %d %s", m.Name, n, name)
		}
	}
	for _, name := range []string{"divergences", "shards_damaged"} {
		if n := counters[name]; n > 0 && !m.world.hasRot() {
			m.world.fail("%s counts %d %s", m.Name, n, name)
		}
	}
}

// crash takes the power from the member, and so many of its last commits.
func (m *member) crash(lose int) {
	if m.replica == nil {
		return
	}
	m.disk.crash()
	m.end.kill()
	if err := m.replica.Close(); err != nil {
		m.world.fail("%s does not close: %v", m.Name, err)
	}
	m.checkCounters()
	m.replica = nil
	m.world.mu.Lock()
	m.waiting = nil
	m.world.mu.Unlock()
	if lose == 0 { // or it loses what comes late as well
		m.disk.restart()
	}
	m.replace(m.disk.earlier(lose))
}

// replace gives the member a disk with other content, and notes which events
// may be lost by that.
func (m *member) replace(content store.Snapshot) {
	w := m.world
	m.put(content)
	w.mu.Lock()
	defer w.mu.Unlock()
	for shard, before := range m.states {
		m.states[shard] = emptyState()
		if content == nil {
			m.forget(shard, true)
			continue
		}
		state, err := readState(content, shard)
		if err != nil {
			w.failLocked("%s: %v", m.Name, err)
			return
		}
		m.states[shard] = state
		if !maps.Equal(state.everywhere(), before.everywhere()) {
			m.forget(shard, false)
		}
	}
	m.findDecayed(content)
	if w.rots > 0 { // what is put back may have rotted before, or not yet
		for shard := range m.states {
			m.inspect(shard)
		}
	}
	w.lose(m)
}

// lose notes which events are on no disk in full after what has happened to a
// member. w.mu is held.
func (w *world) lose(m *member) {
	salvage := map[int]*copyState{}
	for shard := range w.schedule.Shards {
		if w.rots > 0 {
			salvage[shard] = w.salvage(shard)
		}
	}
	for _, e := range w.record.order {
		if !e.lost && !w.somewhere(e) {
			w.miss(m, e, salvage[e.shard])
		}
	}
}

// miss notes of an event that no disk has in full what all of them together have of
// it, nil if nothing. w.mu is held.
func (w *world) miss(m *member, e *event, salvage *copyState) {
	if salvage != nil && covers(salvage.everywhere(), e.Dot) {
		return
	}
	w.torn, e.torn = true, true
	if salvage != nil && salvage.has(e) {
		return
	}
	e.lost = true
	w.losses++
	w.note(m, "may have had the last copy of %s", brief(e.Dot))
}

// somewhere says whether an event is on some sound disk in full. w.mu is held.
func (w *world) somewhere(e *event) bool {
	for _, m := range w.members {
		if !m.rotten[e.shard] && covers(m.states[e.shard].everywhere(), e.Dot) {
			return true
		}
	}
	return false
}
