package crdt_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/atolldb/atoll/crdt"
)

// Every region counts by itself. Nothing is counted twice, however often
// copies merge.
func ExampleGCounter() {
	eu, us := crdt.NewGCounter(1), crdt.NewGCounter(2)
	if _, err := eu.Add(3); err != nil {
		log.Fatal(err)
	}
	if _, err := us.Add(4); err != nil {
		log.Fatal(err)
	}
	eu.Merge(us)
	eu.Merge(us)
	us.Merge(eu)
	fmt.Println(eu.Value(), us.Value())
	// Output: 7 7
}

// A reset takes away what it has seen. An increment made meanwhile elsewhere
// survives it exactly.
func ExamplePNCounter_Reset() {
	eu, us := crdt.NewPNCounter(1), crdt.NewPNCounter(2)
	eu.Add(10)
	us.Merge(eu)

	us.Reset() // sees the 10
	eu.Add(5)  // at the same time

	eu.Merge(us)
	us.Merge(eu)
	fmt.Println(eu.Value(), us.Value())
	// Output: 5 5
}

// Adding wins: a removal takes away the additions that it has seen, and no
// other.
func ExampleORSet() {
	phone, laptop := crdt.NewORSet(1), crdt.NewORSet(2)
	phone.Add("milk", "bread")
	laptop.Merge(phone)

	phone.Remove("milk", "bread")
	laptop.Add("milk") // at the same time: somebody wants milk after all

	phone.Merge(laptop)
	laptop.Merge(phone)
	fmt.Println(phone.Elements(), laptop.Elements())
	// Output: [milk] [milk]
}

// The set is emptied of what was seen, at the cost of one small delta.
func ExampleORSet_Clear() {
	a, b := crdt.NewORSet(1), crdt.NewORSet(2)
	a.Add("x", "y", "z")
	b.Merge(a)
	a.Clear()
	b.Add("new")
	a.Merge(b)
	fmt.Println(a.Elements())
	// Output: [new]
}

// Concurrent writes are all kept until somebody who has seen them writes. The
// clocks only say which is shown.
func ExampleLWWRegister() {
	eu, us := crdt.NewLWWRegister(1), crdt.NewLWWRegister(2)
	eu.Set([]byte("Ada"), 100)
	us.Set([]byte("Grace"), 200)
	eu.Merge(us)

	value, _ := eu.Value()
	fmt.Printf("%s, of", value)
	for _, s := range eu.Siblings() {
		fmt.Printf(" %s", s.Value)
	}
	fmt.Println()

	eu.Set([]byte("Ada and Grace"), 150) // has seen both, so its clock does not matter
	us.Merge(eu)
	value, _ = us.Value()
	fmt.Printf("%s, of %d\n", value, len(us.Siblings()))
	// Output:
	// Grace, of Grace Ada
	// Ada and Grace, of 1
}

// Deltas are small and travel over whatever transport there is. One that
// comes before those it builds on is not ready: keep it for later, or merge
// a whole copy that has heard them all.
func Example_deltas() {
	eu, us := crdt.NewORSet(1), crdt.NewORSet(2)
	var wire [][]byte
	for _, element := range []string{"x", "y", "z"} {
		delta, err := eu.Add(element)
		if err != nil {
			log.Fatal(err)
		}
		wire = append(wire, delta.AppendTo(nil))
	}
	receive := func(message []byte) error {
		delta, err := crdt.DecodeEvent(message)
		if err != nil {
			return err
		}
		return us.Apply(delta)
	}
	fmt.Println(receive(wire[0]), us.Elements())
	fmt.Println(receive(wire[0]), us.Elements()) // repeated
	err := receive(wire[2])                      // the one before was lost
	fmt.Println(errors.Is(err, crdt.ErrNotReady), us.Elements())

	state, err := eu.MarshalBinary()
	if err != nil {
		log.Fatal(err)
	}
	theirs := crdt.NewORSet(3) // a copy to decode into; it never writes
	if err := theirs.UnmarshalBinary(state); err != nil {
		log.Fatal(err)
	}
	us.Merge(theirs)
	fmt.Println(us.Elements())
	// Output:
	// <nil> [x]
	// <nil> [x]
	// true [x]
	// [x y z]
}

// A State holds any number of objects. A Draft groups operations into one
// event, which arrives as a whole or not at all.
func ExampleState() {
	eu, us := crdt.NewState(), crdt.NewState()
	d := eu.Draft(1)
	visits, err := d.AddToCounter("visits", 1)
	if err != nil {
		log.Fatal(err)
	}
	fresh, err := d.AddElement("visitors", "203.0.113.9")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(visits, fresh)

	event, changed := d.Event(1_700_000_000_000)
	if !changed {
		return
	}
	for _, s := range []*crdt.State{eu, us} {
		if err := s.Apply(event); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(eu.Equal(us), us.Heard().Vector())
	// Output:
	// 1 true
	// true {0000000000000001:1}
}

// What only one range of a copy has pulled is known of that range only. When
// all ranges have caught up, so has the copy.
func ExampleJoinRange() {
	eu, us := crdt.NewState(), crdt.NewState()
	d := eu.Draft(1)
	for _, element := range []string{"x", "y"} {
		if _, err := d.AddElement("set", element); err != nil {
			log.Fatal(err)
		}
	}
	event, _ := d.Event(0)
	if err := eu.Apply(event); err != nil {
		log.Fatal(err)
	}
	middle := crdt.FieldID{Object: crdt.Object{Key: "set", Type: crdt.TypeSet}, Name: "y"}.Position()
	for _, bounds := range [][2]crdt.Position{{"", middle}, {middle, crdt.End}} {
		var fields []crdt.FieldEntries
		err := eu.Visit(bounds[0], bounds[1], func(at crdt.Position, es crdt.Entries) error {
			fields = append(fields, crdt.FieldEntries{At: at, Entries: es})
			return nil
		})
		if err != nil {
			log.Fatal(err)
		}
		if err := crdt.JoinRange(us.Heard(), us, bounds[0], bounds[1], fields, eu.Heard().Vector()); err != nil {
			log.Fatal(err)
		}
		fmt.Println(us.Heard().Vector(), us.Heard().At(""), us.Equal(eu))
	}
	// Output:
	// {} {0000000000000001:1} false
	// {0000000000000001:1} {0000000000000001:1} true
}
