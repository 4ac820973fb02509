package replica

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
)

// change is one shard in the making: what a batch has read and written of it
// so far. It is the crdt.Fields that events and pulls are applied to.
type change struct {
	shard    *shard
	snap     store.Snapshot
	hasher   *merkle.Hasher
	actor    crdt.Actor
	heard    *crdt.Heard
	fields   map[crdt.Position]*field
	logged   []delivered // events to append to the log
	touched  bool        // actor or heard changed
	dead     []string    // counters that hold a dead contribution of this actor
	trimmed  [][]byte    // log keys to drop
	logLimit uint64

	failed    error             // the shard stays as it was
	answers   []func(err error) // to call once it is on disk, or failed
	broadcast [][]byte          // events to publish once it is on disk
}

// field is one field before and after the batch.
type field struct{ was, now crdt.Entries }

func newChange(s *shard, snap store.Snapshot, hasher *merkle.Hasher, logLimit int) *change {
	return &change{
		shard: s, snap: snap, hasher: hasher, actor: s.actor, heard: s.heard.Clone(),
		fields: map[crdt.Position]*field{}, logLimit: uint64(logLimit),
	}
}

// Field returns the entries at a position as the batch has them so far.
func (c *change) Field(at crdt.Position) (crdt.Entries, error) {
	f, err := c.field(at)
	if err != nil {
		return nil, err
	}
	return f.now, nil
}

func (c *change) field(at crdt.Position) (*field, error) {
	if f, ok := c.fields[at]; ok {
		return f, nil
	}
	es, err := readField(c.snap, c.shard.index, at)
	if err != nil {
		return nil, err
	}
	f := &field{es, es}
	c.fields[at] = f
	return f, nil
}

// readField returns the entries of a field on disk, none if it is absent.
func readField(snap store.Snapshot, shard int, at crdt.Position) (crdt.Entries, error) {
	value, err := snap.Get(entryKey(shard, at))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeField(at, value)
}

func decodeField(at crdt.Position, value []byte) (crdt.Entries, error) {
	id, err := at.FieldID()
	if err != nil {
		return nil, fmt.Errorf("%w: entry key: %w", store.ErrCorrupt, err)
	}
	es, err := crdt.DecodeEntries(id.Type, value)
	if err != nil {
		return nil, fmt.Errorf("%w: entries of %s: %w", store.ErrCorrupt, id.Object, err)
	}
	return es, nil
}

// SetField replaces the entries at a position.
func (c *change) SetField(at crdt.Position, es crdt.Entries) error {
	f, err := c.field(at)
	if err != nil {
		return err
	}
	f.now = es
	for _, e := range es {
		if p, ok := e.Payload.(crdt.Contribution); ok && p.Dead() && e.Dot.Actor == c.actor {
			id, err := at.FieldID()
			if err != nil {
				return err
			}
			c.dead = append(c.dead, id.Key)
		}
	}
	return nil
}

// Visit calls f for every field in [lo, hi) that has entries, in order.
func (c *change) Visit(lo, hi crdt.Position, f func(crdt.Position, crdt.Entries) error) error {
	if lo >= hi {
		return nil
	}
	var ahead []crdt.Position // fields in memory, which may not be on disk
	for at := range c.fields {
		if lo <= at && at < hi {
			ahead = append(ahead, at)
		}
	}
	slices.Sort(ahead)
	inMemory := func(at crdt.Position) error {
		if now := c.fields[at].now; len(now) > 0 {
			return f(at, now)
		}
		return nil
	}
	index := c.shard.index
	err := c.snap.Scan(entryKey(index, lo), entryKey(index, hi), func(key, value []byte) error {
		at := positionOf(key)
		for len(ahead) > 0 && ahead[0] <= at {
			next := ahead[0]
			ahead = ahead[1:]
			if err := inMemory(next); err != nil {
				return err
			}
			if next == at {
				return nil
			}
		}
		es, err := decodeField(at, value)
		if err != nil {
			return err
		}
		c.fields[at] = &field{es, es}
		return f(at, es)
	})
	if err != nil {
		return err
	}
	for _, at := range ahead {
		if err := inMemory(at); err != nil {
			return err
		}
	}
	return nil
}

// apply brings an event that is ready to the positions in [lo, hi). It goes
// to the log with the first of the ranges.
func (c *change) apply(d delivered, lo, hi crdt.Position) error {
	if err := crdt.Apply(c.heard, c, d.event, lo, hi); err != nil {
		return err
	}
	c.touched = true
	if lo == "" {
		c.logged = append(c.logged, d)
	}
	return nil
}

// become makes the copy go on under another actor.
func (c *change) become(actor crdt.Actor) { c.actor, c.touched = actor, true }

// weight is how many writes the change will take, about.
func (c *change) weight() int { return 2*len(c.fields) + 2*len(c.logged) + 1 }

