package replica

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store/faultstore"
	"github.com/atolldb/atoll/internal/store/memstore"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/memnet"
)

func elementField(key, element string) crdt.FieldID {
	return crdt.FieldID{Object: crdt.Object{Key: key, Type: crdt.TypeSet}, Name: element}
}

func elementKey(key, element string) []byte {
	return entryKey(shardOf(key), elementField(key, element).Position())
}

func leafKeyOf(key string) []byte {
	return leafKey(shardOf(key), leafOf(counterField(key).Position()))
}

// scrubbed has the member compare all it has, and waits until it has.
func (m *member) scrubbed() {
	m.cluster.t.Helper()
	n := m.scrubState().Finished
	m.Scrub(false)
	eventually(m.cluster.t, "the scrub ends", func() bool { return m.scrubState().Finished > n })
}

// damages are what can happen to the set "{d}s" on a disk.
var damages = map[string]func(m *member){
	"an entry is changed": func(m *member) {
		m.rot(elementKey("{d}s", "e-000003"), func(v []byte) []byte { v[len(v)-1]++; return v })
	},
	"an entry is garbage": func(m *member) {
		m.rot(elementKey("{d}s", "e-000003"), func([]byte) []byte { return []byte("garbage") })
	},
	"an entry is gone": func(m *member) {
		m.rot(elementKey("{d}s", "e-000003"), func([]byte) []byte { return nil })
	},
	"all entries are gone": func(m *member) {
		for _, e := range names(20, "e") {
			m.rot(elementKey("{d}s", e), func([]byte) []byte { return nil })
		}
	},
	"a value is another's": func(m *member) {
		m.forgeField(counterField("{d}c"), func(es crdt.Entries) { es[0].Payload = crdt.Contribution{N: 3, Total: 1000} })
	},
	"an entry cannot be read": func(m *member) {
		m.disk.Store.(*faultstore.Store).Hide(elementKey("{d}s", "e-000003"))
	},
	"a digest is gone":    func(m *member) { m.rot(leafKeyOf("{d}s"), func([]byte) []byte { return nil }) },
	"a digest is garbage": func(m *member) { m.rot(leafKeyOf("{d}s"), func([]byte) []byte { return []byte("garbage") }) },
	"a digest is changed": func(m *member) { m.rot(leafKeyOf("{d}s"), func(v []byte) []byte { v[20]++; return v }) },
	"a digest is wrong":   func(m *member) { m.forge(leafKeyOf("{d}s"), func(v []byte) []byte { v[20]++; return v }) },
	"a digest and an entry are gone": func(m *member) {
		m.rot(leafKeyOf("{d}s"), func([]byte) []byte { return nil })
		m.rot(elementKey("{d}s", "e-000003"), func([]byte) []byte { return nil })
	},
	"a header is changed": func(m *member) { m.rot(setHeader("{d}s"), func(v []byte) []byte { v[0]++; return v }) },
	"a header is wrong":   func(m *member) { m.forge(setHeader("{d}s"), func([]byte) []byte { return []byte{77} }) },
	"a header is garbage": func(m *member) { m.rot(setHeader("{d}s"), func([]byte) []byte { return []byte{0xff} }) },
	"a header is gone":    func(m *member) { m.rot(setHeader("{d}s"), func([]byte) []byte { return nil }) },
	"a header without fields": func(m *member) {
		m.rot(setHeader("{d}s"), func(v []byte) []byte { return v })
		b := batchOf(nil)
		b.Put(setHeader("{d}nothing"), encodeHeader(setHeader("{d}nothing"), 3))
		if err := m.disk.Store.Commit(b); err != nil {
			m.cluster.t.Fatal(err)
		}
	},
}

func setHeader(key string) []byte {
	return headerKey(shardOf(key), crdt.Object{Key: key, Type: crdt.TypeSet})
}

// startFaulty starts a member on a disk that can be made to fail.
func (c *cluster) startFaulty(name string, change func(*Options)) *member {
	return c.startOn(name, &disk{Store: faultstore.New(memstore.New()), keep: true}, change)
}

