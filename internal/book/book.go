package book

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/atolldb/atoll/client"
)

// Outcome is what a client knows of a write.
type Outcome int

// The outcomes. Zero is none.
const (
	Done    Outcome = iota + 1 // acknowledged
	Unknown                    // it may be there or not
	Refused                    // nothing was changed, says the client
)

// OutcomeOf returns what an error of a write means, or false if it means
// nothing that package client has a word for.
func OutcomeOf(err error) (Outcome, bool) {
	switch {
	case err == nil:
		return Done, true
	case errors.Is(err, client.ErrOutcomeUnknown), errors.Is(err, client.ErrUnavailable), errors.Is(err, client.ErrNotEnough):
		return Unknown, true
	case errors.Is(err, client.ErrUnreachable), errors.Is(err, client.ErrBusy), errors.Is(err, client.ErrNoSpace):
		return Refused, true
	}
	return 0, false
}

// Book is what clients were told of their writes. Its methods may be called
// concurrently, but for those that read.
type Book struct {
	// Skew is how far the clocks of members are apart at most, by which which of
	// concurrent values wins is not told. Set it before anything is booked.
	Skew time.Duration

	mu        sync.Mutex
	counts    map[Outcome]int
	slowest   time.Duration // of the acknowledged writes
	counters  map[string]*tally
	sets      map[string]map[string]*element
	registers map[string]map[string]*write
	looks     map[string][]look
	wake      chan struct{} // closed and replaced with each acknowledged write
}

// tally is what was added to a counter.
type tally struct {
	sum, maybePlus, maybeMinus int64
	refused                    []int64
}

// element is what happened to an element, which is added once and removed
// at most once.
type element struct {
	added   Outcome
	removed Outcome // 0: not, or by a removal that had not seen it
}

// write is one value written to a register.
type write struct {
	outcome    Outcome
	began, end time.Time
}

// New returns an empty book.
func New() *Book {
	return &Book{
		counts: map[Outcome]int{}, counters: map[string]*tally{},
		sets: map[string]map[string]*element{}, registers: map[string]map[string]*write{},
		looks: map[string][]look{}, wake: make(chan struct{}),
	}
}

// Next returns a new book that goes on with the counters of this one, which is
// closed: nothing may be booked in it any more.
func (b *Book) Next() *Book {
	next := New()
	next.Skew = b.Skew
	for name, t := range b.counters {
		next.counters[name] = &tally{sum: t.sum, maybePlus: t.maybePlus, maybeMinus: t.maybeMinus}
	}
	return next
}

// note counts a write. b.mu is held.
func (b *Book) note(o Outcome, began time.Time) {
	b.counts[o]++
	if o == Done {
		b.slowest = max(b.slowest, time.Since(began))
		close(b.wake)
		b.wake = make(chan struct{})
	}
}

// AddedTo books an increment by k, which may be negative.
func (b *Book) AddedTo(counter string, k int64, o Outcome, began time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note(o, began)
	t := b.counters[counter]
	if t == nil {
		t = &tally{}
		b.counters[counter] = t
	}
	switch {
	case o == Done:
		t.sum += k
	case o == Unknown && k > 0:
		t.maybePlus += k
	case o == Unknown:
		t.maybeMinus -= k
	case o == Refused:
		t.refused = append(t.refused, k)
	}
}

// AddedElement books an addition. No name is added to a set twice.
func (b *Book) AddedElement(set, name string, o Outcome, began time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note(o, began)
	if b.sets[set] == nil {
		b.sets[set] = map[string]*element{}
	}
	b.sets[set][name] = &element{added: o}
}

// RemovedElement books a removal that has seen the element, or may have.
func (b *Book) RemovedElement(set, name string, saw bool, o Outcome, began time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note(o, began)
	if saw || o == Unknown {
		b.sets[set][name].removed = o
	}
}

// Wrote books a value of a register. No value is written twice.
func (b *Book) Wrote(register, value string, o Outcome, began time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note(o, began)
	if b.registers[register] == nil {
		b.registers[register] = map[string]*write{}
	}
	b.registers[register][value] = &write{o, began, time.Now()}
}

// Count returns how many writes came to an outcome.
func (b *Book) Count(o Outcome) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts[o]
}

// Await waits until n more writes are acknowledged.
func (b *Book) Await(ctx context.Context, n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	target := b.counts[Done] + n
	for b.counts[Done] < target {
		wake, have := b.wake, b.counts[Done]
		b.mu.Unlock()
		select {
		case <-wake:
			b.mu.Lock()
		case <-ctx.Done():
			b.mu.Lock()
			return fmt.Errorf("book: %d writes are acknowledged, waited in vain for %d: %w", have, target, ctx.Err())
		}
	}
	return nil
}

// String sums the book up.
func (b *Book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprintf("%d writes acknowledged, %d unknown, %d refused; the slowest took %v",
		b.counts[Done], b.counts[Unknown], b.counts[Refused], b.slowest.Round(time.Millisecond))
}
