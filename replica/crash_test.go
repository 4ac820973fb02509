package replica

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport/memnet"
)

// A commit that fails, applied or not, is reported as such; no dot is used
// twice, and all agree in the end.
func TestFailedCommits(t *testing.T) {
	random := seeded(t)
	c, eu, us, ap := three(t, nil)
	var mu sync.Mutex
	eu.disk.onCommit(func(_ *store.Batch, commit func() error) error {
		mu.Lock()
		fate := random.IntN(6)
		mu.Unlock()
		switch fate {
		case 0:
			return errDisk
		case 1:
			if err := commit(); err != nil {
				return err
			}
			return errDisk
		}
		return commit()
	})
	acknowledged, unknown := 0, 0
	for i := range 300 {
		_, err := eu.try(incr("c", 1), add("{c}s", fmt.Sprint(i)))
		switch {
		case err == nil:
			acknowledged++
		case errors.Is(err, ErrUnavailable) && errors.Is(err, errDisk):
			unknown++
		default:
			t.Fatal(err)
		}
		us.do(incr("c", 1))
		ap.do(remove("{c}s", fmt.Sprint(i-10)))
	}
	eu.disk.onCommit(nil)
	c.settle()
	n := us.number(count("c")) - 300
	if n < int64(acknowledged) || n > int64(acknowledged+unknown) || unknown == 0 {
		t.Errorf("%d of %d acknowledged writes and %d unknown ones are there", n, acknowledged, unknown)
	}
	t.Logf("%d acknowledged, %d unknown, %d of these were written; actors %d", acknowledged, unknown,
		n-int64(acknowledged), len(eu.State(shardOf("c")).Vector))
}

// A shard whose commit failed while events of peers were in it fetches them
// again.
func TestFailedCommitOfEvents(t *testing.T) {
	c, eu, us, _ := three(t, nil)
	var commits atomic.Int64
	us.disk.onCommit(func(_ *store.Batch, commit func() error) error {
		if commits.Add(1)%2 == 0 {
			return errDisk
		}
		return commit()
	})
	written := 0
	eventually(t, "some commits fail", func() bool {
		eu.do(incr(fmt.Sprint("k", written%10), 1))
		written++
		return us.Counters()["commit_errors"] > 2
	})
	us.disk.onCommit(nil)
	c.converge()
}

// A disk that stays broken is not written to in a loop, stops no reads, and
// does not keep the member from closing.
func TestBrokenDisk(t *testing.T) {
	c, eu, us, _ := three(t, nil)
	eu.fill("big", names(3*maxStepSize/fieldSize, "e"))
	c.converge()
	var attempts atomic.Int64
	us.disk.onCommit(func(_ *store.Batch, commit func() error) error {
		if attempts.Add(1) == 1 {
			return commit()
		}
		return errDisk
	})
	if _, err := us.try(del("big", 0)); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("a clear in steps on a broken disk: %v", err)
	}
	if _, err := us.try(incr("c", 1)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a write on a broken disk: %v", err)
	}
	us.do(count("c"), count("c"))
	us.stop()
	if n := attempts.Load(); n > 10 {
		t.Errorf("%d attempts to write", n)
	}
	us.disk.onCommit(nil)
	us.open()
	us.meet()
	c.settle()
	if n := us.number(card("big")); n != 0 {
		t.Errorf("%d elements are left of a clear that was interrupted", n)
	}
}

// What was acknowledged is there after a crash at any commit boundary, and
// everything is in step.
func TestCrashAtAnyCommit(t *testing.T) {
	random := seeded(t)
	c := newCluster(t, memnet.Options{})
	d := &disk{Store: newMemory(), keep: true}
	m := c.startOn("eu", d, nil)
	peer := c.start("us", nil)
	type acknowledgement struct {
		commits int
		key     string
		value   int64
	}
	var acknowledged []acknowledgement
	for i := range 60 {
		key := fmt.Sprint("k", random.IntN(10))
		peer.do(incr("peer", 1), add("{peer}s", fmt.Sprint(i)))
		n := m.do(incr(key, 1), add("{"+key+"}s", fmt.Sprint(i)), set("{"+key+"}r", "x"))[0].Number
		acknowledged = append(acknowledged, acknowledgement{d.committed(), key, n})
		if random.IntN(5) == 0 {
			m.do(del("{"+key+"}s", 0))
		}
	}
	c.converge()
	for n := range d.committed() {
		left := d.prefix(t, n+1)
		audit(t, left, m.options)
		crashed := &member{cluster: c, options: m.options, disk: left}
		crashed.open()
		for _, a := range acknowledged {
			if got := crashed.number(count(a.key)); a.commits <= n+1 && got < a.value {
				t.Fatalf("after %d commits: %s is %d, acknowledged was %d", n+1, a.key, got, a.value)
			}
		}
		crashed.do(incr("after", 1))
		crashed.stop()
		audit(t, left, m.options)
	}
}

