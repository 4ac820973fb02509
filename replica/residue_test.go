package replica

import (
	"fmt"
	"sync"
	"testing"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/membership"
	"github.com/atolldb/atoll/internal/store"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport/memnet"
)

// A reset takes away what it has seen; concurrent increments survive it, each
// of them whole.
func TestResetWithConcurrentIncrements(t *testing.T) {
	c, eu, us, ap := three(t, nil)
	for _, m := range c.members {
		m.do(incr("c", 100))
	}
	c.converge()
	c.network.CutRegion("us")
	us.do(incr("c", 7))
	eu.do(reset("c"))
	ap.do(incr("c", 1000)) // before or after it hears of the reset: it is not seen by it
	c.network.RestoreRegion("us")
	c.settle()
	for _, m := range c.members {
		if n := m.number(count("c")); n != 1007 {
			t.Errorf("%s: the counter is %d, want 1007", m.options.Member, n)
		}
	}
}

// Resets and increments everywhere at once: nothing is counted twice, nothing
// goes below zero, and what no reset has seen is there.
func TestManyResets(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	for _, name := range []string{"eu", "us", "ap"} {
		c.start(name, nil)
	}
	var writers sync.WaitGroup
	for i, m := range c.members {
		for w := range 3 {
			writers.Go(func() {
				for n := range 100 {
					m.do(incr("c", 1))
					if (n+i+w)%10 == 0 {
						m.do(reset("c"))
					}
				}
			})
		}
	}
	writers.Wait()
	c.settle()
	n := c.members[0].number(count("c"))
	if n < 0 || n > 900 {
		t.Errorf("the counter is %d", n)
	}
	c.members[1].do(incr("c", 1))
	c.settle()
	if after := c.members[2].number(count("c")); after != n+1 {
		t.Errorf("the counter went from %d to %d", n, after)
	}
}

// What is deleted leaves nothing behind, on any disk, once everybody has heard
// of it: no entries, no headers, no digests.
func TestNothingIsLeft(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	for _, name := range []string{"eu", "us", "ap"} {
		c.start(name, func(o *Options) { o.LogLimit = 8 })
	}
	for i, m := range c.members {
		for n := range 40 {
			key := fmt.Sprint("k", n)
			m.do(incr(key, int64(i+1)), add(key, "e", fmt.Sprint(i), fmt.Sprint(n)), set(key, "v"))
		}
	}
	c.settle()
	for n := range 40 {
		key := fmt.Sprint("k", n)
		switch m := c.members[n%3]; n % 4 {
		case 0:
			m.do(del(key, 0))
		case 1:
			m.do(reset(key), del(key, crdt.TypeSet), del(key, crdt.TypeRegister))
		case 2:
			m.do(remove(key, append(m.elements(key), "absent")...), reset(key), del(key, crdt.TypeRegister))
		case 3:
			for _, m := range c.members { // all at once
				m.do(del(key, 0))
			}
		}
	}
	c.settle()
	for _, m := range c.members {
		if n := residue(t, m.disk); n != 0 {
			t.Errorf("%s: %d keys are left", m.options.Member, n)
		}
		if s := m.State(shardOf("k0")); s.Root.Count != 0 {
			t.Errorf("%s: %+v", m.options.Member, s)
		}
	}
}

// So it is where resets arrive by walks, after a long absence.
func TestNothingIsLeftAfterWalks(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu, us := c.start("eu", shortLog), c.start("us", shortLog)
	for n := range 20 {
		us.do(incr(fmt.Sprint("{h}", n), 1))
	}
	c.converge()
	c.network.CutRegion("us")
	for n := range 20 {
		eu.do(del(fmt.Sprint("{h}", n), 0))
	}
	c.network.RestoreRegion("us")
	c.settle()
	for _, m := range c.members {
		if n := residue(t, m.disk); n != 0 || us.Counters()["walks"] == 0 {
			t.Errorf("%s: %d keys are left; %v", m.options.Member, n, us.Counters())
		}
	}
}

