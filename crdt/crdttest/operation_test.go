package crdttest

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/atolldb/atoll/crdt"
)

// once is a counter on a few copies, to which operations are added that clients
// send again and again, and what is true of it.
type once struct {
	states  []*crdt.State
	events  []*crdt.Event
	acts    []increment
	resets  []reset
	counter crdt.FieldID
}

// increment is one that a copy has counted, whether another has or not.
type increment struct {
	operation int // its number, from 1; 0: it has no id
	amount    int64
	dot       crdt.Dot
	order     int // of all that was done
}

// reset is what a copy had heard of the counter when it reset it.
type reset struct {
	dot   crdt.Dot
	heard crdt.VersionVector
	order int
}

func idOf(operation int) crdt.OperationID { return crdt.OperationID{15: byte(operation)} }

func actorOf(copy int) crdt.Actor { return crdt.Actor(copy + 1) }

func newOnce(copies int) *once {
	o := &once{counter: crdt.FieldID{Object: crdt.Object{Key: "c", Type: crdt.TypeCounter}}}
	for range copies {
		o.states = append(o.states, crdt.NewState())
	}
	return o
}

// write drafts an event at a copy and applies it there.
func (o *once) write(copy int, draft func(*crdt.Draft, crdt.Dot) error) error {
	s := o.states[copy]
	dot := crdt.Dot{Actor: actorOf(copy), Seq: s.Heard().Vector()[actorOf(copy)] + 1}
	d := s.Draft(dot.Actor)
	if err := draft(d, dot); err != nil {
		return err
	}
	e, changed := d.Event(0)
	if !changed {
		return nil
	}
	e, err := crdt.DecodeEvent(e.AppendTo(nil))
	if err != nil {
		return fmt.Errorf("a drafted event is refused: %w", err)
	}
	o.events = append(o.events, e)
	return crdt.Apply(s.Heard(), s, e, "", crdt.End)
}

// add counts an operation at a copy, unless it knows of it.
func (o *once) add(d *crdt.Draft, dot crdt.Dot, operation int) error {
	counted, err := d.Counted(o.counter.Key, idOf(operation))
	if err != nil || counted {
		return err
	}
	amount := int64(operation)
	o.acts = append(o.acts, increment{operation, amount, dot, len(o.acts) + len(o.resets)})
	_, err = d.AddOnce(o.counter.Key, idOf(operation), amount)
	return err
}

func (o *once) reset(d *crdt.Draft, copy int, dot crdt.Dot) error {
	heard := o.states[copy].Heard().At(o.counter.Position()).Clone()
	o.resets = append(o.resets, reset{dot, heard, len(o.acts) + len(o.resets)})
	return d.ResetCounter(o.counter.Key)
}

// correct has a copy take back what others have counted, too, and says whether
// there was anything.
func (o *once) correct(copy, operations int) (bool, error) {
	before := len(o.events)
	err := o.write(copy, func(d *crdt.Draft, _ crdt.Dot) error {
		for operation := range operations {
			if _, err := d.CorrectOperation(o.counter.Key, idOf(operation+1)); err != nil {
				return err
			}
		}
		return d.CollectCounter(o.counter.Key)
	})
	return len(o.events) > before, err
}

// pull joins a part of one copy into another.
func (o *once) pull(to, from int, lo, hi crdt.Position) error {
	var fields []crdt.FieldEntries
	err := o.states[from].Visit(lo, hi, func(at crdt.Position, es crdt.Entries) error {
		fields = append(fields, crdt.FieldEntries{At: at, Entries: es})
		return nil
	})
	if err != nil {
		return err
	}
	mine := o.states[to]
	return crdt.JoinRange(mine.Heard(), mine, lo, hi, fields, o.states[from].Heard().At(lo))
}

// sum is what the counter must come to: of each operation the increment with the
// least dot, and those that have no id, less what a reset has seen.
func (o *once) sum() (sum int64) {
	stands := map[int]increment{}
	for _, a := range o.acts {
		if b, ok := stands[a.operation]; a.operation > 0 && (!ok || a.dot.Compare(b.dot) < 0) {
			stands[a.operation] = a
		}
	}
	for _, a := range o.acts {
		if b := stands[a.operation]; a.operation > 0 && a.dot != b.dot {
			continue
		}
		seen := false
		for _, r := range o.resets {
			seen = seen || r.heard.Covers(a.dot) || r.dot == a.dot && r.order > a.order
		}
		if !seen {
			sum += a.amount
		}
	}
	return sum
}

