package antientropy

import (
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/merkle"
)

const (
	// fanout is into how many parts a range that differs is split.
	fanout = 32
	// fewEntries is how many entries are sent without splitting further: about
	// as many bytes as the digests of a split.
	fewEntries = 16
	// partBytes is what a part takes in a message besides fields and bounds.
	partBytes = merkle.DigestBytes + 12
)

// Range is a range of positions and its digest at the one who asks.
type Range struct {
	Lo, Hi crdt.Position
	Digest merkle.Digest
}

// Part is a range of positions as the one who answers has it. All of it was
// read at one moment.
type Part struct {
	Range
	// Heard is what the range had heard. Parts may share it.
	Heard crdt.VersionVector
	// Complete says that Fields holds all fields of the range. Digest, if set
	// then, is what they must add up to: it was not computed from them.
	Complete bool
	Fields   []crdt.FieldEntries
}

// Source is a frozen view of one shard.
type Source interface {
	// Spans returns what was heard in [lo, hi), as crdt.Heard.Over does.
	Spans(lo, hi crdt.Position) []crdt.Span
	// Digest returns the digest of [lo, hi).
	Digest(lo, hi crdt.Position) (merkle.Digest, error)
	// Split cuts a range, given with its digest here, into at most n ranges of
	// about equal counts, and at least two if there are two fields.
	Split(r Range, n int) ([]Range, error)
	// Fields visits the fields in [lo, hi) in order until visit returns false,
	// telling how many bytes each takes.
	Fields(lo, hi crdt.Position, visit func(f crdt.FieldEntries, bytes int) bool) error
}

// Answer compares the ranges with the source and returns parts that cover them
// from the first one on, in order, up to a budget of bytes that may be exceeded
// by one field.
func Answer(src Source, ranges []Range, budget int) ([]Part, error) {
	a := answer{src: src, budget: budget}
	for _, r := range ranges {
		spans := src.Spans(r.Lo, r.Hi)
		for i, span := range spans {
			hi := r.Hi
			if i+1 < len(spans) {
				hi = spans[i+1].Start
			}
			if err := a.add(Range{span.Start, hi, r.Digest}, span.Vector); err != nil {
				return nil, err
			}
			if a.budget <= 0 {
				return a.parts, nil
			}
		}
	}
	return a.parts, nil
}

type answer struct {
	src    Source
	budget int
	parts  []Part
}

// add answers for a range that heard the same everywhere.
func (a *answer) add(asked Range, heard crdt.VersionVector) error {
	own, err := a.src.Digest(asked.Lo, asked.Hi)
	switch {
	case err != nil:
		return err
	case own == asked.Digest:
		a.append(Part{Range: asked, Heard: heard})
		return nil
	case own.Count <= fewEntries || asked.Digest.Count == 0:
		return a.fields(Range{asked.Lo, asked.Hi, own}, heard)
	}
	split, err := a.src.Split(Range{asked.Lo, asked.Hi, own}, fanout)
	if err != nil {
		return err
	}
	if len(split) < 2 { // one field of many entries
		return a.fields(Range{asked.Lo, asked.Hi, own}, heard)
	}
	for _, r := range split {
		a.append(Part{Range: r, Heard: heard})
	}
	return nil
}

func (a *answer) append(p Part) {
	a.parts = append(a.parts, p)
	a.budget -= partBytes + len(p.Lo) + len(p.Hi)
}

// fields answers with everything in the range, or as much from its start as
// the budget allows.
func (a *answer) fields(r Range, heard crdt.VersionVector) error {
	p := Part{Range: r, Heard: heard, Complete: true}
	err := a.src.Fields(r.Lo, r.Hi, func(f crdt.FieldEntries, bytes int) bool {
		if a.budget <= 0 && len(a.parts)+len(p.Fields) > 0 {
			p.Hi, p.Digest = f.At, merkle.Digest{}
			return false
		}
		a.budget -= bytes
		p.Fields = append(p.Fields, f)
		return true
	})
	if err == nil && p.Lo < p.Hi {
		a.append(p)
	}
	return err
}
