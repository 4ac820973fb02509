package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/bubble"
	"github.com/atolldb/atoll/internal/membership"
	"github.com/atolldb/atoll/internal/store"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/memnet"
)

// What was missed a while is fetched from the log; no walk is needed.
func TestGapIsFetched(t *testing.T) {
	c, eu, us, _ := three(t, nil)
	eu.do(incr("c", 1))
	c.converge()
	c.network.CutRegion("us")
	for i := range 200 {
		eu.do(incr("c", 1), add("{c}s", fmt.Sprint(i)))
		us.do(incr("c", 1))
	}
	c.network.RestoreRegion("us")
	c.converge()
	for _, m := range c.members {
		n := m.Counters()
		if n["walks"] != 0 || m != eu && m != us && n["events_fetched"] < 200 || m.number(count("c")) != 401 {
			t.Errorf("%s: the counter is %d; %v", m.options.Member, m.number(count("c")), n)
		}
	}
}

// One event that was lost shows by the next, and is fetched.
func TestLostEventIsFetched(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	silent := func(o *Options) { o.GossipInterval = time.Hour }
	eu, us := c.start("eu", silent), c.start("us", silent)
	eu.do(incr("c", 1))
	c.converge()
	c.network.Cut("eu", "us")
	lost := c.network.Traffic("delta").Lost
	eu.do(incr("c", 1))
	eventually(t, "the event is lost", func() bool { return c.network.Traffic("delta").Lost > lost })
	c.network.Restore("eu", "us")
	eu.do(incr("c", 1))
	c.converge()
	if n := us.Counters(); n["events_fetched"] == 0 || n["walks"] != 0 {
		t.Errorf("%v", n)
	}
}

// What the log has forgotten is walked over.
func TestLongAbsenceIsWalked(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu, us := c.start("eu", shortLog), c.start("us", shortLog)
	eu.fill("s", names(500, "e"))
	c.converge()
	c.network.CutRegion("us")
	for i := range 20 {
		eu.do(remove("s", fmt.Sprintf("e-%06d", i)), incr("{s}c", 1))
		us.do(add("s", fmt.Sprintf("e-%06d", i+10)), incr("{s}c", 1))
	}
	c.network.RestoreRegion("us")
	c.settle()
	for _, m := range c.members {
		// eu removed 0 to 19, us has added 10 to 29 again.
		if n := m.Counters(); n["walks"] == 0 || m.number(card("s")) != 490 || m.number(count("{s}c")) != 40 {
			t.Errorf("%s: %d elements, counter %d; %v", m.options.Member, m.number(card("s")), m.number(count("{s}c")), n)
		}
	}
}

// picky is a transport that loses some of what is published.
type picky struct {
	transport.Transport
	lose func(subject string) bool
}

func (p picky) Publish(subject string, data []byte) error {
	if p.lose(subject) {
		return nil
	}
	return p.Transport.Publish(subject, data)
}

// With all events and most gossip lost, members still catch up.
func TestGossipIsLost(t *testing.T) {
	random := seeded(t)
	var mu sync.Mutex
	lose := func(subject string) bool {
		mu.Lock()
		defer mu.Unlock()
		return subject != transport.Gossip || random.IntN(10) > 0
	}
	c := newCluster(t, memnet.Options{})
	for _, name := range []string{"eu", "us"} {
		m := &member{cluster: c, options: testOptions(name), disk: &disk{Store: newMemory()}}
		m.wrap = func(end transport.Transport) transport.Transport { return picky{end, lose} }
		m.options.GossipInterval = time.Millisecond
		m.open()
		m.meet()
		c.members = append(c.members, m)
	}
	for i := range 100 {
		c.members[i%2].do(incr(fmt.Sprint("k", i%30), 1))
	}
	c.converge()
}

// thinks has a member see others of the table in some states, until it hears of
// them, or misses them.
func (m *member) thinks(states map[string]membership.State) {
	m.observer.mu.Lock()
	defer m.observer.mu.Unlock()
	for name, state := range states {
		m.observer.show([]membership.Change{{Member: name, To: state}})
	}
}

