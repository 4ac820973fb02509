package cluster_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/client"
)

// outcome is what a client knows of a write.
type outcome int

const (
	done    outcome = iota + 1 // acknowledged
	unknown                    // it may be there or not
	refused                    // nothing was changed, says the client
)

// outcomeOf goes by the words of package client, to the letter: what it says
// has changed nothing must not be found anywhere.
func outcomeOf(err error) (outcome, bool) {
	switch {
	case err == nil:
		return done, true
	case errors.Is(err, client.ErrOutcomeUnknown), errors.Is(err, client.ErrUnavailable):
		return unknown, true
	case errors.Is(err, client.ErrUnreachable), errors.Is(err, client.ErrBusy):
		return refused, true
	}
	return 0, false
}

// book is what the clients were told of their writes, and so what must be
// found in every region. It shares no code with what it checks.
type book struct {
	mu        sync.Mutex
	counts    map[outcome]int
	slowest   time.Duration // of the acknowledged writes
	counters  map[string]*tally
	sets      map[string]map[string]*element
	registers map[string]map[string]*write
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
	added   outcome
	removed outcome // 0: not, or by a removal that had not seen it
}

// write is one value written to a register.
type write struct {
	outcome    outcome
	began, end time.Time
}

func newBook() *book {
	return &book{
		counts: map[outcome]int{}, counters: map[string]*tally{},
		sets: map[string]map[string]*element{}, registers: map[string]map[string]*write{},
		wake: make(chan struct{}),
	}
}

// note counts a write. b.mu is held.
func (b *book) note(o outcome, began time.Time) {
	b.counts[o]++
	if o == done {
		b.slowest = max(b.slowest, time.Since(began))
		close(b.wake)
		b.wake = make(chan struct{})
	}
}

func (b *book) addedTo(counter string, k int64, o outcome, began time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note(o, began)
	t := b.counters[counter]
	if t == nil {
		t = &tally{}
		b.counters[counter] = t
	}
	switch {
	case o == done:
		t.sum += k
	case o == unknown && k > 0:
		t.maybePlus += k
	case o == unknown:
		t.maybeMinus -= k
	case o == refused:
		t.refused = append(t.refused, k)
	}
}

func (b *book) addedElement(set, name string, o outcome, began time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note(o, began)
	if b.sets[set] == nil {
		b.sets[set] = map[string]*element{}
	}
	b.sets[set][name] = &element{added: o}
}

// removedElement notes a removal that has seen the element, or may have.
func (b *book) removedElement(set, name string, saw bool, o outcome, began time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note(o, began)
	if saw || o == unknown {
		b.sets[set][name].removed = o
	}
}

func (b *book) wrote(register, value string, o outcome, began time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note(o, began)
	if b.registers[register] == nil {
		b.registers[register] = map[string]*write{}
	}
	b.registers[register][value] = &write{o, began, time.Now()}
}

// await waits until n more writes are acknowledged.
func (b *book) await(t *testing.T, n int) {
	t.Helper()
	limit := time.After(30 * time.Second)
	b.mu.Lock()
	target := b.counts[done] + n
	for b.counts[done] < target {
		wake, have := b.wake, b.counts[done]
		b.mu.Unlock()
		select {
		case <-wake:
		case <-limit:
			t.Fatalf("%d writes are acknowledged, waited in vain for %d", have, target)
		}
		b.mu.Lock()
	}
	b.mu.Unlock()
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprintf("%d writes acknowledged, %d unknown, %d refused; the slowest took %v",
		b.counts[done], b.counts[unknown], b.counts[refused], b.slowest.Round(time.Millisecond))
}

// checkCounter holds a counter's value against what was added.
func (b *book) checkCounter(name string, value int64) error {
	t := b.counters[name]
	if value < t.sum-t.maybeMinus || value > t.sum+t.maybePlus {
		return fmt.Errorf("counter %s is %d; acknowledged are %d, unknown +%d and -%d, refused %d",
			name, value, t.sum, t.maybePlus, t.maybeMinus, t.refused)
	}
	return nil
}

// checkSet holds the members of a set against what was added and removed.
func (b *book) checkSet(name string, members map[string]bool) error {
	var errs []error
	for m := range members {
		if b.sets[name][m] == nil {
			errs = append(errs, fmt.Errorf("set %s holds %q, which nobody added", name, m))
		}
	}
	for m, e := range b.sets[name] {
		switch {
		case members[m] && e.added == refused:
			errs = append(errs, fmt.Errorf("set %s holds %q, which was refused", name, m))
		case members[m] && e.removed == done:
			errs = append(errs, fmt.Errorf("set %s holds %q, which was removed", name, m))
		case !members[m] && e.added == done && e.removed == 0:
			errs = append(errs, fmt.Errorf("set %s lacks %q", name, m))
		}
	}
	return errors.Join(errs...)
}

// skew is how much the times of two writes may be off: members round to
// milliseconds.
const skew = 2 * time.Millisecond

// checkRegister holds the siblings of a register, the winner first, against
// what was written: a write that began after the winner's end has a later time
// (all members have one clock here), and must have won over it.
func (b *book) checkRegister(name string, siblings []client.Sibling) error {
	for _, s := range siblings {
		if w := b.registers[name][string(s.Value)]; w == nil || w.outcome == refused {
			return fmt.Errorf("register %s holds %q, which nobody wrote or was refused", name, s.Value)
		}
	}
	winner := b.registers[name][string(siblings[0].Value)]
	if winner.outcome == unknown {
		return nil // it may have been done at any time
	}
	for value, w := range b.registers[name] {
		if w.outcome == done && w.began.After(winner.end.Add(skew)) {
			return fmt.Errorf("register %s has the value %q; %q was written %v later", name, siblings[0].Value, value, w.began.Sub(winner.end))
		}
	}
	return nil
}
