package crdt

import (
	"cmp"
	"fmt"
)

// Actor identifies one unbroken history of one copy. Only that copy writes
// under it. Zero is no actor.
type Actor uint64

// String returns the actor as sixteen hexadecimal digits.
func (a Actor) String() string { return fmt.Sprintf("%016x", uint64(a)) }

// Dot names one event: the seq-th of its actor, counted from 1.
type Dot struct {
	Actor Actor
	Seq   uint64
}

// Compare orders dots by actor, then by seq. The order carries no meaning; it
// makes encodings canonical.
func (d Dot) Compare(o Dot) int {
	if c := cmp.Compare(d.Actor, o.Actor); c != 0 {
		return c
	}
	return cmp.Compare(d.Seq, o.Seq)
}

// String returns the dot as actor:seq.
func (d Dot) String() string { return fmt.Sprintf("%s:%d", d.Actor, d.Seq) }

func (d Dot) validate() error {
	if d.Actor == 0 || d.Seq == 0 {
		return fmt.Errorf("%w: dot %s, actor and seq start at 1", ErrInvalid, d)
	}
	return nil
}