// The owner of a contribution removes it in the batch in which it hears of the
// reset, so that no crash comes between.
func TestDeadContributionsGoAtOnce(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu", nil)
	us := c.startOn("us", &disk{Store: newMemory(), keep: true}, nil)
	us.do(incr("c", 1))
	c.converge()
	eu.do(reset("c"))
	c.settle()
	at := string(entryKey(shardOf("c"), counterField("c").Position()))
	for n := range us.disk.committed() {
		left := us.disk.prefix(t, n+1)
		snap := left.Snapshot()
		if value, err := snap.Get([]byte(at)); err == nil {
			_, es, err := decodeField([]byte(at), value)
			if err != nil || !alive(es) {
				t.Errorf("after %d commits: %v, %v", n+1, es, err)
			}
		}
		snap.Close()
	}
}

// A counter can be used again after it was deleted.
func TestCounterAfterDelete(t *testing.T) {
	c, eu, us, ap := three(t, nil)
	want := int64(0)
	for round := range 5 {
		for i, m := range c.members {
			m.do(incr("c", int64(round+i)))
			want += int64(round + i)
		}
		c.settle()
		for _, m := range c.members {
			if n := m.number(count("c")); n != want {
				t.Errorf("round %d: %s says %d, want %d", round, m.options.Member, n, want)
			}
		}
		[]*member{eu, us, ap}[round%3].do(del("c", 0))
		want = 0
		c.settle()
	}
}

// A member that is away holds up nobody; when it is back, what it knew is gone.
func TestNoResurrection(t *testing.T) {
	c, eu, us, ap := three(t, shortLog)
	eu.fill("s", names(300, "e"))
	c.converge()
	ap.stop()
	eu.do(del("s", 0))
	for i := range 10 {
		us.do(add("s", fmt.Sprint("new", i)))
	}
	c.converge(eu, us)
	ap.open()
	ap.meet()
	c.settle()
	for _, m := range c.members {
		if n := m.number(card("s")); n != 10 {
			t.Errorf("%s: %d elements, want 10", m.options.Member, n)
		}
	}
}

// The logs keep as many events as they are told to, and no others.
func TestLogLimit(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	limit := func(o *Options) { o.LogLimit = 10 }
	eu, us := c.start("eu", limit), c.start("us", limit)
	for range 100 {
		eu.do(incr("c", 1))
	}
	c.converge()
	c.network.CutRegion("us")
	for range 100 {
		eu.do(incr("c", 1))
	}
	c.network.RestoreRegion("us")
	c.converge()
	us.idle()
	for _, m := range c.members {
		events := audit(t, m.disk, m.options)[shardOf("c")].log
		for dot := range events {
			if dot.Seq <= 190 {
				t.Errorf("%s still has %v", m.options.Member, dot)
			}
		}
		if m == eu && len(events) != 10 {
			t.Errorf("%d events", len(events))
		}
	}
}

