package replica

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
)

// audited is what an audit computes of one shard from the entries and the log.
type audited struct {
	heard  *crdt.Heard
	root   merkle.Digest
	leaves map[int]merkle.Digest
	live   map[crdt.Object]uint64
	fields map[crdt.Position]crdt.Entries
	log    map[crdt.Dot]string
}

// audit checks that everything in a store is well-formed and in step with
// everything else, and returns the shards.
func audit(t testing.TB, s store.Store, o Options) []*audited {
	t.Helper()
	o, err := o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	snap := s.Snapshot()
	defer snap.Close()
	shards := make([]*audited, o.Shards+1) // the last is the system's
	for i := range shards {
		shards[i] = auditShard(t, snap, i, o)
	}
	known := "cvehmlso"
	err = snap.Scan(nil, nil, func(key, _ []byte) error {
		if !bytes.ContainsRune([]byte(known), rune(key[0])) ||
			key[0] != 'c' && int(binary.BigEndian.Uint16(key[1:])) > o.Shards {
			t.Errorf("audit of %s: unknown key %x", o.Member, key)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return shards
}

func auditShard(t testing.TB, snap store.Snapshot, index int, o Options) *audited {
	t.Helper()
	var state shard
	state.index = index
	if err := state.load(snap); err != nil {
		t.Fatal(err)
	}
	a := &audited{
		heard: state.heard, leaves: map[int]merkle.Digest{}, live: map[crdt.Object]uint64{},
		fields: map[crdt.Position]crdt.Entries{}, log: map[crdt.Dot]string{},
	}
	a.entries(t, snap, index, o)
	if a.root != state.root {
		t.Errorf("audit of %s: shard %d holds %v, its root says %v", o.Member, index, a.root, state.root)
	}
	visit(t, snap, 'm', index, func(key, value []byte) {
		leaf := int(binary.BigEndian.Uint16(key))
		digest, err := decodeLeaf(leafKey(index, leaf), value)
		if err != nil || digest != a.leaves[leaf] || digest == (merkle.Digest{}) {
			t.Errorf("audit of %s: shard %d, leaf %d holds %v, its digest says %v, %v", o.Member, index, leaf, a.leaves[leaf], digest, err)
		}
		delete(a.leaves, leaf)
	})
	live := map[crdt.Object]uint64{}
	visit(t, snap, 'h', index, func(key, value []byte) {
		object := crdt.Object{Key: string(key[:len(key)-1]), Type: crdt.Type(key[len(key)-1])}
		value, sound := unseal(headerKey(index, object), value)
		n, size := binary.Uvarint(value)
		if live[object] = n; !sound || size != len(value) || n != a.live[object] || n == 0 {
			t.Errorf("audit of %s: %v has %d fields, its header says %x", o.Member, object, a.live[object], value)
		}
	})
	if len(a.leaves) > 0 || len(live) != len(a.live) {
		t.Errorf("audit of %s: shard %d: %d leaves without a digest; %d headers for %d objects",
			o.Member, index, len(a.leaves), len(live), len(a.live))
	}
	a.events(t, snap, index, o)
	a.operations(t, snap, index, o)
	return a
}

// entries reads the entries of a shard and what follows from them.
func (a *audited) entries(t testing.TB, snap store.Snapshot, index int, o Options) {
	t.Helper()
	hasher := merkle.NewHasher(o.DigestKey)
	visit(t, snap, 'e', index, func(key, value []byte) {
		at := crdt.Position(key)
		id, err := crdt.DecodePosition(at)
		if err != nil || !holds(o.Shards, index, id.Key) {
			t.Errorf("audit of %s: shard %d holds a field at %x, %v", o.Member, index, key, err)
			return
		}
		value, sound := unseal(entryKey(index, at), value)
		es, err := crdt.DecodeEntries(id.Type, value)
		if !sound || err != nil || len(es) == 0 || !bytes.Equal(es.AppendTo(nil), value) {
			t.Errorf("audit of %s: %v holds %x, %v", o.Member, id, value, err)
		}
		heard := a.heard.At(at)
		for _, e := range es {
			digest := hasher.Entry(string(at), e.AppendTo(nil))
			a.root = a.root.Add(digest)
			a.leaves[leafOf(at)] = a.leaves[leafOf(at)].Add(digest)
			last := e.Dot
			if c, ok := e.Payload.(crdt.Contribution); ok {
				last.Seq = max(last.Seq, c.N, c.ResetN)
			}
			if !heard.Covers(last) {
				t.Errorf("audit of %s: %v holds %v of an event that was not heard: %v", o.Member, id, e, heard)
			}
		}
		a.live[id.Object]++
		a.fields[at] = es
	})
}

// operations reads the order of the records' times, which has each of them once.
func (a *audited) operations(t testing.TB, snap store.Snapshot, index int, o Options) {
	t.Helper()
	want := 0
	for at := range a.fields {
		if id, err := at.FieldID(); err == nil && id.Type == crdt.TypeOperation {
			want++
			if _, err := snap.Get(operationKey(index, at, operationOf(id))); err != nil {
				t.Errorf("audit of %s: the record %v is not found by its time: %v", o.Member, id, err)
			}
		}
	}
	if n, err := countRecords(snap, index); n < want || err != nil {
		t.Errorf("audit of %s: shard %d has %d records in the order of time, %d fields: %v", o.Member, index, n, want, err)
	}
}

// events reads the log of a shard.
func (a *audited) events(t testing.TB, snap store.Snapshot, index int, o Options) {
	t.Helper()
	vector, somewhere := a.heard.Vector(), crdt.VersionVector{}
	for _, span := range a.heard.Over("", crdt.End) { // more than the vector where a leaf was given up
		somewhere.Join(span.Vector)
	}
	perActor := map[crdt.Actor]int{}
	visit(t, snap, 'l', index, func(key, value []byte) {
		dot := crdt.Dot{Actor: crdt.Actor(binary.BigEndian.Uint64(key)), Seq: binary.BigEndian.Uint64(key[8:])}
		value, sound := unseal(logKey(index, dot), value)
		event, err := crdt.DecodeEvent(value)
		switch {
		case !sound || err != nil || event.Dot != dot || !bytes.Equal(event.AppendTo(nil), value):
			t.Errorf("audit of %s: the log of shard %d has %x at %v, %v", o.Member, index, value, dot, err)
		case !somewhere.Covers(dot) && (a.heard.Whole() || dot.Seq != vector[dot.Actor]+1):
			t.Errorf("audit of %s: the log of shard %d has %v, the shard has heard %v", o.Member, index, dot, vector)
		}
		if perActor[dot.Actor]++; perActor[dot.Actor] > logStretch*o.LogLimit+1 {
			t.Errorf("audit of %s: the log of shard %d has more than %d times %d events of %v", o.Member, index, logStretch, o.LogLimit, dot.Actor)
		}
		a.log[dot] = string(value)
	})
}

// visit scans the keys of one kind and shard, less these two.
func visit(t testing.TB, snap store.Snapshot, kind byte, shard int, f func(key, value []byte)) {
	t.Helper()
	lo := shardKey(kind, shard, 0)
	var hi []byte
	if hi = shardKey(kind, shard+1, 0); shard == 1<<16-1 {
		hi = []byte{kind + 1}
	}
	err := snap.Scan(lo, hi, func(key, value []byte) error {
		f(bytes.Clone(key[len(lo):]), bytes.Clone(value))
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// checkDots checks that no dot stands for two different events.
func checkDots(t testing.TB, members []*member) {
	t.Helper()
	for shard := range testShards {
		first := map[crdt.Dot]string{}
		for _, m := range members {
			snap := m.disk.Snapshot()
			a := audited{heard: crdt.NewHeard(nil), log: map[crdt.Dot]string{}}
			visit(t, snap, 'l', shard, func(key, value []byte) {
				a.log[crdt.Dot{Actor: crdt.Actor(binary.BigEndian.Uint64(key)), Seq: binary.BigEndian.Uint64(key[8:])}] = string(value)
			})
			snap.Close()
			for dot, event := range a.log {
				if other, ok := first[dot]; ok && other != event {
					t.Errorf("shard %d: %v stands for two events, %x and %x", shard, dot, event, other)
				}
				first[dot] = event
			}
		}
	}
}

// residue counts the keys of objects in a store: entries, headers, digests.
func residue(t testing.TB, s store.Store) int {
	t.Helper()
	snap := s.Snapshot()
	defer snap.Close()
	n := 0
	for shard := range testShards {
		for _, kind := range []byte("ehm") {
			visit(t, snap, kind, shard, func(_, _ []byte) { n++ })
		}
	}
	return n
}