// A copy that comes back with less than it had sent (a restored backup) learns
// of it, goes on under a new actor, and gets its own events back.
func TestLostHistory(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.startOn("eu", &disk{Store: newMemory(), keep: true}, nil)
	us := c.start("us", nil)
	for range 30 {
		eu.do(incr("c", 1))
	}
	c.converge()
	before := eu.shards[shardOf("c")].actor
	eu.restart(eu.disk.prefix(t, eu.disk.committed()-10))
	eventually(t, "the loss is noticed", func() bool { return eu.Counters()["actors_lost"] > 0 })
	c.converge()
	eu.do(incr("c", 1))
	c.converge()
	if n := us.number(count("c")); n != 31 {
		t.Errorf("the counter is %d, want 31", n)
	}
	if after := eu.shards[shardOf("c")].actor; after == before {
		t.Errorf("it goes on under the actor %v", after)
	}
}

// A copy whose commits may be lost cannot wait for a peer to tell: it goes on
// under a new actor from the start, so that what it writes alone is not taken
// for what it has forgotten. So it does once more after it was made durable.
func TestVolatileHistory(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	volatile := func(o *Options) { o.Volatile = true }
	eu := c.startOn("eu", &disk{Store: newMemory(), keep: true}, volatile)
	us := c.start("us", nil)
	for durable := range 2 {
		eu.do(incr("c", 1))
		kept := eu.disk.committed()
		eu.do(incr("c", 1), incr("c", 1))
		c.converge()
		eu.stop()
		eu.disk = eu.disk.prefix(t, kept)
		eu.disk.keep = true
		eu.options.Volatile = durable == 0
		eu.open()
		eu.do(incr("c", 100), incr("c", 100)) // before it has met anybody
		eu.meet()
		c.converge()
		if n := us.number(count("c")); n != int64(203*(durable+1)) {
			t.Fatalf("the counter is %d, want %d", n, 203*(durable+1))
		}
	}
}

// unreadable is a store of which one key cannot be read.
type unreadable struct {
	store.Store
	key string
}

type unreadableSnapshot struct {
	store.Snapshot
	key string
}

func (u *unreadable) Snapshot() store.Snapshot { return unreadableSnapshot{u.Store.Snapshot(), u.key} }

func (u unreadableSnapshot) Get(key []byte) ([]byte, error) {
	if string(key) == u.key {
		return nil, errors.New("read error")
	}
	return u.Snapshot.Get(key)
}

// An event that could be applied only in part leaves nothing, whatever else is
// in its group, and whoever brought it is told.
func TestHalfAnEventIsNone(t *testing.T) {
	disk := &unreadable{Store: newMemory()}
	r, err := Open(testOptions("eu"), disk)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	draft := func(actor crdt.Actor, elements ...string) delivered {
		d := crdt.NewDraft(crdt.Dot{Actor: actor, Seq: 1}, crdt.NewHeard(nil), crdt.NewState())
		for _, e := range elements {
			if _, err := d.AddElement("k", e); err != nil {
				t.Fatal(err)
			}
		}
		e, _ := d.Event(1)
		return delivered{e, e.AppendTo(nil)}
	}
	s := r.shards[shardOf("k")]
	half, whole := draft(77, "a", "b"), draft(78, "c")
	disk.key = string(entryKey(s.index, half.event.Changes[1].Field.Position()))
	var answers []error
	tell := func(_ []*pb.Result, err error) { answers = append(answers, err) }
	l := &loop{replica: r, hasher: r.hasher.Clone()}
	l.newGroup().run([]task{eventTask(s, half, tell), eventTask(s, whole, tell)})
	if len(answers) != 2 || answers[0] == nil || answers[1] == nil {
		t.Errorf("told %v", answers)
	}
	disk.key = ""
	audit(t, disk, r.options)
	if v := r.State(s.index).Vector; len(v) != 0 {
		t.Errorf("heard %v of a batch that was given up", v)
	}
	snap := disk.Snapshot()
	defer snap.Close()
	if es, err := readField(snap, s.index, half.event.Changes[0].Field.Position()); len(es) > 0 || err != nil {
		t.Errorf("half of the event is there: %v, %v", es, err)
	}
}