// wantAll checks what TestDamageIsRepaired and its like have written.
func (m *member) wantAll(counter int64) {
	t := m.cluster.t
	t.Helper()
	r := m.do(card("{d}s"), count("{d}c"), get("{d}r"))
	if r[0].Number != 20 || r[1].Number != counter || string(r[2].Siblings[0].Value) != "kept" {
		t.Errorf("%s: %d elements, want 20; counter %d, want %d; %v", m.options.Member, r[0].Number, r[1].Number, counter, r[2])
	}
	if got := m.elements("{d}s"); !slices.Equal(got, names(20, "e")) {
		t.Errorf("%s: elements %v", m.options.Member, got)
	}
}

// Whatever is damaged is found by a scrub and repaired, from a peer or from
// what is there besides; the audit at the end finds everything in step. What
// was written here and has not reached anybody is not lost by it.
func TestDamageIsRepaired(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, memnet.Options{})
			few := func(o *Options) { o.LogLimit = 3 }
			eu, us := c.start("eu", few), c.startFaulty("us", few)
			eu.do(add("{d}s", names(19, "e")...))
			us.do(set("{d}r", "kept"))
			for range 5 {
				eu.do(incr("{d}c", 1))
			}
			us.do(incr("{d}c", 10))
			c.converge()
			c.network.CutRegion("us")
			us.do(incr("{d}c", 100))
			us.do(add("{d}s", "e-000019"))
			actor := us.shards[shardOf("{d}s")].writer.Load()
			damage(us)
			us.scrubbed()
			c.network.RestoreRegion("us")
			eventually(t, "it is repaired", func() bool { return len(us.Status(false).Damages) == 0 })
			c.converge()
			for _, m := range c.members {
				m.wantAll(115)
			}
			n := us.Counters()
			if n["leaves_damaged"] != n["leaves_repaired"] || n["leaves_damaged"]+n["headers_recounted"] == 0 || n["divergences"] > 0 {
				t.Errorf("%v", n)
			}
			us.do(incr("{d}c", 1))
			if n["fields_pulled"] > 0 && us.shards[shardOf("{d}s")].writer.Load() == actor {
				t.Error("it goes on under the same actor")
			}
			us.scrubbed()
			if again := us.Counters(); again["leaves_damaged"] != n["leaves_damaged"] || again["headers_recounted"] != n["headers_recounted"] {
				t.Errorf("a second scrub finds more: %v, then %v", n, again)
			}
		})
	}
}

// What a shard has heard cannot be read: the member starts, answers reads,
// refuses writes, and starts the shard anew when it meets a peer that has it
// all. What nobody else has comes back from the log.
func TestVectorIsLost(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"changed": func(v []byte) []byte { v[len(v)/2]++; return v },
		"gone":    func([]byte) []byte { return nil },
		"garbage": func([]byte) []byte { return []byte{1, 2, 3} },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, memnet.Options{})
			few := func(o *Options) { o.LogLimit = 3 }
			eu, us := c.start("eu", few), c.start("us", few)
			eu.do(add("{d}s", names(20, "e")...), set("{d}r", "kept"))
			for range 6 {
				us.do(incr("{d}c", 1))
			}
			c.converge()
			c.network.CutRegion("us")
			us.do(incr("{d}c", 100))
			us.stop()
			us.rot(vectorKey(shardOf("{d}")), change)
			us.open()
			us.meet()
			us.wantAll(106)
			if _, err := us.try(incr("{d}c", 1)); !errors.Is(err, ErrUnavailable) {
				t.Errorf("a write: %v", err)
			}
			us.do(incr("other", 1)) // of another shard
			if d := us.Status(false).Damages; len(d) != 1 || d[0].Unmended == "" && us.Counters()["repair_errors"] > 0 {
				t.Errorf("the status says %v", d)
			}
			if s := us.State(shardOf("{d}")); s.Whole || len(s.Vector) > 0 {
				t.Errorf("it says to have heard %v", s)
			}
			c.network.RestoreRegion("us")
			eventually(t, "it starts anew", func() bool { return len(us.Status(false).Damages) == 0 })
			c.converge()
			for _, m := range c.members {
				m.wantAll(106)
			}
		})
	}
}

