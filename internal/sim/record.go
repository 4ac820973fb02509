package sim

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
)

// record is the oracle's memory: every event, from the commit of its writer on.
type record struct {
	events map[crdt.Dot]*event
	order  []*event
	last   map[crdt.Actor]uint64 // seq of the last event
	fields map[int][]*field      // by shard
	byID   map[crdt.FieldID]*field
	clears map[crdt.Object][]*event
	hasher *merkle.Hasher
}

// event is what its writer committed, with what the writer knew.
type event struct {
	*crdt.Event
	raw    []byte
	shard  int
	writer string
	at     time.Duration
	heard  *copyState // of the writer, right after
	// lost says that a fault may have taken the last copy of what it changes, and
	// torn that some ranges may never hear of it.
	lost, torn bool
	// onRot says that its writer's copy had rotted somewhere.
	onRot bool
}

// saw says whether the writer of e had heard another event at a position.
func (e *event) saw(o *event, at crdt.Position) bool {
	if o.Dot.Actor == e.Dot.Actor {
		return o.Dot.Seq < e.Dot.Seq
	}
	return covers(e.heard.at(at), o.Dot)
}

// field is one field of an object that some event has changed.
type field struct {
	id     crdt.FieldID
	at     crdt.Position
	events []*event
}

func newRecord(key [32]byte) *record {
	return &record{
		events: map[crdt.Dot]*event{}, last: map[crdt.Actor]uint64{}, fields: map[int][]*field{},
		byID: map[crdt.FieldID]*field{}, clears: map[crdt.Object][]*event{}, hasher: merkle.NewHasher(key),
	}
}

// add takes in an event that a member logs: a new one from its writer, or one
// that is known. It returns the event if it is new.
func (r *record) add(shard int, e *crdt.Event, raw []byte, member string, state *copyState, at time.Duration) (*event, error) {
	if known := r.events[e.Dot]; known != nil {
		if !bytes.Equal(known.raw, raw) || known.shard != shard {
			return nil, fmt.Errorf("%s logs %s anew: a dot names two events, that of %s at %v and this one", member, brief(e.Dot), known.writer, known.at)
		}
		return nil, nil
	}
	switch {
	case state.actor != e.Dot.Actor:
		return nil, fmt.Errorf("%s writes %s, while its actor on disk is %d", member, brief(e.Dot), state.actor)
	case e.Dot.Seq != r.last[e.Dot.Actor]+1:
		return nil, fmt.Errorf("%s writes %s after %d", member, brief(e.Dot), r.last[e.Dot.Actor])
	}
	known := &event{Event: e, raw: raw, shard: shard, writer: member, at: at, heard: state}
	r.events[e.Dot], r.last[e.Dot.Actor] = known, e.Dot.Seq
	r.order = append(r.order, known)
	for _, c := range e.Changes {
		f := r.byID[c.Field]
		if f == nil {
			f = &field{id: c.Field, at: c.Field.Position()}
			r.byID[c.Field] = f
			r.fields[shard] = append(r.fields[shard], f)
		}
		f.events = append(f.events, known)
	}
	for _, c := range e.Clears {
		r.clears[c.Object] = append(r.clears[c.Object], known)
	}
	return known, nil
}

// checkTimes says whether the times of a register's values rise along what
// their writers saw: a wrong clock must not keep an old value. It does not hold
// for an event in which the register was deleted first.
func (r *record) checkTimes(e *event) error {
	for _, c := range e.Changes {
		for _, put := range c.Puts {
			mine := payloadOf(put.Payload)
			for d, seen := range r.effect(r.byID[c.Field], without(e.heard.at(c.Field.Position()), e.Dot)) {
				if mine.kind == 1 && seen.time >= mine.time {
					return fmt.Errorf("%s writes %v to %s, no later than %s%v which it saw", e.writer, mine, c.Field.Object, brief(d), seen)
				}
			}
		}
	}
	return nil
}