// Whoever may not answer is asked after those who may, however near it is.
func TestLikelyPeersAreAskedFirst(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu", func(o *Options) { o.Heartbeats.Interval, o.Heartbeats.Patience = time.Minute, time.Minute })
	asked := make(chan string, 100)
	peers := map[string]string{"near-1": "eu", "near-2": "eu", "near-3": "eu", "far-1": "us", "far-2": "us"}
	for name, region := range peers {
		if err := eu.Enroll(&pb.Member{Name: name, Region: region}); err != nil {
			t.Fatal(err)
		}
	}
	eu.thinks(map[string]membership.State{
		"near-1": membership.Down, "near-2": membership.Suspect, "near-3": membership.Left, "far-2": membership.Suspect,
	})
	for _, name := range []string{"far-1", "far-2", "near-1", "near-2", "near-3"} {
		end, err := c.network.Join(peers[name], name)
		if err != nil {
			t.Fatal(err)
		}
		defer end.Close()
		_, err = end.Serve(transport.Sync(name), "", func(context.Context, transport.Message) ([]byte, error) {
			asked <- name
			return marshal(&pb.SyncAnswer{Error: &pb.Error{Text: "not now"}}), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		ahead := antientropy.State{Vector: crdt.VersionVector{7: 3}}.Message(3)
		eu.receiveGossip(transport.Message{Data: marshal(&pb.Gossip{
			Member: name, Region: peers[name], Cluster: eu.clusterNumber(), Shards: []*pb.ShardState{ahead},
		})})
	}
	if got, want := eu.byPromise(), []string{"far-1", "near-2", "far-2", "near-1", "near-3"}; !slices.Equal(got, want) {
		t.Errorf("they are asked in the order %v, want %v", got, want)
	}
	if first := <-asked; first != "far-1" {
		t.Errorf("%s is asked first, want far-1", first)
	}
}

// A new member hears of everything, although nothing changes any more, and so
// does one that was restarted, or out of reach.
func TestNewcomerHearsAll(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu", nil)
	write := func() {
		for shard := range testShards {
			eu.do(incr(keyIn(shard, "k", 0), 1))
		}
	}
	write()
	us := c.start("us", nil)
	c.converge()
	us.stop()
	write()
	us.open()
	us.meet()
	c.converge()
	c.network.Cut("eu", "us")
	write()
	said := c.network.Traffic(transport.Gossip).Lost
	eventually(t, "gossip of it is lost", func() bool { return c.network.Traffic(transport.Gossip).Lost > said+5 })
	c.network.Restore("eu", "us")
	c.converge()
	if n := us.Counters()["walks"]; n != 0 {
		t.Errorf("%d walks", n)
	}
}

// A walk that ends half-way leaves a copy that can be used: ranges are ahead
// of its vector, writes and deletes go on, and a later walk does the rest.
func TestWalkHalfWay(t *testing.T) {
	h := newHistory(t, seeded(t))
	defer h.close()
	eu, us := h.members[0], h.members[1]
	elements := names(20_000, "e")
	eu.fill("{h}big", elements)
	eu.do(incr("{h}c", 5))
	eu.idle()
	h.ask(us, 1, func() error { return us.walk(t.Context(), "eu", historyShard) })
	state := us.State(historyShard)
	if n := us.number(card("{h}big")); state.Whole || len(state.Vector) != 0 || n == 0 || n >= 20_000 {
		t.Fatalf("half-way: %d elements, %+v", n, state)
	}
	audit(t, us.disk, us.options)
	h.restart(us)
	if got := us.State(historyShard); got.Whole || got.Root != state.Root {
		t.Errorf("after a restart: %+v, before %+v", got, state)
	}

	us.do(add("{h}big", "mine"), incr("{h}c", 1), set("{h}r", "mine"))
	if n := us.number(remove("{h}big", us.elements("{h}big")[0])); n != 1 {
		t.Errorf("removed %d", n)
	}
	before := us.elements("{h}big")
	if _, err := us.try(del("{h}big", 0)); err != nil {
		t.Fatal(err)
	}
	if n := us.number(card("{h}big")); n != 0 {
		t.Errorf("%d elements after a delete", n)
	}
	eu.do(add("{h}big", "theirs"), remove("{h}big", elements[0]))
	us.idle()
	eu.idle()
	h.converge()
	for _, m := range h.members {
		got := m.elements("{h}big")
		for _, e := range got {
			if _, was := slices.BinarySearch(before, e); was {
				t.Fatalf("%s: %q was deleted and is there", m.options.Member, e)
			}
		}
		if n := len(got); n < 20_000-len(before)-1 || !slices.Contains(got, "theirs") || m.number(count("{h}c")) != 6 {
			t.Errorf("%s: %d elements, of %d some %d were deleted", m.options.Member, n, 20_000, len(before))
		}
	}
}

// A delete that would have to name too much is refused until the copy has
// caught up.
func TestDeleteWhileFarAhead(t *testing.T) {
	h := newHistory(t, seeded(t))
	defer h.close()
	eu, us := h.members[0], h.members[1]
	for some := range slices.Chunk(names(400, strings.Repeat("long", 4000)), 50) {
		eu.do(add("{h}big", some...))
	}
	eu.idle()
	h.ask(us, 8, func() error { return us.walk(t.Context(), "eu", historyShard) })
	if us.State(historyShard).Whole {
		t.Fatal("nothing is ahead")
	}
	if _, err := us.try(del("{h}big", 0)); err == nil || !strings.Contains(err.Error(), "catching up") {
		t.Errorf("a delete of too much that is ahead: %v", err)
	}
	us.do(incr("{h}c", 1))
	us.idle()
	h.converge()
	us.do(del("{h}big", 0))
	us.idle()
	h.converge()
	if n := eu.number(card("{h}big")); n != 0 {
		t.Errorf("%d elements are left", n)
	}
}

// Walks go on while everybody writes; what changes between comparing and
// joining is compared again.
func TestWritesDuringWalks(t *testing.T) {
	random := seeded(t)
	c := newCluster(t, memnet.Options{Link: memnet.Link{Delay: time.Millisecond}})
	t.Cleanup(func() {
		for _, m := range c.members {
			t.Logf("%s: %v", m.options.Member, m.Counters())
		}
	})
	eu := c.start("eu", shortLog)
	eu.fill("{h}s", names(scaled(30_000, 5_000), "e"))
	for i := range 2000 {
		eu.do(incr(fmt.Sprint("{h}", i), 1))
	}
	var writers sync.WaitGroup
	write := func(m *member) {
		seed := random.IntN(1000)
		writers.Go(func() {
			for i := seed; i < seed+scaled(2000, 300); i++ {
				m.do(incr(fmt.Sprint("{h}", i*7%2000), 1), add("{h}s", fmt.Sprintf("e-%06d", i*31%40_000)),
					remove("{h}s", fmt.Sprintf("e-%06d", i*17%40_000)))
			}
		})
	}
	write(eu)
	us := c.start("us", shortLog)
	write(us)
	eventually(t, "the newcomer has much of it", func() bool { return us.Counters()["fields_pulled"] > 2000 })
	c.start("ap", shortLog)
	writers.Wait()
	c.settle()
}

// A copy that holds much where the peer holds little joins the peer's answer
// in steps, as it does not fit a batch: what the answer adds up to is checked as
// a whole.
func TestWalkToLittle(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu, us := c.start("eu", shortLog), c.start("us", shortLog)
	eu.fill("{h}s", names(16*maxStepSize/fieldSize, "e"))
	c.converge()
	c.network.CutRegion("us")
	eu.do(del("{h}s", 0))
	for i := range 10 { // more events than the log keeps
		eu.do(add("{h}s", fmt.Sprint("new-", i)))
	}
	c.network.RestoreRegion("us")
	c.converge()
	if n := us.number(card("{h}s")); n != 10 {
		t.Errorf("%d elements, want 10", n)
	}
	if n := us.Counters(); n["walks"] == 0 || n["commit_errors"] != 0 { // a question may get lost
		t.Errorf("%v", n)
	}
}

// Two copies that heard the same and differ: that cannot be, is noticed and
// counted, and neither takes from the other.
func TestDivergence(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu, us := c.start("eu", nil), c.start("us", nil)
	for i := range 50 {
		eu.do(incr(fmt.Sprint("{d}", i), 1))
	}
	c.converge()
	us.stop()
	us.plant(counterField("{d}7"), crdt.Contribution{N: 8, Total: 1000}, true)
	us.open()
	us.meet()
	for _, m := range c.members {
		eventually(t, "the divergence is noticed", func() bool {
			n := m.Counters()
			return n["divergences"] > 0 && n["repair_errors"] > 0
		})
	}
	for _, m := range c.members { // only now: who has heard more has something to give
		m.do(incr("{d}8", 1)) // everything else goes on
	}
	eventually(t, "vectors are equal", func() bool {
		return eu.State(shardOf("{d}")).Vector.Compare(us.State(shardOf("{d}")).Vector) == crdt.Equal
	})
	if a, b := eu.number(count("{d}7")), us.number(count("{d}7")); a != 1 || b != 1000 {
		t.Errorf("the counters are %d and %d, were 1 and 1000", a, b)
	}
	if a, b := eu.number(count("{d}8")), us.number(count("{d}8")); a != 3 || b != 3 {
		t.Errorf("counters beside it are %d and %d, want 3", a, b)
	}
	eventually(t, "the status says so", func() bool {
		s := us.Status(false).Peers
		return len(s) == 1 && len(s[0].Shards) == 1 && s[0].Shards[0].Diverged
	})
}

// What a damaged copy sends before it knows is refused by its digest.
func TestDamageIsNotSpread(t *testing.T) {
	for name, elements := range map[string]int{"a small leaf": 5, "a large leaf": 500} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(t, seeded(t))
			defer h.close()
			eu, us := h.members[0], h.members[1]
			eu.fill("{h}s", names(elements, "e"))
			eu.idle()
			h.converge()
			id := crdt.FieldID{Object: crdt.Object{Key: "{h}s", Type: crdt.TypeSet}, Name: "e-000003"}
			key := entryKey(historyShard, id.Position())
			eu.rot(key, func([]byte) []byte { return nil })
			eu.do(add("{h}s", "new")) // so that the leaves differ
			eu.idle()
			h.wire.allow(100)
			if err := us.walk(t.Context(), "eu", historyShard); err != nil {
				t.Error(err)
			}
			if r := us.do(card("{h}s"), has("{h}s", "e-000003"), has("{h}s", "new")); r[0].Number != int64(elements) || !r[1].Flag || r[2].Flag {
				t.Errorf("after it: %v", r)
			}
			if left := eu.tend(); left > 0 || eu.Counters()["leaves_repaired"] != 1 {
				t.Errorf("%d things are left to repair; %v", left, eu.Counters())
			}
			if r := eu.do(card("{h}s"), has("{h}s", "e-000003"), has("{h}s", "new")); r[0].Number != int64(elements)+1 || !r[1].Flag || !r[2].Flag {
				t.Errorf("repaired: %v", r)
			}
			h.converge()
		})
	}
}