// flush adds everything to the batch and returns the root after it. Nothing
// is added if nothing changed.
func (c *change) flush(batch *store.Batch) (merkle.Digest, error) {
	index := c.shard.index
	differences := map[int]difference{}
	live := map[crdt.Object]int{}
	var scratch []byte
	for _, at := range slices.Sorted(maps.Keys(c.fields)) {
		f := c.fields[at]
		if same(f.was, f.now) {
			continue
		}
		diff := differences[leafOf(at)]
		before := diff
		scratch = c.compare(at, f, &diff, scratch)
		if diff == before {
			continue
		}
		differences[leafOf(at)] = diff
		if len(f.now) == 0 {
			batch.Delete(entryKey(index, at))
		} else {
			batch.Put(entryKey(index, at), f.now.AppendTo(nil))
		}
		if change := cmp.Compare(len(f.now), 0) - cmp.Compare(len(f.was), 0); change != 0 {
			id, err := at.FieldID()
			if err != nil {
				return merkle.Digest{}, err
			}
			live[id.Object] += change
		}
	}
	root, err := c.flushDigests(batch, differences)
	if err != nil {
		return root, err
	}
	if err := c.flushHeaders(batch, live); err != nil {
		return root, err
	}
	c.flushLog(batch)
	if c.touched || len(differences) > 0 {
		batch.Put(vectorKey(index), c.shard.encode(c.actor, c.heard, root))
	}
	return root, nil
}

// same says that two fields are one slice: nothing was written.
func same(a, b crdt.Entries) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// difference is what went from a range of entries and what came.
type difference struct{ went, came merkle.Digest }

// compare adds the entries that changed in a field to a difference.
func (c *change) compare(at crdt.Position, f *field, diff *difference, scratch []byte) []byte {
	was, now := f.was, f.now
	for len(was) > 0 || len(now) > 0 {
		switch {
		case len(now) == 0 || len(was) > 0 && was[0].Dot.Compare(now[0].Dot) < 0:
			scratch = was[0].AppendTo(scratch[:0])
			diff.went = diff.went.Add(c.hasher.Entry(string(at), scratch))
			was = was[1:]
		case len(was) == 0 || was[0].Dot.Compare(now[0].Dot) > 0:
			scratch = now[0].AppendTo(scratch[:0])
			diff.came = diff.came.Add(c.hasher.Entry(string(at), scratch))
			now = now[1:]
		default:
			scratch = was[0].AppendTo(scratch[:0])
			n := len(scratch)
			scratch = now[0].AppendTo(scratch)
			if string(scratch[:n]) != string(scratch[n:]) {
				diff.went = diff.went.Add(c.hasher.Entry(string(at), scratch[:n]))
				diff.came = diff.came.Add(c.hasher.Entry(string(at), scratch[n:]))
			}
			was, now = was[1:], now[1:]
		}
	}
	return scratch
}

func (c *change) flushDigests(batch *store.Batch, differences map[int]difference) (merkle.Digest, error) {
	root := c.shard.root
	for _, leaf := range slices.Sorted(maps.Keys(differences)) {
		d := differences[leaf]
		digest, err := readLeaf(c.snap, c.shard.index, leaf)
		if err != nil {
			return root, err
		}
		digest = digest.Sub(d.went).Add(d.came)
		root = root.Sub(d.went).Add(d.came)
		if digest == (merkle.Digest{}) {
			batch.Delete(leafKey(c.shard.index, leaf))
		} else {
			batch.Put(leafKey(c.shard.index, leaf), digest.AppendTo(nil))
		}
	}
	return root, nil
}

func (c *change) flushHeaders(batch *store.Batch, live map[crdt.Object]int) error {
	for o, change := range live {
		if change == 0 {
			continue
		}
		key := headerKey(c.shard.index, o)
		n, err := readHeader(c.snap, key)
		if err != nil {
			return err
		}
		if now := int(n) + change; now > 0 {
			batch.Put(key, binary.AppendUvarint(nil, uint64(now)))
		} else {
			batch.Delete(key)
		}
	}
	return nil
}

// flushLog appends the events and drops those that the limit leaves behind.
func (c *change) flushLog(batch *store.Batch) {
	for _, d := range c.logged {
		dot := d.event.Dot
		batch.Put(logKey(c.shard.index, dot), d.raw)
		if dot.Seq > c.logLimit {
			batch.Delete(logKey(c.shard.index, crdt.Dot{Actor: dot.Actor, Seq: dot.Seq - c.logLimit}))
		}
	}
	for _, key := range c.trimmed {
		batch.Delete(key)
	}
}

// readLeaf returns the digest of a leaf on disk.
func readLeaf(snap store.Snapshot, shard, leaf int) (merkle.Digest, error) {
	value, err := snap.Get(leafKey(shard, leaf))
	if errors.Is(err, store.ErrNotFound) {
		return merkle.Digest{}, nil
	}
	if err != nil {
		return merkle.Digest{}, err
	}
	return decodeLeaf(value)
}

func decodeLeaf(value []byte) (merkle.Digest, error) {
	d, err := merkle.Decode(value)
	if err != nil {
		return d, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return d, nil
}

// readHeader returns the number of live fields of an object, 0 if absent.
func readHeader(snap store.Snapshot, key []byte) (uint64, error) {
	value, err := snap.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, size := binary.Uvarint(value)
	if size <= 0 {
		return 0, fmt.Errorf("%w: header of an object", store.ErrCorrupt)
	}
	return n, nil
}
