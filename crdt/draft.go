package crdt

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Draft collects operations of one actor into one event, which is their net
// effect: a thousand increments of a counter are one put, an element added
// and removed again is nothing. A write makes an event this way and then
// applies it as everybody else will.
//
// Operations see the effects of those before them in the draft. Arguments are
// checked, and an operation that fails changes nothing.
type Draft struct {
	dot     Dot
	heard   *Heard
	fields  Fields
	touched map[Position]*draftField
	clears  map[Object]VersionVector
	undo    []func()
	bytes   int
}

type draftField struct {
	id        FieldID
	base, now Entries
	cost      int
}

// NewDraft starts an event with the given dot on top of what the copy has
// heard. The draft reads both heard and fields, which must not change before
// Event was called, and writes neither.
func NewDraft(dot Dot, heard *Heard, fields Fields) *Draft {
	return &Draft{
		dot: dot, heard: heard, fields: fields,
		touched: map[Position]*draftField{},
		clears:  map[Object]VersionVector{},
	}
}

// AddToCounter adds k, which may be negative, and returns the new value.
func (d *Draft) AddToCounter(key string, k int64) (int64, error) {
	f, err := d.load(FieldID{Object{key, TypeCounter}, ""})
	if err != nil {
		return 0, err
	}
	now, _, value, err := addToCounter(f.now, d.dot, k)
	if err != nil {
		return 0, err
	}
	d.set(f, now)
	return value, nil
}

// ResetCounter takes away all increments that this copy has seen.
func (d *Draft) ResetCounter(key string) error {
	f, err := d.load(FieldID{Object{key, TypeCounter}, ""})
	if err != nil {
		return err
	}
	d.set(f, resetCounter(f.now, d.dot.Actor))
	d.voidRecords(key)
	return nil
}

// CollectCounter removes what resets have left of the actor's own
// contribution. It changes no value.
func (d *Draft) CollectCounter(key string) error {
	f, err := d.load(FieldID{Object{key, TypeCounter}, ""})
	if err != nil {
		return err
	}
	if now := collectDead(f.now, d.dot.Actor); len(now) < len(f.now) {
		d.set(f, now)
	}
	return nil
}

// AddElement puts an element into a set and says whether it was absent. An
// element that was there is put again, so that it outlives concurrent removals.
func (d *Draft) AddElement(key, element string) (bool, error) {
	f, err := d.load(FieldID{Object{key, TypeSet}, element})
	if err != nil {
		return false, err
	}
	absent := len(f.now) == 0
	d.set(f, Entries{{d.dot, Presence{}}})
	return absent, nil
}

// RemoveElement takes an element out of a set, as far as this copy has seen
// it added, and says whether it was there.
func (d *Draft) RemoveElement(key, element string) (bool, error) {
	f, err := d.load(FieldID{Object{key, TypeSet}, element})
	if err != nil || len(f.now) == 0 {
		return false, err
	}
	d.set(f, nil)
	return true, nil
}

// WriteRegister replaces all siblings that this copy has seen by one value,
// which the draft keeps. Now is the writer's clock.
func (d *Draft) WriteRegister(key string, now uint64, value []byte) error {
	if len(value) > MaxValueBytes {
		return fmt.Errorf("%w: the value has %d bytes; at most %d are allowed", ErrInvalid, len(value), MaxValueBytes)
	}
	f, err := d.load(FieldID{Object{key, TypeRegister}, ""})
	if err != nil {
		return err
	}
	d.set(f, writeRegister(f.now, d.dot, now, value))
	return nil
}

// TrimRegister removes the earliest siblings of a register that is Crowded, and
// says how many. It is an operation like others: what it removes is what this copy
// has seen.
func (d *Draft) TrimRegister(key string) (removed int, err error) {
	f, err := d.load(FieldID{Object{key, TypeRegister}, ""})
	if err != nil {
		return 0, err
	}
	now := latest(f.now)
	if removed = len(f.now) - len(now); removed > 0 {
		d.set(f, now)
	}
	return removed, nil
}

// Delete removes an object as far as this copy has seen it. It costs the
// same however large the object is.
func (d *Draft) Delete(o Object) error {
	switch {
	case o.Validate() != nil:
		return o.Validate()
	case o.Type == TypeCounter:
		return d.ResetCounter(o.Key)
	case o.Type == TypeRegister:
		f, err := d.load(FieldID{o, ""})
		if err == nil && len(f.now) > 0 {
			d.set(f, nil)
		}
		return err
	}
	return d.clear(o)
}

