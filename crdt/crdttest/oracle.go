package crdttest

import (
	"iter"

	"github.com/atolldb/atoll/crdt"
)

// Survivors returns, in no order, the entries that a copy must hold of a field
// once exactly these events were heard there, in whatever order and way: every
// put, payloads joined per entry, less what some event removes, less what a
// clear of the object covers, contributions excepted.
//
// It is the oracle, written from that sentence. Of package crdt it uses the
// data and none of the rules. The events must be closed: with an event come
// those that its writer had heard of the field.
func Survivors(field crdt.FieldID, events iter.Seq[*crdt.Event]) map[crdt.Dot]crdt.Payload {
	survivors := map[crdt.Dot]crdt.Payload{}
	for e := range events {
		for _, c := range e.Changes {
			if c.Field != field {
				continue
			}
			for _, put := range c.Puts {
				survivors[put.Dot] = above(survivors[put.Dot], put.Payload)
			}
		}
	}
	for e := range events {
		for _, c := range e.Changes {
			if c.Field != field {
				continue
			}
			for _, dot := range c.Removes {
				delete(survivors, dot)
			}
		}
		for _, c := range e.Clears {
			for dot, payload := range survivors {
				_, contribution := payload.(crdt.Contribution)
				if c.Object == field.Object && !contribution && dot.Seq <= c.UpTo[dot.Actor] {
					delete(survivors, dot)
				}
			}
		}
	}
	return survivors
}

// above returns what two puts of one entry come to. Only contributions are put
// twice: their owner's part and the resets' part each go by the larger count,
// and of the owner's corrections those stay that no reset has seen.
func above(a, b crdt.Payload) crdt.Payload {
	x, ok := a.(crdt.Contribution)
	if !ok {
		return b
	}
	y := b.(crdt.Contribution)
	if x.N > y.N {
		y.N, y.Total, y.Corrections = x.N, x.Total, x.Corrections
	}
	if x.ResetN > y.ResetN {
		y.ResetN, y.ResetTotal = x.ResetN, x.ResetTotal
	}
	var left []crdt.Correction
	for _, k := range y.Corrections {
		if k.At > y.ResetN {
			left = append(left, k)
		}
	}
	y.Corrections = left
	return y
}