// without returns what was heard before an event of the writer itself.
func without(v crdt.VersionVector, d crdt.Dot) crdt.VersionVector {
	v = maps.Clone(v)
	v[d.Actor] = min(v[d.Actor], d.Seq-1)
	return v
}

// check compares a copy on a disk with the effect of what it says to have
// heard, and its root with its entries.
func (r *record) check(snap store.Snapshot, shard int, state *copyState) error {
	found := r.inspect(snap, shard, state)
	if found.first == nil {
		found.whole(snap, state)
	}
	return found.first
}

// finding is what is wrong with a copy on a disk.
type finding struct {
	shard   int
	first   error
	leaves  map[leafAt]bool // what is in them, or their digests
	root    merkle.Digest   // of the entries
	derived *derived
}

func (f *finding) in(leaf leafAt, format string, arguments ...any) {
	f.leaves[leaf] = true
	f.of(format, arguments...)
}

func (f *finding) of(format string, arguments ...any) {
	if f.first == nil {
		f.first = fmt.Errorf(format, arguments...)
	}
}

// inspect compares the leaves of a copy with the effect of what it says to have
// heard, and with their digests.
func (r *record) inspect(snap store.Snapshot, shard int, state *copyState) *finding {
	found := &finding{shard: shard, leaves: map[leafAt]bool{}, derived: newDerived()}
	for _, span := range state.spans {
		for actor, seq := range span.Vector {
			if seq > r.last[actor] {
				found.of("it has heard %d:%d, which nobody wrote", actor, seq)
			}
		}
	}
	stored := map[crdt.FieldID]entries{}
	prefix := shardKey('e', shard)
	err := snap.Scan(prefix, shardKey('e', shard+1), func(key, value []byte) error {
		at := crdt.Position(key[len(prefix):])
		id, err := crdt.DecodePosition(at)
		if err != nil {
			return err
		}
		found.derived.live[id.Object]++
		if value, err = unseal(key, value); err != nil {
			found.in(leafOf(shard, at), "%s %.40q: %w", id.Object, id.Name, err)
			return nil
		}
		decoded, err := crdt.DecodeEntries(id.Type, value)
		if err != nil {
			found.in(leafOf(shard, at), "%s %.40q: %w", id.Object, id.Name, err)
			return nil
		}
		for _, e := range decoded {
			digest := r.hasher.Entry(string(at), e.AppendTo(nil))
			found.root = found.root.Add(digest)
			found.derived.leaf(shard, at, digest)
		}
		stored[id] = entriesOf(decoded)
		return nil
	})
	if err != nil {
		found.of("%w", err)
	}
	for leaf, err := range found.derived.wrongLeaves(snap, shard) {
		found.in(leaf, "%w", err)
	}
	for _, f := range r.fields[shard] {
		heard := state.at(f.at)
		want := r.effect(f, heard)
		if got := stored[f.id]; !maps.Equal(got, want) {
			found.in(leafOf(shard, f.at), "%s %.40q holds %v; what it has heard comes to %v: %v", f.id.Object, f.id.Name, got, want, vectorText(heard))
		}
		delete(stored, f.id)
	}
	for id, es := range stored {
		found.in(leafOf(shard, id.Position()), "%s %.40q holds %v, which nobody wrote", id.Object, id.Name, es)
	}
	return found
}

// whole compares what is about all leaves of a copy: its root, and its headers.
func (f *finding) whole(snap store.Snapshot, state *copyState) {
	if f.root != state.root {
		f.of("its root says %v, its entries come to %v", state.root, f.root)
	}
	if err := f.derived.checkHeaders(snap, f.shard); err != nil {
		f.of("%w", err)
	}
}

func vectorText(v crdt.VersionVector) string {
	text := ""
	for _, a := range slices.Sorted(maps.Keys(v)) {
		text += fmt.Sprintf(" %d:%d", a, v[a])
	}
	return "[" + text + " ]"
}
