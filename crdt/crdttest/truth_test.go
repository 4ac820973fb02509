package crdttest

import (
	"cmp"
	"fmt"
	"iter"
	"math/bits"
	"slices"

	"github.com/atolldb/atoll/crdt"
)

// maxEvents bounds the events of one history.
const maxEvents = 256

// heard is a set of events, by their numbers.
type heard [maxEvents / 64]uint64

func (h heard) has(n int) bool { return h[n/64]&(1<<(n%64)) != 0 }

func (h heard) with(n int) heard {
	h[n/64] |= 1 << (n % 64)
	return h
}

func (h heard) union(o heard) heard {
	for i := range h {
		h[i] |= o[i]
	}
	return h
}

func (h heard) all() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, word := range h {
			for ; word != 0; word &= word - 1 {
				if !yield(64*i + bits.TrailingZeros64(word)) {
					return
				}
			}
		}
	}
}

// operation is what a program did to one field. Values follow from operations
// and from what each had seen, and from nothing else: that is the whole truth
// that a user is told.
type operation struct {
	event       int // number of the event it went into
	dot         crdt.Dot
	puts, takes bool
	wipes       bool  // takes, as part of its whole object
	saw         heard // of the field, beside the earlier operations of its own event

	amount int64  // of an increment
	time   uint64 // of a register's value
	value  string
}

// live returns the puts among the operations heard that no taking operation
// heard had seen. Operations are in the order in which they were done.
func live(ops []operation, h heard) []operation {
	var alive []operation
	for i, put := range ops {
		if !put.puts || !h.has(put.event) {
			continue
		}
		taken := false
		for j, by := range ops {
			seen := by.saw.has(put.event) || by.event == put.event && i < j
			taken = taken || by.takes && h.has(by.event) && seen
		}
		if !taken {
			alive = append(alive, put)
		}
	}
	return alive
}

// verify says where the value that a field's entries show is not what the
// live operations make it.
func verify(field crdt.FieldID, es crdt.Entries, alive []operation) error {
	switch field.Type {
	case crdt.TypeCounter:
		var sum int64
		for _, o := range alive {
			sum += o.amount
		}
		if got := crdt.CounterValue(es); got != sum {
			return fmt.Errorf("%s is %d, want %d", field.Object, got, sum)
		}
	case crdt.TypeSet:
		if got, want := len(es) > 0, len(alive) > 0; got != want {
			return fmt.Errorf("%s has element %q: %t, want %t", field.Object, field.Name, got, want)
		}
	case crdt.TypeRegister:
		return verifyRegister(field, es, alive)
	}
	return nil
}

func verifyRegister(field crdt.FieldID, es crdt.Entries, alive []operation) error {
	if len(es) != len(alive) {
		return fmt.Errorf("%s has %d siblings, want %d", field.Object, len(es), len(alive))
	}
	for _, o := range alive {
		i := slices.IndexFunc(es, func(e crdt.Entry) bool { return e.Dot == o.dot })
		if i < 0 {
			return fmt.Errorf("%s lacks the value of %s", field.Object, o.dot)
		}
		if s, _ := es[i].Payload.(crdt.Sibling); s.Time != o.time || string(s.Value) != o.value {
			return fmt.Errorf("%s has %q of %d by %s, want %q of %d", field.Object, s.Value, s.Time, o.dot, o.value, o.time)
		}
	}
	winner, found := crdt.Winner(es)
	if !found {
		return nil // and none is alive
	}
	best := slices.MaxFunc(alive, func(a, b operation) int {
		return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.dot.Actor, b.dot.Actor), cmp.Compare(a.dot.Seq, b.dot.Seq))
	})
	if winner.Dot != best.dot {
		return fmt.Errorf("%s shows %s, want %s", field.Object, winner.Dot, best.dot)
	}
	return nil
}