// A member that is alone forgets nothing, unless its log has all of it. A peer
// that comes empty is not taken for one that knows better, gets all that is
// sound, and nothing that is not.
func TestAloneNothingIsForgotten(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	few := func(o *Options) { o.LogLimit = 1 }
	eu := c.start("eu", few)
	eu.do(add("{d}s", names(20, "e")...), set("{d}r", "right"))
	eu.do(incr("{d}c", 1))
	key := entryKey(shardOf("{d}"), crdt.FieldID{Object: crdt.Object{Key: "{d}r", Type: crdt.TypeRegister}}.Position())
	swap := func(from, to string) {
		eu.forge(key, func(v []byte) []byte { return bytes.Replace(v, []byte(from), []byte(to), 1) })
	}
	swap("right", "wrong")
	eu.scrubbed()
	eventually(t, "the status says why nothing is done", func() bool {
		d := eu.Status(false).Damages
		return len(d) == 1 && len(d[0].Leaves) == 1 && d[0].Unmended != ""
	})
	late := c.start("late", few)
	eventually(t, "a newcomer has what is sound", func() bool {
		return late.number(card("{d}s")) == 20 && late.number(count("{d}c")) == 1
	})
	eventually(t, "it was asked for help", func() bool {
		return bytes.Contains([]byte(eu.Status(false).Damages[0].Unmended), []byte("late"))
	})
	if got := late.values("{d}r"); len(got) > 0 {
		t.Errorf("the newcomer has taken %q from a damaged leaf", got)
	}
	if got := eu.values("{d}r"); len(got) != 1 || got[0] != "wrong" {
		t.Errorf("the damaged value reads %q", got)
	}
	if s := eu.Status(false); eu.State(shardOf("{d}")).Whole || !slices.Equal(s.NotWhole, []uint32{uint32(shardOf("{d}"))}) {
		t.Errorf("shards that are not whole: %v", s.NotWhole)
	}
	swap("wrong", "right") // a disk that comes back
	c.converge()
	if got := late.values("{d}r"); len(got) != 1 || got[0] != "right" {
		t.Errorf("in the end the newcomer reads %q", got)
	}
}

// What nobody has is given up when somebody says so, not before, and only that:
// what a peer has of the leaf is kept, everything else goes on.
func TestGiveUp(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	few := func(o *Options) { o.LogLimit = 1 }
	eu, us := c.start("eu", few), c.start("us", few)
	eu.do(add("{d}s", names(20, "e")...), add("{d}t", "x"))
	eu.do(incr("{d}c", 1))
	c.converge()
	us.stop()
	eu.do(add("{d}t", "only here"))
	eu.do(incr("{d}c", 1))
	eu.rot(elementKey("{d}t", "only here"), func([]byte) []byte { return []byte("garbage") })
	eu.scrubbed()
	us.restart(us.disk)
	eventually(t, "the status says why nothing is done", func() bool {
		d := eu.Status(false).Damages
		return len(d) == 1 && bytes.Contains([]byte(d[0].Unmended), []byte("us"))
	})
	eu.Scrub(true)
	eventually(t, "it is given up", func() bool { return len(eu.Status(false).Damages) == 0 })
	eu.do(incr("{d}c", 5), add("{d}t", "y"))
	us.do(incr("{d}c", 7))
	eventually(t, "all agree", func() bool {
		for _, m := range []*member{eu, us} {
			if m.number(count("{d}c")) != 14 || m.number(card("{d}s")) != 20 || m.number(card("{d}t")) != 2 {
				return false
			}
		}
		return eu.State(shardOf("{d}")).Root == us.State(shardOf("{d}")).Root
	})
}