// plant replaces the payload of a field's only entry behind the engine's back,
// with the digests if consistent.
func (m *member) plant(id crdt.FieldID, p crdt.Payload, consistent bool) {
	t := m.cluster.t
	shard, at := shardOf(id.Key), id.Position()
	snap := m.disk.Snapshot()
	defer snap.Close()
	es, err := readField(snap, shard, at)
	if err != nil || len(es) != 1 {
		t.Fatal(es, err)
	}
	before := m.hasher.Entry(string(at), es[0].AppendTo(nil))
	es[0].Payload = p
	after := m.hasher.Entry(string(at), es[0].AppendTo(nil))
	var b store.Batch
	key := entryKey(shard, at)
	b.Put(key, encodeField(key, es))
	if consistent {
		leaf, err := readLeaf(snap, shard, leafOf(at))
		if err != nil {
			t.Fatal(err)
		}
		key := leafKey(shard, leafOf(at))
		b.Put(key, encodeLeaf(key, leaf.Sub(before).Add(after)))
		s := m.shards[shard]
		b.Put(vectorKey(shard), s.encode(s.actor, s.heard, s.root.Sub(before).Add(after)))
	}
	if err := m.disk.Store.Commit(&b); err != nil {
		t.Fatal(err)
	}
}

// deaf is a transport on which the first question to a peer is never answered.
type deaf struct {
	transport.Transport
	asked sync.Once
	lost  chan struct{} // closed when the question was asked
	ended chan error    // how it ended, if somebody wants to know
}

