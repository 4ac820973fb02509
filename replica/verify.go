package replica

import (
	"fmt"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
)

// verify reads a whole shard and compares its entries with the digests that
// are kept of them. Digests are written with the entries, so a difference is
// damage: the disk has lost or changed something, and what peers would take
// from here is not what was heard. Such a shard speaks for itself no more.
func (r *Replica) verify(s *shard) error {
	snap := r.store.Snapshot()
	defer snap.Close()
	err := checkDigests(snap, r.hasher.Clone(), s.index)
	if err != nil && !s.damaged.Swap(true) {
		r.counters.damages.Add(1)
		r.log.Error("a shard is damaged; peers take nothing from it any more", "shard", s.index, "error", err)
	}
	return err
}

// checkDigests returns store.ErrCorrupt if the entries of a shard do not add
// up to the digests of its leaves, or these not to its root.
func checkDigests(snap store.Snapshot, h *merkle.Hasher, index int) error {
	kept := shard{index: index}
	if err := kept.load(snap); err != nil {
		return err
	}
	var sums [leaves]merkle.Digest
	var scratch []byte
	err := snap.Scan(entryKey(index, ""), entryKey(index, crdt.End), func(key, value []byte) error {
		at := positionOf(key)
		es, err := decodeField(at, value)
		sums[leafOf(at)], scratch = addField(h, sums[leafOf(at)], at, es, scratch)
		return err
	})
	if err != nil {
		return err
	}
	for leaf, sum := range sums {
		digest, err := readLeaf(snap, index, leaf)
		if err != nil {
			return err
		}
		if digest != sum {
			return fmt.Errorf("%w: leaf %d of shard %d holds %v, its digest says %v", store.ErrCorrupt, leaf, index, sum, digest)
		}
		kept.root = kept.root.Sub(digest)
	}
	if kept.root != (merkle.Digest{}) {
		return fmt.Errorf("%w: the leaves of shard %d do not add up to its root", store.ErrCorrupt, index)
	}
	return nil
}
