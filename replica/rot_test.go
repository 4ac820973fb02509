package replica

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport/memnet"
)

// misread puts entries in the place of a field's and leaves the checksum as it
// was: what bits that flip may make of it at worst.
func (m *member) misread(id crdt.FieldID, change func(es crdt.Entries)) {
	m.rot(entryKey(shardOf(id.Key), id.Position()), func(sealed []byte) []byte {
		n := len(sealed) - sealBytes
		es, err := crdt.DecodeEntries(id.Type, bytes.Clone(sealed[:n]))
		if err != nil {
			m.cluster.t.Fatal(err)
		}
		change(es)
		return append(es.AppendTo(nil), sealed[n:]...)
	})
}

// restorer returns what puts the value back that is under a key now.
func (m *member) restorer(key []byte) (restore func()) {
	var sound []byte
	m.rot(key, func(value []byte) []byte { sound = bytes.Clone(value); return value })
	return func() { m.rot(key, func([]byte) []byte { return sound }) }
}

// refused checks that an operation met damage, says so, and was not done.
func (m *member) refused(op *pb.Operation) {
	t := m.cluster.t
	t.Helper()
	answer, err := m.try(op)
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, store.ErrCorrupt) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("%v on a damaged value: %v, %v", op, answer, err)
	}
}

func (m *member) repaired() {
	m.cluster.t.Helper()
	eventually(m.cluster.t, "it is repaired", func() bool {
		return len(m.Status(false).Damages) == 0 && len(m.Status(false).NotWhole) == 0
	})
}

// An increment is not built on a contribution that the disk has put under
// another dot, although that was heard: peers would skip it, and it would be
// acknowledged and lost.
func TestNoIncrementIsBuiltOnRot(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu, us := c.start("eu", nil), c.start("us", nil)
	eu.do(add("{c}s", "e"))
	eu.do(incr("{c}", 5))
	c.converge()
	eu.misread(counterField("{c}"), func(es crdt.Entries) { es[0].Dot.Seq = 1 })
	before := eu.State(shardOf("{c}"))
	eu.refused(incr("{c}", 10))
	if now := eu.State(shardOf("{c}")); !before.Vector.Dominates(now.Vector) {
		t.Errorf("the vector went from %v to %v", before.Vector, now.Vector)
	}
	eu.repaired()
	eu.do(incr("{c}", 100))
	c.converge()
	for _, m := range []*member{eu, us} {
		if n := m.number(count("{c}")); n != 105 {
			t.Errorf("%s reads %d, want 105", m.options.Member, n)
		}
	}
}