// So it does if it learns of the loss by what it fetches or walks over.
func TestLostHistoryByOtherWays(t *testing.T) {
	for name, learn := range map[string]func(h *history, m *member){
		"fetch": func(h *history, m *member) {
			h.ask(m, 9, func() error { _, err := m.fetch(h.t.Context(), "us", historyShard); return err })
		},
		"walk": func(h *history, m *member) {
			h.ask(m, 9, func() error { return m.walk(h.t.Context(), "us", historyShard) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(t, seeded(t))
			defer h.close()
			m := h.members[0]
			m.disk.keep = true
			for range 9 {
				m.do(incr("{h}a", 1))
			}
			m.idle()
			h.converge()
			m.disk = m.disk.prefix(t, 5)
			h.restart(m)
			learn(h, m)
			m.do(incr("{h}a", 1))
			h.converge()
			if lost, n := m.Counters()["actors_lost"], h.members[2].number(count("{h}a")); lost != 1 || n != 10 {
				t.Errorf("%d actors were lost; the counter is %d, want 10", lost, n)
			}
		})
	}
}

// A clear of a large set takes several commits. Whichever is the last before a
// crash, the next start goes on with it, and the peers follow.
func TestInterruptedClear(t *testing.T) {
	elements := names(max(6000, scaled(3*4096+100, 6000)), "e")
	for _, own := range []bool{true, false} {
		c := newCluster(t, memnet.Options{})
		m := c.startOn("eu", &disk{Store: newMemory(), keep: true}, nil)
		peer := c.start("us", nil)
		m.fill("big", elements)
		m.do(add("big", "kept"), incr("{big}c", 1))
		c.converge()
		first := m.disk.committed()
		if own {
			m.do(del("big", 0), incr("{big}c", 1), add("{big}s", "e"))
		} else {
			peer.do(del("big", 0), incr("{big}c", 1), add("{big}s", "e"))
		}
		c.settle()
		last := m.disk.committed()
		if last-first < 3 {
			t.Fatalf("the clear took %d commits", last-first)
		}
		for n := first; n <= last; n++ {
			t.Run(fmt.Sprintf("own %v, after %d of %d", own, n-first, last-first), func(t *testing.T) {
				resumeClear(t, m.disk.prefix(t, n), n > first, len(elements)+1)
			})
		}
	}
}

// resumeClear starts on what a crash left, beside a peer who knows nothing.
func resumeClear(t *testing.T, left *disk, begun bool, full int) {
	c := newCluster(t, memnet.Options{})
	m := c.startOn("eu", left, nil)
	audit(t, left, m.options)
	m.do(add("{big}new", "e")) // goes on at once
	c.start("us", nil)
	c.settle()
	want := []int64{0, 1, 2, 1}
	if !begun {
		want = []int64{int64(full), 0, 1, 1}
	}
	for _, m := range c.members {
		r := m.do(card("big"), card("{big}s"), count("{big}c"), card("{big}new"))
		if got := []int64{r[0].Number, r[1].Number, r[2].Number, r[3].Number}; !slices.Equal(got, want) {
			t.Errorf("%s: cleared set, other set, counter, new set: %v, want %v", m.options.Member, got, want)
		}
	}
}

// Reads of a value that is damaged fail as such, and so does what needs it;
// other shards of the same groups go on. The member is alone, and its log does
// not reach back: nothing is forgotten.
func TestDamagedValue(t *testing.T) {
	m := alone(t, func(o *Options) { o.Loops, o.LogLimit = 1, 1 })
	key, other := keyIn(0, "k", 0), keyIn(1, "k", 0)
	m.do(incr(key, 5))
	m.do(incr(key, -4))
	m.do(incr(other, 1))
	sound := m.damage(key)
	release := m.holdUp()
	reads := m.begin(count(key))
	if err := <-reads; !errors.Is(err, ErrUnavailable) || !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("a read of a damaged value: %v", err)
	}
	if code := EncodeError(unavailable(store.ErrCorrupt)).Code; code != pb.Error_UNAVAILABLE {
		t.Errorf("its code is %v", code)
	}
	bad, good := m.begin(incr(key, 1)), m.begin(incr(other, 1))
	m.queued(2)
	release()
	if err := <-bad; !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a write to a damaged value: %v", err)
	}
	if err := <-good; err != nil {
		t.Errorf("a write beside it: %v", err)
	}
	sound()
	if n := m.number(incr(key, 1)); n != 2 {
		t.Errorf("the counter is %d", n)
	}
}

// damage makes the counter of a key unreadable, and returns how to undo it.
func (m *member) damage(key string) (undo func()) {
	at := entryKey(shardOf(key), counterField(key).Position())
	snap := m.disk.Snapshot()
	defer snap.Close()
	value, err := snap.Get(at)
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	value = slices.Clone(value)
	write := func(value []byte) {
		if err := m.disk.Store.Commit(batchOf([]store.Write{{Key: at, Value: value}})); err != nil {
			m.cluster.t.Fatal(err)
		}
	}
	write(value[:len(value)-1])
	return func() { write(value) }
}
