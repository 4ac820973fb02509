package crdttest

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/crdt"
)

// action is what happens in one step of a history.
type action int

const (
	write   action = iota // a copy drafts and applies commands
	deliver               // an event comes to a copy, in time or not
	begin                 // an event is applied to the first of some ranges
	advance               // and to the next of them
	pull                  // a copy joins a range of another, or of its past
	merge                 // a copy joins all of another
	freeze                // a state is kept, to be pulled from later
	renew                 // a copy goes on under a new actor
	drop                  // a copy starts again, empty
	forget                // a copy loses a range
	reload                // a copy is written down and read again
	actions
)

func (a action) String() string {
	return [...]string{
		"write", "deliver", "begin", "advance", "pull", "merge", "freeze", "renew", "drop", "forget", "reload",
	}[a]
}

// weights say how often an action comes.
var weights = [actions]int{30, 30, 6, 8, 18, 4, 3, 1, 1, 1, 1}

// step is one step of a history. Numbers are taken modulo what there is, so
// that a history with steps left out is a history, too.
type step struct {
	action   action
	copy     int
	other    int // copy, frozen state, or event
	lo, hi   int // bounds of a range
	commands []command
}

func (s step) String() string {
	if s.action == write {
		return fmt.Sprintf("%s at %d %v", s.action, s.copy, s.commands)
	}
	return fmt.Sprintf("%s at %d, other %d, bounds %d to %d", s.action, s.copy, s.other, s.lo, s.hi)
}

// history is all that happens in one world.
type history struct {
	copies int
	fields []crdt.FieldID
	steps  []step
}

func (h history) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d copies, fields", h.copies)
	for i, f := range h.fields {
		fmt.Fprintf(&b, " %d=%s %q", i, f.Object, f.Name)
	}
	for _, s := range h.steps {
		fmt.Fprintf(&b, "\n\t%s", s)
	}
	return b.String()
}

// randomHistory makes a history up.
func randomHistory(rng *rand.Rand) history {
	h := history{copies: 3 + rng.IntN(3)}
	for _, key := range []string{"a", "b"}[:1+rng.IntN(2)] {
		h.fields = append(h.fields,
			crdt.FieldID{Object: crdt.Object{Key: key, Type: crdt.TypeCounter}},
			crdt.FieldID{Object: crdt.Object{Key: key, Type: crdt.TypeRegister}})
		for _, element := range []string{"", "x", "y"}[:1+rng.IntN(3)] {
			h.fields = append(h.fields, crdt.FieldID{Object: crdt.Object{Key: key, Type: crdt.TypeSet}, Name: element})
		}
	}
	total := 0
	for _, weight := range weights {
		total += weight
	}
	for range 10 + rng.IntN(50) {
		s := step{copy: rng.IntN(h.copies), other: rng.IntN(1 << 16), lo: rng.IntN(1 << 16), hi: rng.IntN(1 << 16)}
		for n := rng.IntN(total); n >= weights[s.action]; s.action++ {
			n -= weights[s.action]
		}
		if s.action == write {
			s.commands = randomCommands(rng, len(h.fields))
		}
		h.steps = append(h.steps, s)
	}
	return h
}

func randomCommands(rng *rand.Rand, fields int) []command {
	verbs := []verb{put, put, put, put, put, put, take, take, take, wipe, collect, bad, mark, mark, rollback}
	commands := make([]command, 1+min(rng.IntN(5), rng.IntN(8)))
	for i := range commands {
		commands[i] = command{verbs[rng.IntN(len(verbs))], rng.IntN(fields), rng.IntN(12)}
		if i > 0 && rng.IntN(2) == 0 {
			commands[i].field = commands[i-1].field
		}
	}
	return commands
}

// run plays a history and says what went wrong.
func (h history) run() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	w := newWorld(h.copies, h.fields)
	for i, s := range h.steps {
		r := w.copies[s.copy]
		before := r.state.Heard().Vector().Clone()
		err := w.play(s)
		if err == nil {
			r = w.copies[s.copy]
			err = w.check(r)
		}
		if err == nil && s.action != drop && s.action != forget && !r.state.Heard().Vector().Dominates(before) {
			err = fmt.Errorf("the vector fell from %s to %s", before, r.state.Heard().Vector())
		}
		if err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, s, err)
		}
	}
	return w.settle()
}

