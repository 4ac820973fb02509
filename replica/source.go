package replica

import (
	"errors"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
)

// source is a shard as of one snapshot, as antientropy.Answer reads it. Leaves
// that are damaged are hidden: of them it says that nothing was heard and
// nothing is there, from which nothing follows for anybody. It speaks of what
// is inside a leaf only after vouch has compared that with its digest.
type source struct {
	snap   store.Snapshot
	hasher *merkle.Hasher
	shard  int
	heard  *crdt.Heard
	hidden []int // in order
	vouch  func(leaf int) error
}

func (r *Replica) newSource(snap store.Snapshot, s *shard) (*source, error) {
	heard, err := loadHeard(snap, s.index)
	if err != nil {
		return nil, err
	}
	hidden := s.health.hidden()
	for _, leaf := range hidden {
		heard.Forget(leafStart(leaf), leafStart(leaf+1))
	}
	vouch := func(leaf int) error { return r.vouch(snap, s, leaf) }
	return &source{snap, r.hasher.Clone(), s.index, heard, hidden, vouch}, nil
}

func (s *source) Spans(lo, hi crdt.Position) []crdt.Span { return s.heard.Over(lo, hi) }

func (s *source) Digest(lo, hi crdt.Position) (merkle.Digest, error) {
	var sum merkle.Digest
	for _, part := range s.visible(lo, hi) {
		for _, bound := range part {
			if leaf := leafOf(bound); bound != crdt.End && leafStart(leaf) < bound {
				if err := s.vouch(leaf); err != nil {
					return sum, err
				}
			}
		}
		digest, err := rangeDigest(s.snap, s.hasher, s.shard, part[0], part[1])
		if err != nil {
			return sum, err
		}
		sum = sum.Add(digest)
	}
	return sum, nil
}

// visible returns what of [lo, hi) is not hidden, as ranges in order.
func (s *source) visible(lo, hi crdt.Position) (parts [][2]crdt.Position) {
	for _, leaf := range s.hidden {
		from, to := leafStart(leaf), leafStart(leaf+1)
		if to <= lo || from >= hi {
			continue
		}
		if lo < from {
			parts = append(parts, [2]crdt.Position{lo, from})
		}
		lo = to
	}
	if lo < hi {
		parts = append(parts, [2]crdt.Position{lo, hi})
	}
	return parts
}

// Split cuts a range of several leaves between leaves, and a range inside of
// one leaf so that the parts hold about as many entries each.
func (s *source) Split(r antientropy.Range, n int) ([]antientropy.Range, error) {
	first, last := leafOf(r.Lo), leafOf(r.Hi)
	switch {
	case r.Hi == crdt.End:
		last = leaves - 1
	case leafStart(last) == r.Hi:
		last--
	}
	if first == last {
		return s.splitLeaf(r, n)
	}
	each := (last - first + n) / n
	var ranges []antientropy.Range
	for lo := r.Lo; lo < r.Hi; {
		first += each
		hi := r.Hi
		if first <= last {
			hi = leafStart(first)
		}
		digest, err := s.Digest(lo, hi)
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, antientropy.Range{Lo: lo, Hi: hi, Digest: digest})
		lo = hi
	}
	return ranges, nil
}

func (s *source) splitLeaf(r antientropy.Range, n int) ([]antientropy.Range, error) {
	if err := s.vouch(leafOf(r.Lo)); err != nil {
		return nil, err
	}
	each := max(1, (r.Digest.Count+uint64(n)-1)/uint64(n))
	var ranges []antientropy.Range
	var scratch []byte
	var last crdt.Position
	part := antientropy.Range{Lo: r.Lo}
	err := s.snap.Scan(entryKey(s.shard, r.Lo), entryKey(s.shard, r.Hi), func(key, value []byte) error {
		at, es, err := decodeField(key, value)
		if err != nil {
			return err
		}
		if part.Digest.Count >= each {
			part.Hi = between(last, at)
			ranges = append(ranges, part)
			part = antientropy.Range{Lo: part.Hi}
		}
		last = at
		part.Digest, scratch = addField(s.hasher, part.Digest, at, es, scratch)
		return nil
	})
	part.Hi = r.Hi
	return append(ranges, part), err
}

// between returns the shortest bound above one position and not above another:
// positions may be long, and bounds travel.
func between(below, at crdt.Position) crdt.Position {
	n := 0
	for n < len(below) && below[n] == at[n] {
		n++
	}
	return at[:n+1]
}

var errStop = errors.New("stop")

func (s *source) Fields(lo, hi crdt.Position, visit func(f crdt.FieldEntries, bytes int) bool) error {
	for _, part := range s.visible(lo, hi) {
		if err := s.fields(part[0], part[1], visit); err == errStop {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (s *source) fields(lo, hi crdt.Position, visit func(f crdt.FieldEntries, bytes int) bool) error {
	vouched := -1
	return s.snap.Scan(entryKey(s.shard, lo), entryKey(s.shard, hi), func(key, value []byte) error {
		at, es, err := decodeField(key, value)
		if err != nil {
			return err
		}
		if leaf := leafOf(at); leaf != vouched {
			if err := s.vouch(leaf); err != nil {
				return err
			}
			vouched = leaf
		}
		if !visit(crdt.FieldEntries{At: at, Entries: es}, len(at)+len(value)+8) {
			return errStop
		}
		return nil
	})
}