// While an owner is missed, the logs keep more than their limit, so that it comes
// back without a walk, and a restart does not end that. When it has caught up
// they are as short as before.
func TestLogIsKeptForOwnersThatAreAway(t *testing.T) {
	const limit = 10
	c := newCluster(t, memnet.Options{})
	few := func(o *Options) { enrolled("1")(o); o.LogLimit = limit }
	eu, us, ap := c.start("eu", few), c.start("us", few), c.start("ap", few)
	c.allKnow()
	s := eu.shards[shardOf("c")]
	write := func(n int) {
		for range n {
			eu.do(incr("c", 1))
		}
	}
	most := func(m *member) (most int) {
		perActor := map[crdt.Actor]int{}
		for dot := range audit(t, m.disk, m.options)[s.index].log {
			perActor[dot.Actor]++
			most = max(most, perActor[dot.Actor])
		}
		return most
	}
	write(2 * limit)
	c.converge()
	if n := most(eu); n != limit {
		t.Errorf("with all there, the log has %d events, want %d", n, limit)
	}

	walks := us.Counters()["walks"]
	c.network.CutRegion("us")
	for _, m := range []*member{eu, ap} {
		eventually(t, m.options.Member+" misses us", func() bool { return m.shards[s.index].kept.Load() != nil })
	}
	write(3 * limit)
	eu.restart(nil)
	if eu.shards[s.index].kept.Load() == nil {
		t.Error("the restart ended it")
	}
	write(3 * limit)
	c.converge(eu, ap)
	for _, m := range []*member{eu, ap} {
		if n := most(m); n != 7*limit {
			t.Errorf("without us, the log of %s has %d events, want %d", m.options.Member, n, 7*limit)
		}
	}
	c.network.RestoreRegion("us")
	c.converge()
	if n := us.Counters()["walks"] - walks; n > 0 {
		t.Errorf("us has walked %d times", n)
	}
	short := func() {
		t.Helper()
		for _, m := range []*member{eu, ap} {
			eventually(t, m.options.Member+" keeps no more", func() bool { return m.shards[s.index].kept.Load() == nil })
			m.idle()
			if n := most(m); n != limit {
				t.Errorf("with us again, the log of %s has %d events, want %d", m.options.Member, n, limit)
			}
		}
	}
	short()

	// There is a bound, and whoever has left is not missed.
	c.network.CutRegion("us")
	eventually(t, "eu misses us again", func() bool { return eu.shards[s.index].kept.Load() != nil })
	write((logStretch + 2) * limit)
	if n := most(eu); n != logStretch*limit {
		t.Errorf("the log has %d events, want %d", n, logStretch*limit)
	}
	c.network.RestoreRegion("us")
	c.converge()
	short()
	us.stop()
	eu.sees("us", membership.Left)
	eu.reviewLogs()
	if eu.shards[s.index].kept.Load() != nil {
		t.Error("the log is kept for one that has left")
	}
}

// A store that refuses a batch for its size would refuse it again and again:
// no group comes near, whatever is asked at once.
func TestLargestGroups(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	m, peer := c.start("eu", func(o *Options) { o.Loops = 1 }), c.start("us", func(o *Options) { o.Loops = 1 })
	var mu sync.Mutex
	most, bytes := 0, 0
	watch := func(b *store.Batch, commit func() error) error {
		mu.Lock()
		most, bytes = max(most, len(b.Writes())), max(bytes, b.Bytes())
		mu.Unlock()
		return commit()
	}
	sets := scaled(150, 40)
	fill := func() (ops [][]*pb.Operation) {
		for i := range sets {
			ops = append(ops, []*pb.Operation{add(fmt.Sprint("{h}", i), names(700, "e")...)})
		}
		return ops
	}
	clear := func() (ops [][]*pb.Operation) {
		for i := range sets / 2 {
			ops = append(ops, []*pb.Operation{del(fmt.Sprint("{h}", i), 0)})
		}
		var many []*pb.Operation
		for i := sets / 2; i < sets; i++ {
			many = append(many, del(fmt.Sprint("{h}", i), 0))
		}
		return append(ops, many) // one request that deletes many
	}
	for _, requests := range [][][]*pb.Operation{fill(), clear()} {
		for _, m := range c.members {
			m.disk.onCommit(nil)
		}
		release := m.holdUp()
		var done []chan error
		for _, ops := range requests {
			done = append(done, m.begin(ops...))
		}
		m.queued(len(requests))
		m.disk.onCommit(watch)
		release()
		for _, err := range done {
			if err := <-err; err != nil {
				t.Fatal(err)
			}
		}
		c.converge()
		peer.disk.onCommit(watch)
	}
	t.Logf("at most %d writes and %d bytes in a batch", most, bytes)
	if most > store.MaxBatchWrites*3/4 || bytes > store.MaxBatchBytes*3/4 {
		t.Errorf("%d writes, %d bytes in a batch", most, bytes)
	}
	for _, m := range c.members {
		if n := m.number(card("{h}0")); n != 0 {
			t.Errorf("%s has %d elements left", m.options.Member, n)
		}
	}
}
