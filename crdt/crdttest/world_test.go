package crdttest

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/atolldb/atoll/crdt"
)

// world is a few copies of one shard, and what is true of them.
type world struct {
	fields []crdt.FieldID
	places []crdt.Position // of the fields
	bounds []crdt.Position // where ranges are cut, in order
	copies []*replica
	frozen []*replica       // older states of copies, to pull from
	events []*crdt.Event    // all that were ever written
	ops    [][]operation    // by field
	losses bool             // some copy has forgotten something
	actors crdt.Actor       // given out so far
	known  map[view]entries // what Survivors said
}

// view is a field after some events.
type view struct {
	field int
	heard heard
}

type entries = map[crdt.Dot]crdt.Payload

// replica is one copy.
type replica struct {
	state   *crdt.State
	actor   crdt.Actor
	heard   []heard // by field: what the state must have heard there
	partial *partial
}

// partial is an event that has been applied below a position.
type partial struct {
	number int
	cuts   []crdt.Position // the ranges to go are between these
}

// newWorld returns a world of empty copies with the given fields.
func newWorld(copies int, fields []crdt.FieldID) *world {
	w := &world{fields: fields, ops: make([][]operation, len(fields)), known: map[view]entries{}}
	w.bounds = []crdt.Position{"", "\x40", "\x80", "\xc0", crdt.End}
	for _, f := range fields {
		lo, hi := f.Range()
		w.places = append(w.places, f.Position())
		w.bounds = append(w.bounds, f.Position(), f.Position()+"\x00", lo, hi)
	}
	slices.Sort(w.bounds)
	w.bounds = slices.Compact(w.bounds)
	for range copies {
		w.copies = append(w.copies, w.newReplica())
	}
	return w
}

func (w *world) newReplica() *replica {
	return &replica{state: crdt.NewState(), actor: w.newActor(), heard: make([]heard, len(w.fields))}
}

// newActor gives out actors in an order that is not that of their numbers.
func (w *world) newActor() crdt.Actor {
	w.actors++
	return w.actors*37%997 + 1
}

func (r *replica) clone() *replica {
	c := *r
	c.state, c.heard = r.state.Clone(), slices.Clone(r.heard)
	return &c
}

// fork returns a world that goes its own way from here.
func (w *world) fork() *world {
	f := *w
	f.copies = make([]*replica, len(w.copies))
	for i, r := range w.copies {
		f.copies[i] = r.clone()
	}
	f.events = slices.Clip(w.events)
	f.ops = make([][]operation, len(w.ops))
	for i, ops := range w.ops {
		f.ops[i] = slices.Clip(ops)
	}
	f.known = map[view]entries{}
	return &f
}

// hear says that the copy has now heard the event in [lo, hi).
func (w *world) hear(r *replica, number int, lo, hi crdt.Position) {
	for i, at := range w.places {
		if lo <= at && at < hi {
			r.heard[i] = r.heard[i].with(number)
		}
	}
}

// deliver brings an event to a copy, if it is ready there: at once, or only up
// to the first of the cuts.
func (w *world) deliver(r *replica, number int, cuts []crdt.Position) error {
	e := w.events[number]
	err := crdt.Ready(r.state.Heard(), e)
	if len(cuts) > 0 && err == nil {
		r.partial = &partial{number, append(append([]crdt.Position{""}, cuts...), crdt.End)}
		return w.advance(r)
	}
	before := r.state.Clone()
	switch applied := r.state.Apply(e); {
	case errors.Is(err, crdt.ErrNotReady) && errors.Is(applied, crdt.ErrNotReady),
		errors.Is(err, crdt.ErrDuplicate) && applied == nil:
		if !r.state.Equal(before) {
			return fmt.Errorf("%w, and yet the event %s changed something", err, e.Dot)
		}
		return nil
	case err != nil || applied != nil:
		return fmt.Errorf("event %s: Ready says %v, Apply %v", e.Dot, err, applied)
	}
	w.hear(r, number, "", crdt.End)
	return nil
}

