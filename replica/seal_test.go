package replica

import (
	"bytes"
	"errors"
	"testing"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
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

// What a disk has made of an entry is not built upon: an event that removes what
// was never there, every peer would refuse.
func TestNothingIsBuiltOnRot(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu", nil)
	eu.do(add("s", "e"))
	shard := shardOf("s")
	at := crdt.FieldID{Object: crdt.Object{Key: "s", Type: crdt.TypeSet}, Name: "e"}.Position()
	key := entryKey(shard, at)
	right := readRaw(t, eu, key)
	entries, err := decodeField(at, right)
	if err != nil {
		t.Fatal(err)
	}
	entries[0].Dot.Seq = 1000
	eu.rot(key, func([]byte) []byte { return entries.AppendTo(nil) })
	before := eu.State(shard)
	if _, err := eu.try(remove("s", "e")); !errors.Is(err, ErrUnavailable) || !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("a removal: %v", err)
	}
	if now := eu.State(shard); !before.Vector.Dominates(now.Vector) {
		t.Errorf("the vector went from %v to %v", before.Vector, now.Vector)
	}
	eventually(t, "the leaf is repaired from the log", func() bool {
		answer, err := eu.try(remove("s", "e"))
		return err == nil && answer.Results[0].Number == 1
	})
}

func readRaw(t *testing.T, m *member, key []byte) []byte {
	t.Helper()
	snap := m.disk.Snapshot()
	defer snap.Close()
	value, err := snap.Get(key)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(value)
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
