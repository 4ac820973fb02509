package replica

import (
	"fmt"
	"slices"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
)

// join brings the parts of a peer's answer to the shard, against its state of
// this moment: comparing and joining a part is one batch. An answer that is not
// what the peer's own digests say changes nothing.
func (l *loop) join(t task) {
	for _, part := range t.joins.parts {
		if part.Complete && part.Digest != (merkle.Digest{}) && part.Digest != fieldsDigest(l.hasher, part.Fields) {
			t.done(nil, fmt.Errorf("%w: what the peer holds is not what its digest says", antientropy.ErrBadAnswer))
			return
		}
	}
	before := t.shard.heard.Vector()
	g := l.newGroup()
	commit := func() error {
		c := g.change(t.shard)
		g.commit()
		g = l.newGroup()
		return c.err
	}
	for _, part := range t.joins.parts {
		for _, p := range g.pieces(t.shard, part) {
			c := g.change(t.shard)
			c.err = g.joinPart(c, p, t.joins)
			if c.err == nil && g.size < maxGroupSize {
				continue
			}
			if err := commit(); err != nil {
				g.snap.Close()
				t.done(nil, err)
				return
			}
		}
	}
	err := commit()
	g.snap.Close()
	if err == nil {
		err = l.trimLog(t.shard, before)
	}
	l.drain(t.shard)
	t.done(nil, err)
}

// joinPart compares or joins one part.
func (g *group) joinPart(c *change, p antientropy.Part, result *joins) error {
	g.learn(c, crdt.Dot{Actor: c.actor, Seq: p.Heard[c.actor]})
	own, err := rangeDigest(g.snap, g.loop.hasher, c.shard.index, p.Lo, p.Hi)
	if err != nil {
		return err
	}
	theirs := p.Digest
	if p.Complete { // its digest is that of all pieces together, if any
		theirs = fieldsDigest(g.loop.hasher, p.Fields)
	}
	switch spans := c.heard.Over(p.Lo, p.Hi); {
	case own == theirs:
		if slices.ContainsFunc(spans, func(s crdt.Span) bool { return !s.Vector.Dominates(p.Heard) }) {
			c.heard.Join(p.Lo, p.Hi, p.Heard)
			c.touched = true
		}
		return nil
	case !p.Complete:
		result.again = append(result.again, antientropy.Range{Lo: p.Lo, Hi: p.Hi, Digest: own})
		return nil
	case len(spans) == 1 && spans[0].Vector.Compare(p.Heard) == crdt.Equal:
		// Joining would keep only what both have: better keep all and say so.
		result.diverged++
		return nil
	}
	g.loop.replica.counters.pulled.Add(uint64(len(p.Fields)))
	c.touched = true
	return crdt.JoinRange(c.heard, c, p.Lo, p.Hi, p.Fields, p.Heard)
}

// pieces cuts a complete part where this copy has more in it than a step
// takes.
func (g *group) pieces(s *shard, p antientropy.Part) []antientropy.Part {
	if !p.Complete {
		return []antientropy.Part{p}
	}
	var pieces []antientropy.Part
	size := 0
	_ = scanAll(g.snap, entryKey(s.index, p.Lo), entryKey(s.index, p.Hi), func(key, value []byte, _ error) error {
		if size += fieldSize + len(key) + len(value); size > maxStepSize {
			size = 0
			if at := positionOf(key); at > p.Lo {
				pieces, p = append(pieces, head(p, at)), tail(p, at)
			}
		}
		return nil
	}) // an error shows again where the fields are read
	return append(pieces, p)
}

func head(p antientropy.Part, hi crdt.Position) antientropy.Part {
	p.Hi, p.Fields = hi, p.Fields[:fieldIndex(p.Fields, hi)]
	return p
}

func tail(p antientropy.Part, lo crdt.Position) antientropy.Part {
	p.Lo, p.Fields = lo, p.Fields[fieldIndex(p.Fields, lo):]
	return p
}

func fieldIndex(fields []crdt.FieldEntries, at crdt.Position) int {
	i, _ := slices.BinarySearchFunc(fields, at, func(f crdt.FieldEntries, at crdt.Position) int {
		switch {
		case f.At < at:
			return -1
		case f.At > at:
			return 1
		}
		return 0
	})
	return i
}

func fieldsDigest(h *merkle.Hasher, fields []crdt.FieldEntries) merkle.Digest {
	var sum merkle.Digest
	var scratch []byte
	for _, f := range fields {
		sum, scratch = addField(h, sum, f.At, f.Entries, scratch)
	}
	return sum
}

func addField(h *merkle.Hasher, sum merkle.Digest, at crdt.Position, es crdt.Entries, scratch []byte) (merkle.Digest, []byte) {
	for _, e := range es {
		scratch = e.AppendTo(scratch[:0])
		sum = sum.Add(h.Entry(string(at), scratch))
	}
	return sum, scratch
}

// rangeDigest returns the digest of the entries in [lo, hi) on disk: stored
// ones for whole leaves, computed ones at the edges.
func rangeDigest(snap store.Snapshot, h *merkle.Hasher, shard int, lo, hi crdt.Position) (merkle.Digest, error) {
	var sum merkle.Digest
	first, last := leafOf(lo), leafOf(hi)
	if leafStart(first) < lo {
		first++
	}
	if hi == crdt.End {
		last = leaves
	}
	edges := [][2]crdt.Position{{lo, hi}}
	if first < last {
		edges = [][2]crdt.Position{{lo, leafStart(first)}, {leafStart(last), hi}}
		err := snap.Scan(leafKey(shard, first), append(leafKey(shard, last-1), 0), func(key, value []byte) error {
			d, err := decodeLeaf(key, value)
			sum = sum.Add(d)
			return err
		})
		if err != nil {
			return sum, err
		}
	}
	for _, edge := range edges {
		if edge[0] >= edge[1] {
			continue
		}
		d, err := entriesDigest(snap, h, shard, edge[0], edge[1])
		if err != nil {
			return sum, err
		}
		sum = sum.Add(d)
	}
	return sum, nil
}

// entriesDigest computes the digest of the entries in [lo, hi).
func entriesDigest(snap store.Snapshot, h *merkle.Hasher, shard int, lo, hi crdt.Position) (merkle.Digest, error) {
	var sum merkle.Digest
	var scratch []byte
	err := snap.Scan(entryKey(shard, lo), entryKey(shard, hi), func(key, value []byte) error {
		at, es, err := decodeField(key, value)
		sum, scratch = addField(h, sum, at, es, scratch)
		return err
	})
	return sum, err
}
