package crdt_test

import (
	"encoding"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/atolldb/atoll/crdt"
)

// TestStateRefusesTheUnheard: an entry whose event was not heard is no copy's
// state; merged, it would come back wherever it was removed.
func TestStateRefusesTheUnheard(t *testing.T) {
	presence := crdt.Entries{{Dot: crdt.Dot{Actor: 1, Seq: 2}, Payload: crdt.Presence{}}}
	late := crdt.Entries{{Dot: crdt.Dot{Actor: 1, Seq: 1}, Payload: crdt.Contribution{N: 2, Total: 1}}}
	for name, c := range map[string]struct {
		at      crdt.FieldID
		entries crdt.Entries
	}{
		"element":   {element("s", "x"), presence},
		"increment": {only("c", crdt.TypeCounter), late},
	} {
		s := crdt.NewState()
		must(0, s.SetField(c.at.Position(), c.entries))
		s.Heard().Join("", crdt.End, crdt.VersionVector{1: 1, 2: 7})
		refused(t, name, crdt.NewState().UnmarshalBinary([]byte(encode(t, s))))
		s.Heard().Join("", crdt.End, crdt.VersionVector{1: 2})
		if err := crdt.NewState().UnmarshalBinary([]byte(encode(t, s))); err != nil {
			t.Errorf("%s, heard: %v", name, err)
		}
	}
}

// TestStatesOfTheFirstVersion: they do not show whether they are whole, so they
// are refused, and not for what they hold.
func TestStatesOfTheFirstVersion(t *testing.T) {
	for name, encoded := range map[string]string{
		"empty": "\x03\x01\x00\x00",
		"set": "\x0c\x01\x00\x01\x00\x00\x00\x00\x00\x00\x00\x03\x01" +
			"\x19\x80\x0a\xd9\xd3\x85\xa0\x67\x1f\x00\x05value\x02\xc2\x68\x23\x90\x41\x2a\x8c\xf7y" +
			"\x0b\x01\x00\x00\x00\x00\x00\x00\x00\x03\x01\x00",
	} {
		err := crdt.NewORSet(1).UnmarshalBinary([]byte(encoded))
		refused(t, name, err)
		if !strings.Contains(fmt.Sprint(err), "not a state of version 2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestShortestField: the shortest key, without a name, and the shortest entry are
// not taken for something cut off.
func TestShortestField(t *testing.T) {
	s := crdt.NewState()
	drafted(t, s, 1, func(d *crdt.Draft) { must(d.AddElement("k", "")) })
	if err := crdt.NewState().UnmarshalBinary([]byte(encode(t, s))); err != nil {
		t.Error(err)
	}
}

func TestCloneGoesItsOwnWay(t *testing.T) {
	s := crdt.NewState()
	drafted(t, s, 1, func(d *crdt.Draft) { must(d.AddElement("s", "x")) })
	before, clone := encode(t, s), s.Clone()
	if !clone.Equal(s) {
		t.Fatal("a clone is not equal")
	}
	drafted(t, clone, 1, func(d *crdt.Draft) {
		must(d.RemoveElement("s", "x"))
		must(d.AddToCounter("c", 1))
	})
	if encode(t, s) != before || clone.Equal(s) {
		t.Error("the original changed with its clone")
	}
}

// TestNilDelta: an operation that changed nothing has no delta, and handing
// that on changes nothing.
func TestNilDelta(t *testing.T) {
	s := crdt.NewORSet(1)
	for name, operation := range map[string]func() (*crdt.Event, error){
		"remove": func() (*crdt.Event, error) { return s.Remove("x") },
		"clear":  s.Clear,
		"add":    func() (*crdt.Event, error) { return s.Add() },
	} {
		delta, err := operation()
		if delta != nil || err != nil {
			t.Errorf("%s of nothing: %v, %v", name, delta, err)
		}
		if err := s.Apply(delta); err != nil {
			t.Errorf("%s of nothing, applied: %v", name, err)
		}
	}
	if err := crdt.NewGCounter(1).Apply(nil); err != nil {
		t.Error(err)
	}
}

// plain is what the plain Go values have in common.
type plain interface {
	Apply(*crdt.Event) error
	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler
}

// TestPlainValuesRefuseOthers: a delta or state of another type is refused,
// and changes nothing.
func TestPlainValuesRefuseOthers(t *testing.T) {
	counter, set, register := crdt.NewPNCounter(1), crdt.NewORSet(2), crdt.NewLWWRegister(3)
	values := map[string]plain{"counter": counter, "set": set, "register": register}
	deltas := map[string]*crdt.Event{
		"counter":  must(counter.Add(-1)),
		"set":      must(set.Add("x")),
		"register": must(register.Set([]byte("v"), 1)),
		"clear":    must(set.Clear()),
	}
	must(set.Add("y"))
	for to, value := range values {
		before := encode(t, value)
		for from, delta := range deltas {
			if from != to && !(from == "clear" && to == "set") {
				refused(t, from+" to "+to, value.Apply(delta))
			}
		}
		for from, other := range values {
			if from != to {
				refused(t, "state of "+from+" to "+to, value.UnmarshalBinary([]byte(encode(t, other))))
			}
		}
		if encode(t, value) != before {
			t.Errorf("%s changed", to)
		}
	}
}

func TestGCounterOnlyGrows(t *testing.T) {
	p, g := crdt.NewPNCounter(1), crdt.NewGCounter(2)
	if err := g.Apply(must(p.Add(5))); err != nil {
		t.Fatal(err)
	}
	must(g.Add(1))
	before := encode(t, g)
	refused(t, "a decrement above 0", g.Apply(must(p.Add(-2))))
	refused(t, "a decrement below 0", g.Apply(must(p.Add(-9))))
	refused(t, "a state below 0", g.UnmarshalBinary([]byte(encode(t, p))))
	refused(t, "a reset", g.Apply(must(p.Reset())))
	resetter := crdt.NewPNCounter(3)
	must(p.Add(1))
	resetter.Merge(p)
	refused(t, "a reset by another", g.Apply(must(resetter.Reset())))
	refused(t, "a reset state", g.UnmarshalBinary([]byte(encode(t, resetter))))
	if encode(t, g) != before || g.Value() != 6 {
		t.Errorf("the counter is %d", g.Value())
	}
	must(g.Add(math.MaxInt64 - 6))
	if g.Value() != math.MaxInt64 {
		t.Errorf("the counter is %d", g.Value())
	}
}