// What comes into a leaf while its replacement is under way is counted neither
// before nor after twice.
func TestHeaderOfReplacedLeaf(t *testing.T) {
	m := alone(t, nil)
	m.do(add("s", "e"))
	s := m.shards[shardOf("s")]
	at := elementField("s", "e").Position()
	p := &replacement{shard: s, leaf: leafOf(at), last: true, atAnyPrice: true} // begun when there was no "s" yet
	p.add([]antientropy.Part{{Range: antientropy.Range{Lo: leafStart(leafOf(at)), Hi: leafStart(leafOf(at) + 1)}}})
	if err := m.submitAndWait(t.Context(), task{shard: s, alone: p.replace}); err != nil {
		t.Fatal(err)
	}
	if n := m.number(card("s")); n != 0 {
		t.Errorf("the empty set counts %d", n)
	}
	m.setAhead(s, true)
	m.keeper.wake()
	eventually(t, "the log brings it back", func() bool { return m.number(card("s")) == 1 })
}

// A leaf of which nothing can be read, not even its digest, is not taken for an
// empty one because the root was written anew without it: another leaf was replaced
// before.
func TestNothingIsNoProof(t *testing.T) {
	first, second := "{d}s", "{d}t"
	if bytes.Compare(leafKeyOf(first), leafKeyOf(second)) > 0 {
		first, second = second, first // leaves are repaired in order
	}
	for name, damage := range map[string]func([]byte) []byte{
		"it is garbage": func([]byte) []byte { return []byte("garbage") },
		"it is gone":    func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, memnet.Options{})
			eu, us := c.start("eu", nil), c.start("us", nil)
			eu.do(add(first, "e"), add(second, "e"))
			c.converge()
			us.rot(elementKey(first, "e"), damage)
			us.rot(elementKey(second, "e"), damage)
			us.rot(leafKeyOf(second), func([]byte) []byte { return []byte("garbage") })
			us.scrubbed()
			us.repaired()
			c.converge()
			for _, m := range []*member{eu, us} {
				if a, b := m.number(card(first)), m.number(card(second)); a != 1 || b != 1 {
					t.Errorf("%s: %d and %d elements, want one each", m.options.Member, a, b)
				}
			}
			if n := us.Counters()["leaves_repaired"]; n != 2 {
				t.Errorf("%d leaves were repaired, want 2", n)
			}
		})
	}
}

// An event of the log waits for what it builds on where it changes something, not
// for what another leaf has lost for good.
func TestLogIsReplayedBesideWhatIsLost(t *testing.T) {
	m := alone(t, nil)
	lost, kept := "{d}s", "{d}t"
	s, leaf := m.shards[shardOf(lost)], leafOf(counterField(lost).Position())
	other := leafOf(counterField(kept).Position())
	alone := func(do func(l *loop) error) {
		t.Helper()
		if err := m.submitAndWait(t.Context(), task{shard: s, alone: do}); err != nil {
			t.Fatal(err)
		}
	}
	m.do(add(lost, "e"))
	first := crdt.Dot{Actor: s.actor, Seq: 1}
	alone(func(l *loop) error {
		g := l.newGroup()
		g.change(s).become(0)
		return g.commitOne(s)
	})
	m.do(incr(kept, 1)) // has heard of the first
	m.rot(logKey(s.index, first), func([]byte) []byte { return nil })
	for leaf, heard := range map[int]crdt.VersionVector{leaf: nil, other: {first.Actor: first.Seq}} {
		p := &replacement{shard: s, leaf: leaf, last: true, atAnyPrice: true}
		p.add([]antientropy.Part{{Range: antientropy.Range{Lo: leafStart(leaf), Hi: leafStart(leaf + 1)}, Heard: heard}})
		alone(p.replace)
	}
	if n := m.number(count(kept)); n != 0 {
		t.Fatalf("the counter is %d before", n)
	}
	m.setAhead(s, true)
	m.keeper.wake()
	eventually(t, "the log brings it back", func() bool { return m.number(count(kept)) == 1 })
	if n := m.number(card(lost)); n != 0 {
		t.Errorf("what is lost counts %d", n)
	}
}

