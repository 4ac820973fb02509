package replica

import (
	"bytes"
	"errors"
	"testing"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport/memnet"
)

// A sealed value is what was written under its key, or nothing: not with a bit
// changed, not cut, and not under another key.
func TestSeal(t *testing.T) {
	random := seeded(t)
	for range 200 {
		key, value := make([]byte, 1+random.IntN(20)), make([]byte, random.IntN(100))
		for _, b := range [][]byte{key, value} {
			for i := range b {
				b[i] = byte(random.Uint32())
			}
		}
		sealed := seal(key, value)
		if got, sound := unseal(key, sealed); !sound || !bytes.Equal(got, value) {
			t.Fatalf("%x under %x comes back as %x, %v", value, key, got, sound)
		}
		for _, b := range [][]byte{key, sealed} {
			bit := byte(1) << random.IntN(8)
			at := random.IntN(len(b))
			b[at] ^= bit
			if _, sound := unseal(key, sealed); sound {
				t.Fatalf("%x under %x passes with bit %d of byte %d changed", value, key, bit, at)
			}
			b[at] ^= bit
		}
		if _, sound := unseal(key, sealed[:random.IntN(len(sealed))]); sound {
			t.Fatal("a part passes")
		}
	}
}

// An event of the log that is not what was written is not served: the peer
// that asks for it walks instead.
func TestDamagedLog(t *testing.T) {
	c, eu, us, _ := three(t, nil)
	eu.do(set("r", "right"))
	c.converge()
	shard := shardOf("r")
	key := logKey(shard, crdt.Dot{Actor: eu.shards[shard].actor, Seq: 1})
	for _, m := range []*member{eu, us, c.members[2]} {
		m.rot(key, func(value []byte) []byte { return bytes.Replace(value, []byte("right"), []byte("wrong"), 1) })
	}
	late := c.start("late", nil)
	c.converge()
	if got := late.values("r"); len(got) != 1 || got[0] != "right" {
		t.Errorf("a peer that was late reads %q", got)
	}
	if n := late.Counters(); n["events_fetched"] != 0 || n["walks"] == 0 {
		t.Errorf("%v", n)
	}
	for _, m := range []*member{eu, us, c.members[2]} {
		m.rot(key, func(value []byte) []byte { return bytes.Replace(value, []byte("wrong"), []byte("right"), 1) })
	}
}

// What a disk has made of an entry is not built upon, not even if its checksum is
// right: an event that removes what was never there, every peer would refuse.
func TestNothingIsBuiltOnRot(t *testing.T) {
	contribution := crdt.Contribution{N: 1, Total: 3}
	later, undone := contribution, contribution
	later.N, undone.ResetN = 1000, 1000
	for name, test := range map[string]struct {
		id     crdt.FieldID
		change func(e *crdt.Entry)
		op     *pb.Operation
		want   int64
	}{
		"the dot of an element":  {elementField("s", "e"), func(e *crdt.Entry) { e.Dot.Seq = 1000 }, remove("s", "e"), 1},
		"the N of a counter":     {counterField("s"), func(e *crdt.Entry) { e.Payload = later }, reset("s"), 0},
		"the reset of a counter": {counterField("s"), func(e *crdt.Entry) { e.Payload = undone }, reset("s"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, memnet.Options{})
			eu := c.start("eu", nil)
			eu.do(add("s", "e"), incr("s", 3))
			shard := shardOf("s")
			eu.forgeField(test.id, func(es crdt.Entries) { test.change(&es[0]) })
			before := eu.State(shard)
			if _, err := eu.try(test.op); !errors.Is(err, ErrUnavailable) || !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("%v: %v", test.op, err)
			}
			if now := eu.State(shard); !before.Vector.Dominates(now.Vector) {
				t.Errorf("the vector went from %v to %v", before.Vector, now.Vector)
			}
			eventually(t, "the leaf is repaired from the log", func() bool {
				answer, err := eu.try(test.op)
				return err == nil && answer.Results[0].Number == test.want
			})
		})
	}
}

// forge changes a value as rot does, and sets its checksum right.
func (m *member) forge(key []byte, change func(value []byte) []byte) {
	m.rot(key, func(sealed []byte) []byte {
		value, sound := unseal(key, sealed)
		if !sound {
			m.cluster.t.Errorf("%x under %q is not sound", sealed, key)
		}
		return seal(key, change(value))
	})
}

// forgeField changes the entries of a field, and sets their checksum right.
func (m *member) forgeField(id crdt.FieldID, change func(es crdt.Entries)) {
	m.forge(entryKey(shardOf(id.Key), id.Position()), func(value []byte) []byte {
		es, err := crdt.DecodeEntries(id.Type, value)
		if err != nil {
			m.cluster.t.Fatal(err)
		}
		change(es)
		return es.AppendTo(nil)
	})
}

// rot changes a value on the member's disk behind the back of its engine; nil
// removes it.
func (m *member) rot(key []byte, change func(value []byte) []byte) {
	t := m.cluster.t
	t.Helper()
	snap := m.disk.Snapshot()
	defer snap.Close()
	value, err := snap.Get(key)
	if err != nil {
		t.Fatalf("%q: %v", key, err)
	}
	w := store.Write{Key: key}
	if change != nil {
		w.Value = change(bytes.Clone(value))
	}
	if err := m.disk.Store.Commit(batchOf([]store.Write{w})); err != nil {
		t.Fatal(err)
	}
}