// advance applies the next range of the partial event, if there is one.
func (w *world) advance(r *replica) error {
	p := r.partial
	if p == nil {
		return nil
	}
	lo, hi := p.cuts[0], p.cuts[1]
	if p.cuts = p.cuts[1:]; len(p.cuts) == 1 {
		r.partial = nil
	}
	w.hear(r, p.number, lo, hi)
	return crdt.Apply(r.state.Heard(), r.state, w.events[p.number], lo, hi)
}

// pull joins a range of another copy, or of what it once was, into this one,
// span by span; all but the spans to skip.
func (w *world) pull(r, from *replica, lo, hi crdt.Position, skip int) error {
	if lo >= hi {
		return nil
	}
	spans := from.state.Heard().Over(lo, hi)
	for i, span := range spans {
		end := hi
		if i+1 < len(spans) {
			end = spans[i+1].Start
		}
		if len(spans) > 1 && i == skip%len(spans) {
			continue
		}
		var theirs []crdt.FieldEntries
		err := from.state.Visit(span.Start, end, func(at crdt.Position, es crdt.Entries) error {
			theirs = append(theirs, crdt.FieldEntries{At: at, Entries: es})
			return nil
		})
		if err != nil {
			return err
		}
		if err := crdt.JoinRange(r.state.Heard(), r.state, span.Start, end, theirs, span.Vector); err != nil {
			return err
		}
		for f, at := range w.places {
			if span.Start <= at && at < end {
				r.heard[f] = r.heard[f].union(from.heard[f])
			}
		}
	}
	return nil
}

// merge joins all of another copy into this one.
func (w *world) merge(r, from *replica) {
	r.state.Merge(from.state)
	for f := range r.heard {
		r.heard[f] = r.heard[f].union(from.heard[f])
	}
}

// forget loses what a copy has in a range. It goes on under a new actor.
func (w *world) forget(r *replica, lo, hi crdt.Position) error {
	w.losses = true
	r.actor, r.partial = w.newActor(), nil
	for f, at := range w.places {
		if lo <= at && at < hi {
			r.heard[f] = heard{}
			if err := r.state.SetField(at, nil); err != nil {
				return err
			}
		}
	}
	r.state.Heard().Forget(lo, hi)
	return nil
}

// reload writes a copy down and reads it again.
func (w *world) reload(r *replica) error {
	encoded, err := r.state.MarshalBinary()
	if err != nil {
		return err
	}
	again := crdt.NewState()
	if err := again.UnmarshalBinary(encoded); err != nil {
		return err
	}
	if !again.Equal(r.state) {
		return errors.New("a state read back is another")
	}
	r.state = again
	return nil
}

// check says what is wrong with a copy, if anything: each field has heard
// exactly what the world says, holds exactly what the oracle says, and shows
// what the operations say.
func (w *world) check(r *replica) error {
	for f, id := range w.fields {
		vector := r.state.Heard().At(w.places[f])
		for n, e := range w.events {
			if got, want := e.Dot.Seq <= vector[e.Dot.Actor], r.heard[f].has(n); got != want {
				return fmt.Errorf("%s %q has heard %s: %t, want %t", id.Object, id.Name, e.Dot, got, want)
			}
		}
		es, err := r.state.Field(w.places[f])
		if err != nil {
			return err
		}
		want := w.survivors(f, r.heard[f])
		held := make(entries, len(es))
		for _, e := range es {
			held[e.Dot] = e.Payload
		}
		if len(es) != len(held) || !maps.EqualFunc(held, want, samePayload) {
			return fmt.Errorf("%s %q holds %v, want %v", id.Object, id.Name, held, want)
		}
		if err := verify(id, es, live(w.ops[f], r.heard[f])); err != nil {
			return err
		}
	}
	return nil
}

func samePayload(a, b crdt.Payload) bool {
	return reflect.DeepEqual(a, b)
}

// survivors asks the oracle, once for each question.
func (w *world) survivors(field int, h heard) entries {
	v := view{field, h}
	want, asked := w.known[v]
	if !asked {
		want = Survivors(w.fields[field], func(yield func(*crdt.Event) bool) {
			for n := range h.all() {
				if !yield(w.events[n]) {
					return
				}
			}
		})
		w.known[v] = want
	}
	return want
}