// A repair that fails must not wake who repairs, or that would go on for ever
// without a pause.
func TestSuspicionPauses(t *testing.T) {
	now := time.Now()
	r := &Replica{keeper: newKeeper(), options: Options{Now: func() time.Time { return now }}}
	s := &shard{}
	woken := func() bool {
		select {
		case <-r.keeper.attention:
			return true
		default:
			return false
		}
	}
	r.suspect(s, suspicionPause)
	if !woken() {
		t.Error("nobody looks at what is suspected")
	}
	s.health.suspected, s.health.inspected = false, now // as the keeper does
	r.suspect(s, suspicionPause)
	if woken() {
		t.Error("it is looked at again at once")
	}
	now = now.Add(suspicionPause)
	r.suspect(s, suspicionPause)
	if !woken() {
		t.Error("it is not looked at again")
	}
}

// A member that is alone and has all in its log needs nobody.
func TestAloneWithTheLog(t *testing.T) {
	m := alone(t, nil)
	m.do(add("{d}s", names(30, "e")...), set("{d}r", "kept"))
	m.do(remove("{d}s", names(30, "e")[20:]...), incr("{d}c", 3), incr("{d}c", 4))
	for _, damage := range []string{"an entry is garbage", "all entries are gone"} {
		damages[damage](m)
		m.scrubbed()
		eventually(t, "it is repaired", func() bool { return len(m.Status(false).Damages) == 0 })
		eventually(t, "it is whole", func() bool { return len(m.Status(false).NotWhole) == 0 })
		m.wantAll(7)
	}
}

// only is a network with one other member.
type only struct {
	transport.Transport
	peer *member
}

func (o only) Publish(string, []byte) error { return nil }

func (o only) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	return o.peer.serveSync(ctx, transport.Message{Subject: subject, Data: data})
}

// A leaf of many fields is replaced in several batches. Wherever a crash comes
// in between, the next start finds the leaf damaged still and does it again.
func TestRepairInSteps(t *testing.T) {
	elements := names(6000, "e")
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu", shortLog)
	us := c.startOn("us", &disk{Store: memstore.New(), keep: true}, shortLog)
	eu.fill("{d}s", elements)
	for i := range 10 {
		us.do(incr("{d}c", int64(i)))
	}
	c.converge()
	lost := batchOf(nil)
	lost.Delete(elementKey("{d}s", "e-000003"))
	if err := us.disk.Commit(lost); err != nil {
		t.Fatal(err)
	}
	first := us.disk.committed()
	us.scrubbed()
	eventually(t, "it is repaired", func() bool { return len(us.Status(false).Damages) == 0 })
	c.settle()
	last := us.disk.committed()
	if last-first < 4 {
		t.Fatalf("the repair took %d batches", last-first)
	}
	for n := first; n <= last; n++ {
		left := us.disk.prefix(t, n)
		crashed := &member{cluster: c, options: us.options, disk: left}
		crashed.open()
		crashed.network.Store(&network{transport: only{peer: eu}})
		crashed.receiveGossip(transport.Message{Data: marshal(&pb.Gossip{Member: "eu", Region: "eu", Cluster: eu.clusterNumber()})})
		err := crashed.verify(crashed.shards[shardOf("{d}")])
		for i := 0; crashed.tend() > 0; i++ {
			if i > 10 {
				t.Fatalf("after %d of %d batches (%v): %v", n-first, last-first, err, crashed.Status(false).Damages)
			}
		}
		if got := crashed.number(card("{d}s")); got != int64(len(elements)) {
			t.Errorf("after %d of %d batches (%v): %d elements", n-first, last-first, err, got)
		}
		crashed.stop()
		audit(t, left, us.options)
	}
}
