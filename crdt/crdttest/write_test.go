package crdttest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/atolldb/atoll/crdt"
)

// verb is what a command does.
type verb int

const (
	put      verb = iota // increment, add an element, write a register
	take                 // reset, remove an element, delete a register
	wipe                 // delete the whole object
	collect              // what resets have left of a counter
	bad                  // an operation that fails
	mark                 // remember this point of the draft
	rollback             // go back to the last point remembered
)

func (v verb) String() string {
	return [...]string{"put", "take", "wipe", "collect", "bad", "mark", "rollback"}[v]
}

// command is one operation of a draft. How much is the amount of an increment,
// the clock of a register's writer.
type command struct {
	verb    verb
	field   int
	howMuch int
}

func (c command) String() string { return fmt.Sprintf("%s(%d, %d)", c.verb, c.field, c.howMuch) }

// writer is one draft, and what is true of it so far.
type writer struct {
	*world
	replica *replica
	draft   *crdt.Draft
	dot     crdt.Dot
	number  int
	marks   []point
}

// point is a state of a draft that can be returned to.
type point struct {
	mark int
	ops  []int // how many operations there were, by field
}

// write drafts the commands at a copy and applies the event there.
func (w *world) write(r *replica, commands []command) error {
	dot := crdt.Dot{Actor: r.actor, Seq: r.state.Heard().Vector()[r.actor] + 1}
	d := &writer{world: w, replica: r, draft: r.state.Draft(r.actor), dot: dot, number: len(w.events)}
	start := d.point()
	before := r.state.Clone()
	for _, c := range commands {
		if err := d.do(c); err != nil {
			return err
		}
	}
	if !r.state.Equal(before) {
		return errors.New("drafting changed the copy")
	}
	e, changed := d.draft.Event(0)
	if !changed {
		d.unsay(start)
		return nil
	}
	return d.commit(e)
}

// commit sends the event through its encoding and applies it here.
func (d *writer) commit(e *crdt.Event) error {
	raw := e.AppendTo(nil)
	decoded, err := crdt.DecodeEvent(raw)
	if err != nil {
		return fmt.Errorf("a drafted event is refused: %w", err)
	}
	if !bytes.Equal(decoded.AppendTo(nil), raw) {
		return errors.New("an event decoded and encoded again is another")
	}
	const head = 1 + 18 + 10 + 2*5 // version, dot, time, two counts
	if most := head + len(e.Deps.AppendTo(nil)) + d.draft.Bytes(); len(raw) > most {
		return fmt.Errorf("an event of %d bytes was said to have at most %d", len(raw), most)
	}
	d.events = append(d.events, decoded)
	d.hear(d.replica, d.number, "", crdt.End)
	heard := d.replica.state.Heard()
	if heard.Whole() {
		return d.replica.state.Apply(decoded)
	}
	return crdt.Apply(heard, d.replica.state, decoded, "", crdt.End)
}

func (d *writer) point() point {
	p := point{mark: d.draft.Mark()}
	for _, ops := range d.ops {
		p.ops = append(p.ops, len(ops))
	}
	return p
}

// unsay drops the operations since the point from the truth.
func (d *writer) unsay(p point) {
	for f, n := range p.ops {
		d.ops[f] = slices.Clip(d.ops[f][:n])
	}
}

// do runs one command, and compares what the draft answers with the truth.
func (d *writer) do(c command) error {
	id := d.fields[c.field]
	var err error
	switch c.verb {
	case put:
		err = d.put(c.field, c.howMuch)
	case take:
		err = d.take(c.field)
	case wipe:
		err = d.wipe(id.Object)
	case collect:
		if id.Type == crdt.TypeCounter {
			err = d.draft.CollectCounter(id.Key)
		}
	case bad:
		if _, refused := d.draft.AddToCounter("", 1); !errors.Is(refused, crdt.ErrInvalid) {
			err = fmt.Errorf("a counter without a key is taken: %v", refused)
		}
	case mark:
		d.marks = append(d.marks, d.point())
	case rollback:
		if n := len(d.marks); n > 0 {
			last := d.marks[n-1]
			d.marks = d.marks[:n-1]
			d.draft.Rollback(last.mark)
			d.unsay(last)
		}
	}
	if err != nil {
		return err
	}
	return d.look(c.field)
}

// alive returns the live operations of a field, as the writer sees it.
func (d *writer) alive(field int) []operation {
	return live(d.ops[field], d.replica.heard[field].with(d.number))
}

// record says that an operation was done. One that takes, and finds nothing
// that others have put, leaves no trace in the event and makes no claim: what
// is not there any more was taken by those who saw it. A wipe always does.
func (d *writer) record(field int, o operation) {
	o.event, o.dot, o.saw = d.number, d.dot, d.replica.heard[field]
	others := func(put operation) bool { return put.event != d.number }
	if o.takes && !o.wipes && !slices.ContainsFunc(d.alive(field), others) {
		o.saw = heard{}
	}
	d.ops[field] = append(d.ops[field], o)
}

func (d *writer) put(field, howMuch int) error {
	before := d.alive(field)
	switch id := d.fields[field]; id.Type {
	case crdt.TypeCounter:
		amount := int64(howMuch - 5)
		d.record(field, operation{puts: true, amount: amount})
		got, err := d.draft.AddToCounter(id.Key, amount)
		if err != nil {
			return err
		}
		return verify(id, crdt.Entries{{Dot: d.dot, Payload: crdt.Contribution{N: 1, Total: got}}}, d.alive(field))
	case crdt.TypeSet:
		d.record(field, operation{puts: true})
		absent, err := d.draft.AddElement(id.Key, id.Name)
		if err == nil && absent != (len(before) == 0) {
			err = fmt.Errorf("adding %q says absent: %t", id.Name, absent)
		}
		return err
	default:
		o := operation{puts: true, takes: true, time: uint64(howMuch), value: fmt.Sprint(d.number)}
		for _, seen := range before {
			o.time = max(o.time, seen.time+1)
		}
		d.record(field, o)
		return d.draft.WriteRegister(id.Key, uint64(howMuch), []byte(o.value))
	}
}

// wipe deletes an object. Of a set it takes one record for all elements,
// whether or not they are there.
func (d *writer) wipe(o crdt.Object) error {
	for f, id := range d.fields {
		if id.Object == o {
			d.record(f, operation{takes: true, wipes: o.Type == crdt.TypeSet})
		}
	}
	return d.draft.Delete(o)
}

func (d *writer) take(field int) error {
	before := d.alive(field)
	d.record(field, operation{takes: true})
	switch id := d.fields[field]; id.Type {
	case crdt.TypeCounter:
		return d.draft.ResetCounter(id.Key)
	case crdt.TypeSet:
		present, err := d.draft.RemoveElement(id.Key, id.Name)
		if err == nil && present != (len(before) > 0) {
			err = fmt.Errorf("removing %q says present: %t", id.Name, present)
		}
		return err
	default:
		return d.draft.Delete(id.Object)
	}
}

// look compares a field, and whether its object exists, with the truth.
func (d *writer) look(field int) error {
	id := d.fields[field]
	es, err := d.draft.Field(id)
	if err != nil {
		return err
	}
	if err := verify(id, es, d.alive(field)); err != nil {
		return fmt.Errorf("in the draft: %w", err)
	}
	want := false
	for f, other := range d.fields {
		want = want || other.Object == id.Object && len(d.alive(f)) > 0
	}
	got, err := d.draft.Exists(id.Object)
	if err == nil && got != want {
		err = fmt.Errorf("in the draft: %s exists: %t, want %t", id.Object, got, want)
	}
	return err
}