// clear empties an object of many fields: what the whole copy has heard goes
// by one clear, what only some ranges have heard goes entry by entry.
func (d *Draft) clear(o Object) error {
	upTo := d.heard.Vector().Clone()
	lo, hi := o.Range()
	if !d.heard.Whole() {
		err := d.fields.Visit(lo, hi, func(at Position, es Entries) error {
			if len(es.cleared(upTo)) == 0 {
				return nil
			}
			id, err := at.FieldID()
			if err != nil {
				return err
			}
			_, err = d.load(id)
			return err
		})
		if err != nil {
			return err
		}
	}
	if _, again := d.clears[o]; !again {
		cost := len(o.Key) + 24 + 20*len(upTo)
		d.clears[o] = upTo
		d.bytes += cost
		d.undo = append(d.undo, func() { delete(d.clears, o); d.bytes -= cost })
	}
	for _, f := range d.touched {
		if f.id.Object == o {
			d.set(f, nil)
		}
	}
	return nil
}

// Field returns the entries of a field as the draft's operations left it. The
// caller does not change them.
func (d *Draft) Field(id FieldID) (Entries, error) {
	if f, ok := d.touched[id.Position()]; ok {
		return f.now, nil
	}
	es, err := d.fields.Field(id.Position())
	return es.cleared(d.clears[id.Object]), err
}

// errFound ends a visit early.
var errFound = errors.New("found")

// Exists says whether an object has anything to delete, as the draft's
// operations left it. What resets have left of a counter does not count.
func (d *Draft) Exists(o Object) (bool, error) {
	counts := func(es Entries) bool {
		return slices.ContainsFunc(es, func(e Entry) bool {
			c, ok := e.Payload.(Contribution)
			return !ok || !c.Dead()
		})
	}
	for _, f := range d.touched {
		if f.id.Object == o && counts(f.now) {
			return true, nil
		}
	}
	lo, hi := o.Range()
	err := d.fields.Visit(lo, hi, func(at Position, es Entries) error {
		if _, touched := d.touched[at]; !touched && counts(es.cleared(d.clears[o])) {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

func (d *Draft) load(id FieldID) (*draftField, error) {
	if err := id.Validate(); err != nil {
		return nil, err
	}
	at := id.Position()
	if f, ok := d.touched[at]; ok {
		return f, nil
	}
	es, err := d.fields.Field(at)
	if err != nil {
		return nil, err
	}
	f := &draftField{id: id, base: es, now: es}
	d.touched[at] = f
	// Undone, the field is read anew: a clear drafted before may remain.
	d.undo = append(d.undo, func() { delete(d.touched, at) })
	if upTo, ok := d.clears[id.Object]; ok {
		d.set(f, es.cleared(upTo))
	}
	return f, nil
}

func (d *Draft) set(f *draftField, now Entries) {
	before, cost := f.now, f.cost
	d.undo = append(d.undo, func() { d.bytes += cost - f.cost; f.now, f.cost = before, cost })
	f.now, f.cost = now, f.id.cost(f.base, now)
	d.bytes += f.cost - cost
}

// cost bounds from above what a change takes in an encoded event.
func (id FieldID) cost(base, now Entries) int {
	n := len(id.Key) + len(id.Name) + 24 + 20*len(base)
	for _, e := range now {
		n += 64
		switch p := e.Payload.(type) {
		case Sibling:
			n += len(p.Value)
		case Contribution:
			n += 30 * len(p.Corrections)
		}
	}
	return n
}

// Bytes bounds what the changes and clears drafted so far take in the encoded
// event. Its dot, time and dependencies come on top.
func (d *Draft) Bytes() int { return d.bytes }

// Mark returns a point to which Rollback can return.
func (d *Draft) Mark() int { return len(d.undo) }

// Rollback takes back all operations since the mark.
func (d *Draft) Rollback(mark int) {
	for len(d.undo) > mark {
		d.undo[len(d.undo)-1]()
		d.undo = d.undo[:len(d.undo)-1]
	}
}

// Event returns the net effect of the operations, or false if there is none.
// The draft must not be used afterwards.
func (d *Draft) Event(timeMs int64) (*Event, bool) {
	e := &Event{Dot: d.dot, Deps: d.heard.Vector().Clone(), Time: timeMs}
	for _, at := range slices.Sorted(maps.Keys(d.touched)) {
		f := d.touched[at]
		c := Change{Field: f.id}
		for _, now := range f.now {
			i, ok := f.base.Find(now.Dot)
			if !ok || !samePayload(f.base[i].Payload, now.Payload) {
				c.Puts = append(c.Puts, now)
			}
		}
		for _, was := range f.base {
			if _, ok := f.now.Find(was.Dot); !ok && !takenByClear(was, d.clears[f.id.Object]) {
				c.Removes = append(c.Removes, was.Dot)
			}
		}
		if len(c.Puts)+len(c.Removes) > 0 {
			e.Changes = append(e.Changes, c)
			e.Deps.Join(d.heard.At(at))
		}
	}
	for o, upTo := range d.clears {
		e.Clears = append(e.Clears, Clear{o, upTo})
		for _, span := range d.heard.Over(o.Range()) {
			e.Deps.Join(span.Vector)
		}
	}
	slices.SortFunc(e.Clears, func(a, b Clear) int { return compareObjects(a.Object, b.Object) })
	delete(e.Deps, d.dot.Actor)
	return e, len(e.Changes)+len(e.Clears) > 0
}