// Every operation that meets a value which is not what was written is refused:
// nothing of it is shown, and nothing is built on it. What is beside it is
// served, and no actor ends for what was not written.
func TestBrokenSealIsRefused(t *testing.T) {
	element, register := elementField("{x}s", "e"), crdt.FieldID{Object: crdt.Object{Key: "{x}r", Type: crdt.TypeRegister}}
	lower := func(es crdt.Entries) { es[0].Dot.Seq-- } // which was heard
	for name, test := range map[string]struct {
		key    []byte
		damage func(m *member)
		ops    []*pb.Operation
	}{
		"a counter": {
			entryKey(shardOf("{x}"), counterField("{x}c").Position()),
			func(m *member) {
				m.misread(counterField("{x}c"), func(es crdt.Entries) { es[0].Payload = crdt.Contribution{N: 2, Total: 1000} })
			},
			[]*pb.Operation{count("{x}c"), incr("{x}c", 1), reset("{x}c"), del("{x}c", 0)},
		},
		"an element": {
			elementKey("{x}s", "e"),
			func(m *member) { m.misread(element, lower) },
			[]*pb.Operation{has("{x}s", "e"), page("{x}s", "", 10), add("{x}s", "e"), remove("{x}s", "e"), del("{x}s", 0)},
		},
		"a register": {
			entryKey(shardOf("{x}"), register.Position()),
			func(m *member) {
				m.misread(register, func(es crdt.Entries) { es[0].Payload = crdt.Sibling{Time: 1, Value: []byte("wrong")} })
			},
			[]*pb.Operation{get("{x}r"), set("{x}r", "new"), del("{x}r", 0)},
		},
		"a header": {
			setHeader("{x}s"),
			func(m *member) { m.rot(setHeader("{x}s"), func(v []byte) []byte { v[0] ^= 1; return v }) },
			[]*pb.Operation{card("{x}s"), add("{x}s", "another"), remove("{x}s", "e")},
		},
		"a digest": {
			leafKeyOf("{x}s"),
			func(m *member) { m.rot(leafKeyOf("{x}s"), func(v []byte) []byte { v[3] ^= 1; return v }) },
			[]*pb.Operation{add("{x}s", "another"), remove("{x}s", "e")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			few := func(o *Options) { o.LogLimit = 1 } // nobody makes up for it
			for i := range test.ops {
				c := newCluster(t, memnet.Options{})
				m := c.start("eu", few)
				m.do(set("{x}beside", "b"))
				m.do(incr("{x}c", 1), add("{x}s", "e"), set("{x}r", "right"))
				m.do(incr("{x}c", 1), set("{x}beside", "right"))
				actor := m.shards[shardOf("{x}")].writer.Load()
				restore := m.restorer(test.key)
				test.damage(m)
				m.refused(test.ops[i])
				if got := m.values("{x}beside"); !slices.Equal(got, []string{"right"}) {
					t.Errorf("what is beside it reads %q", got)
				}
				eventually(t, "it is known", func() bool { return m.Counters()["leaves_damaged"]+m.Counters()["headers_recounted"] > 0 })
				if now := m.shards[shardOf("{x}")].writer.Load(); now != actor {
					t.Errorf("nothing was written or forgotten, and the actor went from %d to %d", actor, now)
				}
				restore()
			}
		})
	}
}

// An event of a peer is not applied to a field that is not what was written. It
// comes once the leaf is repaired, and nothing is counted twice or lost.
func TestNoEventIsAppliedToRot(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu, us := c.start("eu", nil), c.start("us", nil)
	eu.do(incr("c", 3))
	us.do(incr("c", 4))
	c.converge()
	c.network.CutRegion("us")
	eu.misread(counterField("c"), func(es crdt.Entries) { es[0].Payload = crdt.Contribution{N: 1, Total: 1000} })
	us.do(reset("c"))
	us.do(incr("c", 50))
	c.network.RestoreRegion("us")
	c.converge()
	eu.repaired()
	c.converge()
	for _, m := range c.members {
		if n := m.number(count("c")); n != 50 {
			t.Errorf("%s reads %d, want 50", m.options.Member, n)
		}
	}
	if n := eu.Counters(); n["leaves_damaged"] == 0 || n["divergences"] > 0 {
		t.Errorf("%v", n)
	}
}

// A leaf that was compared with its digest a moment ago, and has rotted since, is
// hidden when a walk meets it: the rest of the answer is given.
func TestWalkMeetsRot(t *testing.T) {
	m, err := fuzzed(t, fuzzOptions("eu"), lived(t, "eu"))
	if err != nil {
		t.Fatal(err)
	}
	id := elementField(fuzzKeys.set, "eu-000009")
	leaf := leafOf(id.Position())
	walk := func(lo, hi crdt.Position) (inLeaf int) {
		ask := &pb.Range{Low: []byte(lo), High: []byte(hi), Digest: merkle.Digest{Count: 1}.AppendTo(nil)}
		walked, err := m.serveWalk(&pb.Walk{Shard: fuzzShard, Ranges: []*pb.Range{ask}})
		if err != nil {
			t.Fatal(err)
		}
		parts, err := decodeParts(fuzzShard, testShards, walked)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			if leafOf(p.Lo) == leaf {
				inLeaf += int(p.Digest.Count) + len(p.Fields)
			}
		}
		return inLeaf
	}
	if n := walk(leafStart(leaf), leafStart(leaf+1)); n == 0 {
		t.Fatal("the leaf is empty")
	}
	m.misread(id, func(es crdt.Entries) { es[0].Dot.Seq-- })
	if n := walk(leafStart(leaf), leafStart(leaf+1)); n > 0 {
		t.Errorf("a walk shows %d entries of the damaged leaf", n)
	}
	if hidden := m.shards[fuzzShard].health.hidden(); !slices.Equal(hidden, []int{leaf}) {
		t.Errorf("hidden are the leaves %v, want %d", hidden, leaf)
	}
}

