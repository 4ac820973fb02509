package replica

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
)

// inspection compares what is stored of some leaves of a shard. Digests are
// written with the entries, so a difference is damage: the disk has lost or
// changed something, and the leaf is not what was heard of it.
type inspection struct {
	snap   store.Snapshot
	hasher *merkle.Hasher
	shard  int
	// rest is told how many bytes were read. Its errors end the inspection.
	rest func(bytes int) error

	kept    map[int]merkle.Digest // the digests on disk
	sums    map[int]merkle.Digest // those of the entries
	damaged map[int]error         // leaves, and what is wrong with them
	recount []crdt.Object         // headers that do not count the fields there are

	leaf    int
	object  crdt.Object // the one being read
	fields  uint64      // of it so far
	bytes   int
	scratch []byte
}

// inspect reads the leaves from first up to but not including end, or up to
// the leaf with which it has read more than enough bytes, and says where to
// go on.
func (r *Replica) inspect(snap store.Snapshot, shard, first, end, enough int, rest func(bytes int) error) (in *inspection, next int, err error) {
	in = &inspection{
		snap: snap, hasher: r.hasher.Clone(), shard: shard, rest: rest,
		kept: map[int]merkle.Digest{}, sums: map[int]merkle.Digest{}, damaged: map[int]error{},
	}
	next = end
	err = scanAll(snap, entryKey(shard, leafStart(first)), entryKey(shard, leafStart(end)), func(key, value []byte, unreadable error) error {
		leaf := leafOf(positionOf(key))
		if in.bytes > enough && leaf != in.leaf {
			next = leaf
			return errStop
		}
		in.leaf = leaf
		return in.field(key, value, unreadable)
	})
	if err == errStop {
		err = nil
	}
	if err == nil {
		err = in.endObject()
	}
	if err == nil {
		err = in.digests(first, next)
	}
	for leaf := first; leaf < next; leaf++ {
		if _, found := in.damaged[leaf]; !found && in.kept[leaf] != in.sums[leaf] {
			in.damaged[leaf] = fmt.Errorf("%w: leaf %d of shard %d holds %v, its digest says %v",
				store.ErrCorrupt, leaf, shard, in.sums[leaf], in.kept[leaf])
		}
	}
	return in, next, err
}

// field takes in what is stored under an entry key, or why it cannot be read.
func (in *inspection) field(key, value []byte, err error) error {
	n := len(key) + len(value)
	in.bytes += n
	var at crdt.Position
	var es crdt.Entries
	if err == nil {
		at, es, err = decodeField(key, value)
	} else {
		at = positionOf(key)
	}
	if err != nil {
		in.damaged[in.leaf] = err
	}
	in.sums[in.leaf], in.scratch = addField(in.hasher, in.sums[in.leaf], at, es, in.scratch)
	if id, err := at.FieldID(); err == nil {
		if id.Object != in.object {
			if err := in.endObject(); err != nil {
				return err
			}
			in.object = id.Object
		}
		in.fields++
	}
	return in.rest(n)
}

// endObject compares the fields counted with the object's header.
func (in *inspection) endObject() error {
	if in.fields == 0 {
		return nil
	}
	n, err := readHeader(in.snap, headerKey(in.shard, in.object))
	if err != nil && !errors.Is(err, store.ErrCorrupt) {
		return err
	}
	if err != nil || n != in.fields {
		in.recount = append(in.recount, in.object)
	}
	in.fields = 0
	return nil
}

// digests reads those of the leaves in [first, end).
func (in *inspection) digests(first, end int) error {
	return scanAll(in.snap, leafKey(in.shard, first), append(leafKey(in.shard, end-1), 0), func(key, value []byte, err error) error {
		leaf, strange := leafIn(key)
		if strange != nil {
			return strange
		}
		var digest merkle.Digest
		if err == nil {
			digest, err = decodeLeaf(key, value)
		}
		if in.kept[leaf] = digest; err != nil && in.damaged[leaf] == nil {
			in.damaged[leaf] = fmt.Errorf("leaf %d of shard %d: %w", leaf, in.shard, err)
		}
		return in.rest(len(key) + len(value))
	})
}

// scanAll visits the keys in [lo, hi) as Snapshot.Scan does, also those whose
// values cannot be read: these with the error and no value.
func scanAll(snap store.Snapshot, lo, hi []byte, visit func(key, value []byte, unreadable error) error) error {
	for {
		var visited error
		err := snap.Scan(lo, hi, func(key, value []byte) error {
			visited = visit(key, value, nil)
			return visited
		})
		var hole *store.UnreadableError
		if visited != nil || !errors.As(err, &hole) {
			return err
		}
		if err := visit(hole.Key, nil, err); err != nil {
			return err
		}
		lo = append(bytes.Clone(hole.Key), 0)
	}
}

// orphans returns the objects of a shard that have a header, but no fields.
// Of a leaf, if one is given, it returns those that have a header at all.
func orphans(snap store.Snapshot, shard, leaf int, rest func(bytes int) error) ([]crdt.Object, error) {
	var found []crdt.Object
	prefix := shardKey('h', shard, 0)
	err := scanAll(snap, prefix, shardEnd('h', shard), func(key, value []byte, _ error) error {
		if err := rest(len(key) + len(value)); err != nil || len(key) < len(prefix)+2 {
			return err
		}
		last := len(key) - 1
		o := crdt.Object{Key: string(key[len(prefix):last]), Type: crdt.Type(key[last])}
		if o.Validate() != nil {
			return nil
		}
		lo, hi := o.Range()
		if leaf >= 0 {
			if leafOf(lo) == leaf {
				found = append(found, o)
			}
			return nil
		}
		n, err := countFields(snap, shard, lo, hi, 1)
		if n == 0 {
			found = append(found, o)
		}
		return err
	})
	return found, err
}

// countFields counts the fields in [lo, hi), up to a limit.
func countFields(snap store.Snapshot, shard int, lo, hi crdt.Position, limit uint64) (n uint64, err error) {
	err = scanAll(snap, entryKey(shard, lo), entryKey(shard, hi), func(_, _ []byte, _ error) error {
		if n++; n >= limit {
			return errStop
		}
		return nil
	})
	if err == errStop {
		err = nil
	}
	return n, err
}
