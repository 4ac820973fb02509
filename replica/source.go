package replica

import (
	"errors"
	"fmt"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
)

// source is a shard as of one snapshot, as antientropy.Answer reads it.
type source struct {
	snap   store.Snapshot
	hasher *merkle.Hasher
	shard  int
	heard  *crdt.Heard
}

func newSource(snap store.Snapshot, hasher *merkle.Hasher, shard int) (*source, error) {
	heard, err := loadHeard(snap, shard)
	return &source{snap, hasher, shard, heard}, err
}

func (s *source) Spans(lo, hi crdt.Position) []crdt.Span { return s.heard.Over(lo, hi) }

func (s *source) Digest(lo, hi crdt.Position) (merkle.Digest, error) {
	return rangeDigest(s.snap, s.hasher, s.shard, lo, hi)
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
	each := max(1, (r.Digest.Count+uint64(n)-1)/uint64(n))
	var ranges []antientropy.Range
	var scratch []byte
	var last crdt.Position
	part := antientropy.Range{Lo: r.Lo}
	err := s.snap.Scan(entryKey(s.shard, r.Lo), entryKey(s.shard, r.Hi), func(key, value []byte) error {
		at := positionOf(key)
		es, err := decodeField(at, value)
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
	if ranges = append(ranges, part); err != nil {
		return nil, err
	}
	var sum merkle.Digest
	for _, part := range ranges {
		sum = sum.Add(part.Digest)
	}
	if sum != r.Digest {
		return nil, fmt.Errorf("%w: a leaf of shard %d holds %v, its digest says %v", store.ErrCorrupt, s.shard, sum, r.Digest)
	}
	return ranges, nil
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
	err := s.snap.Scan(entryKey(s.shard, lo), entryKey(s.shard, hi), func(key, value []byte) error {
		at := positionOf(key)
		es, err := decodeField(at, value)
		if err != nil {
			return err
		}
		if !visit(crdt.FieldEntries{At: at, Entries: es}, len(at)+len(value)+8) {
			return errStop
		}
		return nil
	})
	if err == errStop {
		return nil
	}
	return err
}