// What a shard may have heard, when that is not known, is not taken from entries
// that are not what was written.
func TestRotSpeaksOfNothing(t *testing.T) {
	m := alone(t, nil)
	m.do(add("s", "e"))
	m.do(incr("s", 1))
	shard := shardOf("s")
	defer m.restorer(elementKey("s", "e"))()
	m.misread(elementField("s", "e"), func(es crdt.Entries) { es[0].Dot.Seq = 1000 })
	snap := m.disk.Snapshot()
	defer snap.Close()
	spoken, err := spokenOf(snap, shard)
	if actor := m.shards[shard].actor; err != nil || spoken[actor] != 2 {
		t.Errorf("it speaks of %v, %v", spoken, err)
	}
}

// Whatever bit flips, a read answers what is right or says that it cannot, a write
// is done or refused, and in the end everything is right everywhere.
func TestAnyBit(t *testing.T) {
	random := seeded(t)
	c := newCluster(t, memnet.Options{})
	eu, us := c.start("eu", nil), c.start("us", nil)
	eu.do(add("{d}s", names(5, "e")...), set("{d}r", "right"), incr("{d}c", 7))
	us.do(incr("{d}c", 1))
	want := int64(8)
	for range 40 {
		c.converge()
		var keys [][]byte
		snap := eu.disk.Snapshot()
		for _, kind := range []byte("ehm") {
			if err := snap.Scan(shardKey(kind, shardOf("{d}"), 0), shardEnd(kind, shardOf("{d}")), func(key, _ []byte) error {
				keys = append(keys, bytes.Clone(key))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		snap.Close()
		key, bit := keys[random.IntN(len(keys))], random.IntN(1<<16)
		what := fmt.Sprintf("bit %d of %q", bit, key)
		eu.rot(key, func(v []byte) []byte { bit %= 8 * len(v); v[bit/8] ^= 1 << (bit % 8); return v })
		for op, right := range map[*pb.Operation]func(r *pb.Result) bool{
			count("{d}c"):           func(r *pb.Result) bool { return r.Number == want },
			card("{d}s"):            func(r *pb.Result) bool { return r.Number == 5 },
			page("{d}s", "", 10):    func(r *pb.Result) bool { return len(r.Values) == 5 },
			get("{d}r"):             func(r *pb.Result) bool { return len(r.Siblings) == 1 && string(r.Siblings[0].Value) == "right" },
			has("{d}s", "e-000002"): func(r *pb.Result) bool { return r.Flag },
		} {
			answer, err := eu.try(op)
			if err != nil {
				if !errors.Is(err, store.ErrCorrupt) {
					t.Errorf("%s, %v: %v", what, op, err)
				}
				continue
			}
			if r := answer.Results[0]; !right(r) {
				t.Errorf("%s: %v answers %v", what, op, r)
			}
		}
		if _, err := eu.try(incr("{d}c", 2)); err == nil {
			want += 2
		} else if !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
		eu.scrubbed()
		eu.repaired()
		c.converge()
		for _, m := range c.members {
			r := m.do(count("{d}c"), card("{d}s"), get("{d}r"))
			if r[0].Number != want || r[1].Number != 5 || string(r[2].Siblings[0].Value) != "right" {
				t.Fatalf("%s: in the end %s reads %v, want %d", what, m.options.Member, r, want)
			}
		}
	}
}