// play does one step.
func (w *world) play(s step) error {
	r := w.copies[s.copy]
	other := w.copies[s.other%len(w.copies)]
	lo, hi := w.bounds[s.lo%len(w.bounds)], w.bounds[s.hi%len(w.bounds)]
	if lo > hi {
		lo, hi = hi, lo
	}
	switch s.action {
	case write:
		return w.write(r, s.commands)
	case deliver, begin:
		number, found := w.pick(r, s.other)
		if !found {
			return nil
		}
		var cuts []crdt.Position
		if s.action == begin && lo < hi && hi < crdt.End && lo > "" {
			cuts = []crdt.Position{lo, hi}
		}
		return w.deliver(r, number, cuts)
	case advance:
		return w.advance(r)
	case pull:
		if n := len(w.copies) + len(w.frozen); s.other%n >= len(w.copies) {
			other = w.frozen[s.other%n-len(w.copies)]
		}
		return w.pull(r, other, lo, hi, s.lo)
	case merge:
		w.merge(r, other)
	case freeze:
		w.frozen = append(w.frozen, r.clone())
	case renew:
		r.actor = w.newActor()
	case drop:
		w.losses = true
		w.copies[s.copy] = w.newReplica()
	case forget:
		return w.forget(r, lo, hi)
	case reload:
		return w.reload(r)
	}
	return nil
}

// pick chooses an event for a copy: mostly the next one of some actor, which
// may or may not be ready, now and then any.
func (w *world) pick(r *replica, choice int) (int, bool) {
	if len(w.events) == 0 {
		return 0, false
	}
	n := choice % len(w.events)
	if choice%8 == 0 {
		return n, true
	}
	vector := r.state.Heard().Vector()
	for i := range w.events {
		number := (n + i) % len(w.events)
		if dot := w.events[number].Dot; dot.Seq == vector[dot.Actor]+1 {
			return number, true
		}
	}
	return n, true
}

// settle lets all copies merge, and one more hear every event anew, in
// disorder: all must come to the same.
func (w *world) settle() error {
	first := w.copies[0]
	for _, r := range w.copies[1:] {
		w.merge(first, r)
	}
	if err := w.check(first); err != nil {
		return fmt.Errorf("settling: %w", err)
	}
	want, err := first.state.MarshalBinary()
	if err != nil {
		return err
	}
	for i, r := range w.copies[1:] {
		w.merge(r, first)
		got, err := r.state.MarshalBinary()
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("settled copies 0 and %d differ", i+1)
		}
	}
	if !w.losses && !first.state.Heard().Whole() {
		return errors.New("nothing was lost, and yet a range is ahead when all have merged")
	}
	fresh := w.newReplica()
	rng := rand.New(rand.NewPCG(uint64(len(w.events)), 0))
	for left := rng.Perm(len(w.events)); len(left) > 0; {
		waiting := len(left)
		left = slices.DeleteFunc(left, func(number int) bool {
			ready := crdt.Ready(fresh.state.Heard(), w.events[number]) == nil
			if ready {
				err = errors.Join(err, w.deliver(fresh, number, nil))
			}
			return ready
		})
		if err != nil || len(left) == waiting {
			return fmt.Errorf("of %d events %d are never ready: %w", len(w.events), len(left), err)
		}
	}
	if err := w.check(fresh); err != nil {
		return fmt.Errorf("after hearing all events anew: %w", err)
	}
	if got, _ := fresh.state.MarshalBinary(); !w.losses && !bytes.Equal(got, want) {
		return errors.New("all events make another state than all merges")
	}
	return nil
}

// shrink leaves out of a failing history what it fails without.
func (h history) shrink() history {
	smaller := func(steps []step) bool {
		try := history{h.copies, h.fields, steps}
		if try.run() == nil {
			return false
		}
		h = try
		return true
	}
	for size := len(h.steps); size > 0; {
		again := false
		for from := 0; from+size <= len(h.steps); {
			if smaller(slices.Delete(slices.Clone(h.steps), from, from+size)) {
				again = true
			} else {
				from++
			}
		}
		if !again {
			size /= 2
		}
	}
	for i := range h.steps {
		for j := 0; j < len(h.steps[i].commands); {
			steps := slices.Clone(h.steps)
			steps[i].commands = slices.Delete(slices.Clone(steps[i].commands), j, j+1)
			if !smaller(steps) {
				j++
			}
		}
	}
	return h
}

var (
	seed      = flag.Uint64("seed", 0, "seed of the random histories; 0 takes a new one")
	histories = flag.Uint64("histories", 2500, "number of random histories")
)

// TestHistories plays random histories of a shard against the oracle.
func TestHistories(t *testing.T) {
	seed := *seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	for i := range *histories {
		h := randomHistory(rand.New(rand.NewPCG(seed, i)))
		if err := h.run(); err != nil {
			h = h.shrink()
			t.Fatalf("seed %d, history %d: %v\nshrunk to %s", seed, i, h.run(), h)
		}
	}
}
