package crdt_test

import (
	"encoding"
	"errors"
	"testing"

	"github.com/atolldb/atoll/crdt"
)

// encode returns the bytes of a state.
func encode(t *testing.T, m encoding.BinaryMarshaler) string {
	t.Helper()
	b, err := m.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// refused wants a bad argument to be refused as such.
func refused(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, crdt.ErrInvalid) {
		t.Errorf("%s: the error is %v, want ErrInvalid", what, err)
	}
}

// goodEvent returns an event of every kind of change: actor 5 has heard of
// actors 6 and 7 and resets, adds, writes and clears.
func goodEvent() *crdt.Event {
	put := func(a crdt.Actor, seq uint64, p crdt.Payload) crdt.Entries {
		return crdt.Entries{{Dot: crdt.Dot{Actor: a, Seq: seq}, Payload: p}}
	}
	return &crdt.Event{
		Dot:  crdt.Dot{Actor: 5, Seq: 9},
		Deps: crdt.VersionVector{6: 4, 7: 300},
		Time: 1_700_000_000_000,
		Changes: []crdt.Change{ // in hash order
			{Field: element("s", "x"), Puts: put(5, 9, crdt.Presence{}), Removes: []crdt.Dot{{Actor: 5, Seq: 8}, {Actor: 6, Seq: 1}}},
			{Field: only("r", crdt.TypeRegister), Puts: put(5, 9, crdt.Sibling{Time: 77, Value: []byte("value")})},
			{Field: only("c", crdt.TypeCounter), Puts: put(6, 2, crdt.Contribution{N: 4, Total: -7, ResetN: 4, ResetTotal: -7})},
		},
		Clears: []crdt.Clear{{Object: crdt.Object{Key: "t", Type: crdt.TypeSet}, UpTo: crdt.VersionVector{5: 8, 7: 300}}},
	}
}

