package crdt

import (
	"slices"
	"strings"
)

// Heard says which events a copy of a shard has heard, for every range of the
// shard's hash order.
//
// Why per range? A copy that pulls what it missed pulls range by range, and
// each range is a causal CRDT of its own from the moment it was joined. So a
// walk may be abandoned, resumed, or spread over several peers, while events
// and local writes go on. In the steady state there is a single range.
type Heard struct {
	spans []Span // in order, without gaps from "" to End, neighbours differ
}

// Span is a range of positions, from Start to the start of the next, and what
// was heard of it.
type Span struct {
	Start  Position
	Vector VersionVector
}

// NewHeard returns one range that heard the vector, which it keeps.
func NewHeard(v VersionVector) *Heard {
	if v == nil {
		v = VersionVector{}
	}
	return &Heard{spans: []Span{{"", v}}}
}

// Clone returns a copy that shares nothing.
func (h *Heard) Clone() *Heard {
	spans := slices.Clone(h.spans)
	for i := range spans {
		spans[i].Vector = spans[i].Vector.Clone()
	}
	return &Heard{spans}
}

// Whole says that no range is ahead of another.
func (h *Heard) Whole() bool { return len(h.spans) == 1 }

// Vector returns what every range has heard: these events are applied in
// full. The caller must not change it.
func (h *Heard) Vector() VersionVector {
	v := h.spans[0].Vector
	for _, s := range h.spans[1:] {
		v = v.Meet(s.Vector)
	}
	return v
}

// At returns what was heard at the position. The caller must not change it.
func (h *Heard) At(p Position) VersionVector { return h.spans[h.index(p)].Vector }

// Over returns the spans of [lo, hi), the first cut to start at lo. The caller
// must not change their vectors.
func (h *Heard) Over(lo, hi Position) []Span {
	var out []Span
	for i := h.index(lo); i < len(h.spans) && (h.spans[i].Start < hi || len(out) == 0); i++ {
		out = append(out, Span{max(lo, h.spans[i].Start), h.spans[i].Vector})
	}
	return out
}

// Observe says that the event was applied to [lo, hi).
func (h *Heard) Observe(lo, hi Position, d Dot) {
	h.change(lo, hi, func(v VersionVector) { v.Observe(d) })
}

// Join says that [lo, hi) was joined with a copy that had heard v.
func (h *Heard) Join(lo, hi Position, v VersionVector) {
	h.change(lo, hi, func(mine VersionVector) { mine.Join(v) })
}

// Forget says that the entries of [lo, hi) were lost: of them nothing is
// known any more.
func (h *Heard) Forget(lo, hi Position) {
	h.change(lo, hi, func(v VersionVector) { clear(v) })
}

// index returns which span holds the position.
func (h *Heard) index(p Position) int {
	i, found := slices.BinarySearchFunc(h.spans, p, func(s Span, p Position) int {
		return strings.Compare(string(s.Start), string(p))
	})
	if !found {
		i--
	}
	return i
}

func (h *Heard) change(lo, hi Position, f func(VersionVector)) {
	if lo >= hi {
		return
	}
	from := h.cut(lo)
	to := len(h.spans)
	if hi < End {
		to = h.cut(hi)
	}
	for _, s := range h.spans[from:to] {
		f(s.Vector)
	}
	h.fuse()
}

// cut makes a span start at the position and returns its index.
func (h *Heard) cut(p Position) int {
	i := h.index(p)
	if h.spans[i].Start == p {
		return i
	}
	h.spans = slices.Insert(h.spans, i+1, Span{p, h.spans[i].Vector.Clone()})
	return i + 1
}

// fuse joins neighbours that heard the same.
func (h *Heard) fuse() {
	h.spans = slices.CompactFunc(h.spans, func(a, b Span) bool { return a.Vector.Compare(b.Vector) == Equal })
}
