package antientropy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/merkle"
)

const (
	// maxAsked bounds the ranges of one question.
	maxAsked = 64
	// maxStalls bounds consecutive answers that bring nothing new.
	maxStalls = 3
	// maxQuestions and maxFrontier bound a walk with a peer that never comes to
	// an end. An honest one is over long before: what differs is sent in
	// answers of hundreds of KiB, and the frontier holds a few levels of splits.
	maxQuestions = 1 << 16
	maxFrontier  = 1 << 15
	// maxAgain bounds the ranges that a walk compares anew because they
	// changed meanwhile; a later walk does the rest.
	maxAgain = 4096
)

// ErrBadAnswer says that a peer's answer does not fit the question.
var ErrBadAnswer = errors.New("antientropy: answer does not fit the question")

// Walk is the asking side of a comparison of one shard with one peer:
//
//	for ask := w.Next(); ask != nil; ask = w.Next() {
//		joins := w.Receive(answer of the peer to ask, own digests)
//		join each part; w.Again(those that had changed)
//	}
type Walk struct {
	frontier  []Range // to compare still, in order
	asked     []Range
	questions int
	stalls    int
	again     int
}

// NewWalk starts a walk through the whole shard, whose digest here is given.
func NewWalk(own merkle.Digest) *Walk {
	return &Walk{frontier: []Range{{"", crdt.End, own}}}
}

// NewPull starts a walk that takes all that the peer has in [lo, hi): here, it
// says, there is nothing. Receive wants digests of nothing then.
func NewPull(lo, hi crdt.Position) *Walk {
	return &Walk{frontier: []Range{{lo, hi, merkle.Digest{}}}}
}

// Next returns the ranges to ask the peer about, or nil at the end of the walk.
func (w *Walk) Next() []Range {
	n := min(len(w.frontier), maxAsked)
	w.asked, w.frontier = w.frontier[:n:n], w.frontier[n:]
	w.questions++
	if n == 0 {
		return nil
	}
	return w.asked
}

// Receive takes the answer to the last question and returns the parts to join:
// complete ones by their fields, the others because own says that the digest
// here is the same, to be checked once more in the step that joins. An answer
// that does not fit the question is ErrBadAnswer and changes nothing.
func (w *Walk) Receive(parts []Part, own func(lo, hi crdt.Position) (merkle.Digest, error)) ([]Part, error) {
	rest, err := uncovered(w.asked, parts)
	if err != nil {
		return nil, err
	}
	var joins []Part
	var deeper []Range
	for _, p := range parts {
		if p.Complete {
			joins = append(joins, p)
			continue
		}
		digest, err := own(p.Lo, p.Hi)
		if err != nil {
			return nil, err
		}
		if digest == p.Digest {
			joins = append(joins, p)
		} else {
			deeper = append(deeper, Range{p.Lo, p.Hi, digest})
		}
	}
	w.stalls++
	if len(joins) > 0 || len(deeper)+len(rest) > len(w.asked) {
		w.stalls = 0
	}
	switch ahead := len(deeper) + len(rest) + len(w.frontier); {
	case w.stalls > maxStalls:
		return nil, fmt.Errorf("%w: %d times nothing new", ErrBadAnswer, w.stalls)
	case ahead > maxFrontier, ahead > 0 && w.questions >= maxQuestions:
		return nil, fmt.Errorf("%w: after %d questions %d ranges are to be compared still", ErrBadAnswer, w.questions, ahead)
	}
	w.frontier = append(append(deeper, rest...), w.frontier...)
	return joins, nil
}

// Again puts a range back that changed between comparing and joining. It
// returns false if the walk has seen too many of them.
func (w *Walk) Again(r Range) bool {
	w.again++
	i, _ := slices.BinarySearchFunc(w.frontier, r.Lo, func(other Range, lo crdt.Position) int {
		return strings.Compare(string(other.Lo), string(lo))
	})
	w.frontier = slices.Insert(w.frontier, i, r)
	return w.again <= maxAgain
}

// uncovered checks that the parts lie in the ranges asked for, in order and
// without gaps, and returns the ranges that are left.
func uncovered(asked []Range, parts []Part) ([]Range, error) {
	rest := append([]Range(nil), asked...)
	for _, p := range parts {
		for len(rest) > 0 && rest[0].Lo >= rest[0].Hi {
			rest = rest[1:]
		}
		if len(rest) == 0 || p.Lo != rest[0].Lo || p.Hi <= p.Lo || p.Hi > rest[0].Hi {
			return nil, fmt.Errorf("%w: part [%x, %x)", ErrBadAnswer, p.Lo, p.Hi)
		}
		for i, f := range p.Fields {
			if f.At < p.Lo || f.At >= p.Hi || i > 0 && f.At <= p.Fields[i-1].At {
				return nil, fmt.Errorf("%w: field outside of its part", ErrBadAnswer)
			}
		}
		rest[0].Lo = p.Hi
	}
	for len(rest) > 0 && rest[0].Lo >= rest[0].Hi {
		rest = rest[1:]
	}
	return rest, nil
}
