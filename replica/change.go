package replica

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
)

// change is one shard in the making: what a group has read and written of it
// so far. It is the crdt.Fields that events and pulls are applied to.
type change struct {
	group   *group
	shard   *shard
	actor   crdt.Actor
	heard   *crdt.Heard
	root    merkle.Digest // as flushed
	fields  map[crdt.Position]*field
	logged  []delivered // events to append to the log
	events  [][]byte    // those of them to broadcast once they are on disk
	answers []answer    // once it is on disk, or failed
	dead    []string    // counters that hold a dead contribution of this actor
	crowded []string    // registers with more siblings than fit together
	// surplus are fields of records of which some other than this actor's may
	// stand, recorded is how many more of them there are, and taken how many
	// operations were taken by now.
	surplus         []crdt.FieldID
	unsettled       []crdt.FieldID // those that do not stand for sure yet
	recorded, taken int
	mended          []store.Write // beside what follows from fields and events
	touched         bool          // actor, heard, root or mended changed
	wrote           bool          // flush added to the batch
	// err is why the change cannot be committed. It may be incomplete then.
	err error
}

// field is one field before and after the group.
type field struct{ was, now crdt.Entries }

func newChange(g *group, s *shard) *change {
	return &change{
		group: g, shard: s, actor: s.actor, heard: s.heard.Clone(), root: s.root,
		fields: map[crdt.Position]*field{}, surplus: slices.Clone(s.unsettled),
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
	es, err := readField(c.group.snap, c.shard.index, at)
	if err == nil {
		err = c.heardOf(at, es)
	}
	if err != nil {
		return nil, err
	}
	f := &field{es, es}
	c.fields[at] = f
	return f, nil
}

// heardOf says whether entries from disk are of events that were heard, as all
// are unless the disk changed them. An event that builds on others would be
// refused by every peer.
func (c *change) heardOf(at crdt.Position, es crdt.Entries) error {
	heard := c.shard.heard.At(at)
	for _, e := range es {
		last := e.Dot
		if contribution, ok := e.Payload.(crdt.Contribution); ok {
			last.Seq = max(last.Seq, contribution.N, contribution.ResetN)
		}
		if !heard.Covers(last) {
			return fmt.Errorf("%w: an entry of the event %s, which was never heard", store.ErrCorrupt, last)
		}
	}
	return nil
}

// readField returns the entries of a field on disk, none if it is absent.
func readField(snap store.Snapshot, shard int, at crdt.Position) (crdt.Entries, error) {
	key := entryKey(shard, at)
	value, err := snap.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	_, es, err := decodeField(key, value)
	return es, err
}

// decodeField returns the position in an entry key, and the entries that were
// written there. Its errors are damages of the leaf.
func decodeField(key, sealed []byte) (crdt.Position, crdt.Entries, error) {
	at := positionOf(key)
	id, value, err := unsealField(key, at, sealed)
	if err != nil {
		return at, nil, err
	}
	es, err := crdt.DecodeEntries(id.Type, value)
	if err != nil {
		return at, nil, &damage{leafOf(at), fmt.Errorf("%w: entries of %s: %w", store.ErrCorrupt, id.Object, err)}
	}
	return at, es, nil
}

// unsealField returns the field at a position, and the encoding of the entries
// that were written under its key. Its errors are damages of the leaf.
func unsealField(key []byte, at crdt.Position, sealed []byte) (crdt.FieldID, []byte, error) {
	id, err := at.FieldID()
	if err != nil {
		return id, nil, &damage{leafOf(at), fmt.Errorf("%w: entry key: %w", store.ErrCorrupt, err)}
	}
	value, sound := unseal(key, sealed)
	if !sound {
		return id, nil, &damage{leafOf(at), fmt.Errorf("%w: a field of %s is not what its checksum says", store.ErrCorrupt, id.Object)}
	}
	return id, value, nil
}

func encodeField(key []byte, es crdt.Entries) []byte { return seal(key, es.AppendTo(nil)) }

// SetField replaces the entries at a position.
func (c *change) SetField(at crdt.Position, es crdt.Entries) error {
	f, err := c.field(at)
	if err != nil {
		return err
	}
	f.now = es
	c.group.size += fieldSize + len(at)
	for i, e := range es {
		switch p := e.Payload.(type) {
		case crdt.Record:
			if i > 0 {
				continue
			}
			if err := c.met(at, es); err != nil {
				return err
			}
		case crdt.Sibling:
			c.group.size += len(p.Value)
			if i == 0 && crdt.Crowded(es) && c.shard.serving.Load() {
				id, err := at.FieldID()
				if err != nil {
					return err
				}
				c.crowded = append(c.crowded, id.Key)
			}
		case crdt.Contribution:
			if p.Dead() && e.Dot.Actor == c.actor {
				id, err := at.FieldID()
				if err != nil {
					return err
				}
				c.dead = append(c.dead, id.Key)
			}
			c.group.size += 30 * len(p.Corrections)
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
	err := c.group.snap.Scan(entryKey(index, lo), entryKey(index, hi), func(key, value []byte) error {
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
		_, es, err := decodeField(key, value)
		if err == nil {
			err = c.heardOf(at, es)
		}
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
func (c *change) apply(d delivered, lo, hi crdt.Position) {
	if c.err != nil {
		return // what is half done is not built upon, and not committed
	}
	if c.err = crdt.Apply(c.heard, c, d.event, lo, hi); c.err != nil {
		c.err = fmt.Errorf("event %s: %w", d.event.Dot, c.err)
		return
	}
	c.touched = true
	if lo == "" {
		c.group.size += len(d.raw)
		c.logged = append(c.logged, d)
	}
}

// become makes the copy go on under another actor.
func (c *change) become(actor crdt.Actor) { c.actor, c.touched = actor, true }

// flush adds everything to the batch, nothing if nothing changed.
func (c *change) flush(batch *store.Batch) error {
	index := c.shard.index
	differences := map[int]difference{}
	live := map[crdt.Object]int{}
	var changed []crdt.Position
	var scratch []byte
	for at, f := range c.fields {
		if same(f.was, f.now) {
			continue
		}
		before := differences[leafOf(at)]
		diff := before
		scratch = c.compare(at, f, &diff, scratch)
		if diff == before {
			continue
		}
		differences[leafOf(at)] = diff
		changed = append(changed, at)
		if change := cmp.Compare(len(f.now), 0) - cmp.Compare(len(f.was), 0); change != 0 {
			id, err := at.FieldID()
			if err != nil {
				return err
			}
			live[id.Object] += change
			c.flushOperation(batch, at, id, len(f.now) > 0)
		}
	}
	if len(changed) == 0 && !c.touched {
		return nil
	}
	for _, at := range changed {
		key := entryKey(index, at)
		if f := c.fields[at]; len(f.now) == 0 {
			batch.Delete(key)
		} else {
			batch.Put(key, encodeField(key, f.now))
		}
	}
	if err := c.flushDigests(batch, differences); err != nil {
		return err
	}
	if err := c.flushHeaders(batch, live); err != nil {
		return err
	}
	for _, w := range c.mended {
		if w.Value == nil {
			batch.Delete(w.Key)
		} else {
			batch.Put(w.Key, w.Value)
		}
	}
	c.flushLog(batch)
	batch.Put(vectorKey(index), c.shard.encode(c.actor, c.heard, c.root))
	c.wrote = true
	return nil
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
			diff.went = diff.went.Add(c.group.loop.hasher.Entry(string(at), scratch))
			was = was[1:]
		case len(was) == 0 || was[0].Dot.Compare(now[0].Dot) > 0:
			scratch = now[0].AppendTo(scratch[:0])
			diff.came = diff.came.Add(c.group.loop.hasher.Entry(string(at), scratch))
			now = now[1:]
		default:
			scratch = was[0].AppendTo(scratch[:0])
			n := len(scratch)
			scratch = now[0].AppendTo(scratch)
			if string(scratch[:n]) != string(scratch[n:]) {
				diff.went = diff.went.Add(c.group.loop.hasher.Entry(string(at), scratch[:n]))
				diff.came = diff.came.Add(c.group.loop.hasher.Entry(string(at), scratch[n:]))
			}
			was, now = was[1:], now[1:]
		}
	}
	return scratch
}

// flushDigests brings the leaves that changed, and the root, up to date.
func (c *change) flushDigests(batch *store.Batch, differences map[int]difference) error {
	for leaf, d := range differences {
		digest, err := readLeaf(c.group.snap, c.shard.index, leaf)
		if err != nil {
			return err
		}
		c.root = c.root.Sub(d.went).Add(d.came)
		key := leafKey(c.shard.index, leaf)
		if digest = digest.Sub(d.went).Add(d.came); digest == (merkle.Digest{}) {
			batch.Delete(key)
		} else {
			batch.Put(key, encodeLeaf(key, digest))
		}
	}
	return nil
}

// flushHeaders counts the live fields of objects that have more or fewer now.
func (c *change) flushHeaders(batch *store.Batch, live map[crdt.Object]int) error {
	for o, change := range live {
		if change == 0 {
			continue
		}
		key := headerKey(c.shard.index, o)
		n, err := readHeader(c.group.snap, key)
		if err != nil {
			return err
		}
		if now := int64(n) + int64(change); now > 0 {
			batch.Put(key, encodeHeader(key, uint64(now)))
		} else {
			batch.Delete(key)
		}
	}
	return nil
}

// flushLog appends the events and drops those that the limit leaves behind.
func (c *change) flushLog(batch *store.Batch) {
	limit := c.group.loop.replica.logLimit(c.shard)
	for _, d := range c.logged {
		dot := d.event.Dot
		key := logKey(c.shard.index, dot)
		batch.Put(key, seal(key, d.raw))
		if dot.Seq > limit {
			batch.Delete(logKey(c.shard.index, crdt.Dot{Actor: dot.Actor, Seq: dot.Seq - limit}))
		}
	}
}

// readLeaf returns the digest of a leaf on disk.
func readLeaf(snap store.Snapshot, shard, leaf int) (merkle.Digest, error) {
	key := leafKey(shard, leaf)
	value, err := snap.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return merkle.Digest{}, nil
	}
	if err != nil {
		return merkle.Digest{}, err
	}
	return decodeLeaf(key, value)
}

// decodeLeaf returns the digest that was written under the key of a leaf. Its
// errors are damages of the leaf, if there is such a leaf.
func decodeLeaf(key, sealed []byte) (merkle.Digest, error) {
	leaf, err := leafIn(key)
	if err != nil {
		return merkle.Digest{}, err
	}
	value, sound := unseal(key, sealed)
	if !sound {
		return merkle.Digest{}, &damage{leaf, fmt.Errorf("%w: the digest of leaf %d is not what its checksum says", store.ErrCorrupt, leaf)}
	}
	d, err := merkle.Decode(value)
	if err != nil {
		return d, &damage{leaf, fmt.Errorf("%w: the digest of leaf %d: %w", store.ErrCorrupt, leaf, err)}
	}
	return d, nil
}

func encodeLeaf(key []byte, d merkle.Digest) []byte { return seal(key, d.AppendTo(nil)) }

// readHeader returns the number of live fields of an object, 0 if absent.
func readHeader(snap store.Snapshot, key []byte) (uint64, error) {
	value, err := snap.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return decodeHeader(key, value)
}

// decodeHeader returns the number that was written under the key of a header.
func decodeHeader(key, sealed []byte) (uint64, error) {
	value, sound := unseal(key, sealed)
	n, size := binary.Uvarint(value)
	if !sound || size <= 0 {
		return 0, fmt.Errorf("%w: header of an object", store.ErrCorrupt)
	}
	return n, nil
}

func encodeHeader(key []byte, n uint64) []byte { return seal(key, binary.AppendUvarint(nil, n)) }