func (d *deaf) Request(ctx context.Context, subject string, data []byte) (answer []byte, err error) {
	lost := false
	d.asked.Do(func() { lost = true })
	if !lost {
		return d.Transport.Request(ctx, subject, data)
	}
	close(d.lost)
	<-ctx.Done()
	select {
	case d.ended <- ctx.Err():
	default:
	}
	return nil, ctx.Err()
}

// What a peer was asked before it was killed is not waited for once it is back.
func TestQuestionDiesWithThePeer(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu", nil)
	eu.do(incr("k", 1))
	us := &member{cluster: c, options: testOptions("us"), disk: &disk{Store: newMemory()}}
	us.options.QuestionTimeout = time.Hour
	wire := &deaf{lost: make(chan struct{})}
	us.wrap = func(end transport.Transport) transport.Transport { wire.Transport = end; return wire }
	us.open()
	us.meet()
	c.members = append(c.members, us)
	<-wire.lost
	eu.restart(nil)
	c.converge()
}

// What is lost on its way to a peer that is there is asked again, long before it
// is given up. A repetition that fails does not end what was asked before.
func TestQuestionIsRepeated(t *testing.T) {
	type attempt struct {
		took time.Duration
		err  error
	}
	lost, answered := attempt{took: time.Hour}, attempt{}
	busy, gone := attempt{err: transport.ErrBusy}, attempt{err: transport.ErrNoResponders}
	walk := &pb.SyncRequest{What: &pb.SyncRequest_Walk{Walk: &pb.Walk{}}}
	for name, test := range map[string]struct {
		question *pb.SyncRequest
		attempts []attempt // the last one stands for all that follow
		asked    int
		err      error
		after    time.Duration
	}{
		"none lost":               {nil, []attempt{answered}, 1, nil, 0},
		"one lost":                {nil, []attempt{lost, answered}, 2, nil, time.Second},
		"two lost":                {nil, []attempt{lost, lost, answered}, 3, nil, 3 * time.Second},
		"three lost":              {nil, []attempt{lost, lost, lost, answered}, 4, nil, 7 * time.Second},
		"all lost":                {nil, []attempt{lost}, 4, context.DeadlineExceeded, 15 * time.Second},
		"nobody":                  {nil, []attempt{gone}, 1, transport.ErrNoResponders, 0},
		"nobody at second hand":   {nil, []attempt{lost, gone}, 2, transport.ErrNoResponders, time.Second},
		"busy":                    {nil, []attempt{busy}, 1, transport.ErrBusy, 0},
		"busy with the first one": {nil, []attempt{{took: 2 * time.Second}, busy}, 2, nil, 2 * time.Second},
		"busy with a lost one":    {nil, []attempt{lost, busy}, 4, context.DeadlineExceeded, 15 * time.Second},
		"busy, then not":          {nil, []attempt{lost, busy, answered}, 3, nil, 3 * time.Second},
		"all fail":                {nil, []attempt{{2 * time.Second, transport.ErrInterrupted}, busy}, 2, transport.ErrInterrupted, 2 * time.Second},
		"a walk lost":             {walk, []attempt{lost, answered}, 2, nil, 5 * time.Second},
		"a slow walk":             {walk, []attempt{{took: 14 * time.Second}}, 2, nil, 14 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				var asked atomic.Int32
				began := time.Now()
				data, err := insist(t.Context(), 15*time.Second, timesOf(test.question), func(ctx context.Context) ([]byte, error) {
					is := test.attempts[min(int(asked.Add(1)), len(test.attempts))-1]
					select {
					case <-time.After(is.took):
						return []byte("answer"), is.err
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				})
				if !errors.Is(err, test.err) || err == nil && string(data) != "answer" || time.Since(began) != test.after {
					t.Errorf("%q, %v after %v; want %v after %v", data, err, time.Since(began), test.err, test.after)
				}
				if n := int(asked.Load()); n != test.asked {
					t.Errorf("asked %d times, want %d", n, test.asked)
				}
			})
		})
	}
}

// A peer that is back is caught up with, though the first question to it is lost.
func TestLostQuestionHoldsNothingUp(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu", nil)
	eu.do(incr("k", 1))
	us := &member{cluster: c, options: testOptions("us"), disk: &disk{Store: newMemory()}}
	us.options.QuestionTimeout = time.Minute / 4
	wire := &deaf{lost: make(chan struct{}), ended: make(chan error, 1)}
	us.wrap = func(end transport.Transport) transport.Transport { wire.Transport = end; return wire }
	us.open()
	us.meet()
	c.members = append(c.members, us)
	c.converge()
	if err := <-wire.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the lost question ended with %v, not because another one was answered", err)
	}
}