func TestValidateEvent(t *testing.T) {
	if err := goodEvent().Validate(); err != nil {
		t.Fatal(err)
	}
	const set, register, counter = 0, 1, 2
	contribution := func(c crdt.Contribution) func(*crdt.Event) {
		return func(e *crdt.Event) { e.Changes[counter].Puts[0].Payload = c }
	}
	for what, spoil := range map[string]func(*crdt.Event){
		"no actor":                  func(e *crdt.Event) { e.Dot.Actor = 0 },
		"no seq":                    func(e *crdt.Event) { e.Dot.Seq = 0 },
		"deps on itself":            func(e *crdt.Event) { e.Deps[5] = 9 },
		"deps on its predecessor":   func(e *crdt.Event) { e.Deps[5] = 8 },
		"changes out of order":      func(e *crdt.Event) { e.Changes[0], e.Changes[1] = e.Changes[1], e.Changes[0] },
		"a field twice":             func(e *crdt.Event) { e.Changes[1] = e.Changes[0] },
		"a change of nothing":       func(e *crdt.Event) { e.Changes[set].Puts, e.Changes[set].Removes = nil, nil },
		"an empty key":              func(e *crdt.Event) { e.Changes[set].Field.Key = "" },
		"a counter with a name":     func(e *crdt.Event) { e.Changes[counter].Field.Name = "x" },
		"an unknown type":           func(e *crdt.Event) { e.Changes[set].Field.Type = 4 },
		"a payload of another type": func(e *crdt.Event) { e.Changes[set].Puts[0].Payload = crdt.Sibling{} },
		"no payload":                func(e *crdt.Event) { e.Changes[set].Puts[0].Payload = nil },
		"a value too long": func(e *crdt.Event) {
			e.Changes[register].Puts[0].Payload = crdt.Sibling{Value: make([]byte, crdt.MaxValueBytes+1)}
		},
		"a put by nobody":                 func(e *crdt.Event) { e.Changes[set].Puts[0].Dot = crdt.Dot{} },
		"a put of an older element":       func(e *crdt.Event) { e.Changes[set].Puts[0].Dot.Seq = 7 },
		"a put of a future element":       func(e *crdt.Event) { e.Changes[set].Puts[0].Dot.Seq = 10 },
		"a put twice":                     func(e *crdt.Event) { p := e.Changes[set].Puts[0]; e.Changes[set].Puts = crdt.Entries{p, p} },
		"a put of an unseen contribution": func(e *crdt.Event) { e.Changes[counter].Puts[0].Dot.Actor = 8 },
		"a total not seen":                contribution(crdt.Contribution{N: 5}),
		"a total before the first":        contribution(crdt.Contribution{N: 1}),
		"a reset of what will be":         contribution(crdt.Contribution{N: 3, ResetN: 4}),
		"a reset of what was not yet":     contribution(crdt.Contribution{N: 3, ResetN: 1}),
		"a reset of nothing to something": contribution(crdt.Contribution{N: 3, ResetTotal: 1}),
		"removes out of order":            func(e *crdt.Event) { r := e.Changes[set].Removes; r[0], r[1] = r[1], r[0] },
		"a remove twice":                  func(e *crdt.Event) { r := e.Changes[set].Removes; r[1] = r[0] },
		"a remove of nothing":             func(e *crdt.Event) { e.Changes[set].Removes[0] = crdt.Dot{} },
		"a remove of its own put":         func(e *crdt.Event) { e.Changes[set].Removes[0].Seq = 9 },
		"a remove of the future":          func(e *crdt.Event) { e.Changes[set].Removes[0].Seq = 10 },
		"a remove of the unseen":          func(e *crdt.Event) { e.Changes[set].Removes[1].Seq = 5 },
		"a put and a remove of one": func(e *crdt.Event) {
			e.Changes[counter].Removes = []crdt.Dot{e.Changes[counter].Puts[0].Dot}
		},
		"a clear of no key":         func(e *crdt.Event) { e.Clears[0].Object.Key = "" },
		"a clear of itself":         func(e *crdt.Event) { e.Clears[0].UpTo[5] = 9 },
		"a clear of the unseen":     func(e *crdt.Event) { e.Clears[0].UpTo[7] = 301 },
		"a clear of unheard actors": func(e *crdt.Event) { e.Clears[0].UpTo[8] = 1 },
		"a clear twice":             func(e *crdt.Event) { e.Clears = append(e.Clears, e.Clears[0]) },
		"clears out of order": func(e *crdt.Event) {
			e.Clears = append(e.Clears, crdt.Clear{Object: crdt.Object{Key: "t", Type: crdt.TypeCounter}})
		},
	} {
		e := goodEvent()
		spoil(e)
		refused(t, what, e.Validate())
		s := crdt.NewState()
		s.Heard().Join("", crdt.End, crdt.VersionVector{5: 8, 6: 4, 7: 300})
		before := encode(t, s)
		refused(t, what+", applied", s.Apply(e))
		if encode(t, s) != before {
			t.Errorf("%s: the refused event changed the copy", what)
		}
		if what == "no payload" {
			continue // has no encoding
		}
		decoded, err := crdt.DecodeEvent(e.AppendTo(nil))
		refused(t, what+", decoded", err)
		if decoded != nil {
			t.Errorf("%s: something is returned beside the error", what)
		}
	}
}

// TestDecodedEventIsItsOwn: nothing of it refers to the bytes it came from.
func TestDecodedEventIsItsOwn(t *testing.T) {
	raw := goodEvent().AppendTo(nil)
	e := must(crdt.DecodeEvent(raw))
	want := string(raw)
	clear(raw)
	if got := string(e.AppendTo(nil)); got != want {
		t.Error("the event changed with the bytes it was decoded from")
	}
}

func TestDecodeEventOfAnotherVersion(t *testing.T) {
	raw := goodEvent().AppendTo(nil)
	raw[0] = 2
	_, err := crdt.DecodeEvent(raw)
	refused(t, "version 2", err)
	for n := range raw {
		raw[0] = 1
		_, err := crdt.DecodeEvent(raw[:n])
		refused(t, "cut off", err)
	}
}