// TestOperationsCountOnce has copies count operations that others count as well,
// reset the counter, pull parts of each other, and take back what was too much, in
// every order. In the end each operation counts once, or not, if a reset saw the
// increment that stands.
func TestOperationsCountOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const operations = 3
		o := newOnce(rapid.IntRange(2, 4).Draw(t, "copies"))
		_, end := o.counter.Range() // records come after it
		check := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		some := func(what string) int { return rapid.IntRange(0, len(o.states)-1).Draw(t, what) }
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			copy := some("copy")
			switch rapid.SampledFrom([]string{"add", "add", "plain", "reset", "group", "deliver", "deliver", "pull", "part", "part", "correct"}).Draw(t, "step") {
			case "add":
				operation := rapid.IntRange(1, operations).Draw(t, "operation")
				check(o.write(copy, func(d *crdt.Draft, dot crdt.Dot) error { return o.add(d, dot, operation) }))
			case "plain":
				check(o.write(copy, func(d *crdt.Draft, dot crdt.Dot) error {
					o.acts = append(o.acts, increment{0, 100, dot, len(o.acts) + len(o.resets)})
					_, err := d.AddToCounter(o.counter.Key, 100)
					return err
				}))
			case "reset":
				check(o.write(copy, func(d *crdt.Draft, dot crdt.Dot) error { return o.reset(d, copy, dot) }))
			case "group":
				check(o.write(copy, func(d *crdt.Draft, dot crdt.Dot) error {
					if err := o.add(d, dot, 1); err != nil {
						return err
					}
					if err := o.reset(d, copy, dot); err != nil {
						return err
					}
					return o.add(d, dot, 2)
				}))
			case "deliver":
				for _, e := range o.events {
					_ = o.states[copy].Apply(e) // or it waits
				}
			case "pull":
				o.states[copy].Merge(o.states[some("from")])
			case "part":
				lo, hi := crdt.Position(""), end
				if rapid.Bool().Draw(t, "records") {
					lo, hi = end, crdt.End
				}
				if from := some("from"); from != copy && len(o.states[from].Heard().Over(lo, hi)) == 1 {
					check(o.pull(copy, from, lo, hi))
				}
			case "correct":
				if o.states[copy].Heard().Whole() {
					_, err := o.correct(copy, operations)
					check(err)
				}
			}
		}
		for again := true; again; {
			again = false
			for range o.states {
				for i := range o.states {
					for j := range o.states {
						o.states[i].Merge(o.states[j])
					}
				}
			}
			for i := range o.states {
				more, err := o.correct(i, operations)
				check(err)
				again = again || more
			}
		}
		for i, s := range o.states {
			es, err := s.Field(o.counter.Position())
			check(err)
			if got, want := crdt.CounterValue(es), o.sum(); got != want {
				t.Fatalf("copy %d counts %d, want %d: %v\nacts %+v\nresets %+v", i, got, want, es, o.acts, o.resets)
			}
		}
	})
}

// A record that was pulled without the counter says nothing yet: what it speaks of
// may be lost before it comes, and so is neither acknowledged nor stands.
func TestRecordWithoutItsCounter(t *testing.T) {
	o := newOnce(2)
	add := func(copy int) {
		if err := o.write(copy, func(d *crdt.Draft, dot crdt.Dot) error { return o.add(d, dot, 1) }); err != nil {
			t.Fatal(err)
		}
	}
	add(0)
	_, end := o.counter.Range()
	if err := o.pull(1, 0, end, crdt.End); err != nil {
		t.Fatal(err)
	}
	add(1)
	if len(o.acts) != 2 {
		t.Fatal("an increment that is not here counts as done")
	}
	if corrected, err := o.correct(1, 1); corrected || err != nil {
		t.Errorf("taken back for one that is not here: %v", err)
	}
	if err := o.pull(1, 0, "", end); err != nil {
		t.Fatal(err)
	}
	if corrected, err := o.correct(1, 1); !corrected || err != nil {
		t.Errorf("not taken back when it has come: %v", err)
	}
	es, err := o.states[1].Field(o.counter.Position())
	if got := crdt.CounterValue(es); got != 1 || err != nil {
		t.Errorf("it counts %d: %v", got, err)
	}
}
