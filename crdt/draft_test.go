package crdt_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/crdt"
)

// drafted runs operations at a copy and returns their event, nil if there is
// none.
func drafted(t *testing.T, s *crdt.State, a crdt.Actor, operations func(*crdt.Draft)) *crdt.Event {
	t.Helper()
	d := s.Draft(a)
	operations(d)
	e, changed := d.Event(0)
	if !changed {
		return nil
	}
	if err := crdt.Apply(s.Heard(), s, e, "", crdt.End); err != nil {
		t.Fatal(err)
	}
	return e
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestDraftRefuses(t *testing.T) {
	s := crdt.NewState()
	drafted(t, s, 1, func(d *crdt.Draft) { must(d.AddToCounter("full", math.MaxInt64)) })
	longKey, longName := strings.Repeat("k", crdt.MaxKeyBytes+1), strings.Repeat("e", crdt.MaxElementBytes+1)
	for name, c := range map[string]struct {
		operation func(*crdt.Draft) error
		want      error
		text      string
	}{
		"empty key, counter": {func(d *crdt.Draft) error { _, err := d.AddToCounter("", 1); return err }, crdt.ErrInvalid, "takes 1 to 4096 bytes"},
		"empty key, reset":   {func(d *crdt.Draft) error { return d.ResetCounter("") }, crdt.ErrInvalid, "takes 1 to 4096 bytes"},
		"empty key, collect": {func(d *crdt.Draft) error { return d.CollectCounter("") }, crdt.ErrInvalid, "takes 1 to 4096 bytes"},
		"long key, add":      {func(d *crdt.Draft) error { _, err := d.AddElement(longKey, "x"); return err }, crdt.ErrInvalid, "has 4097 bytes; at most 4096"},
		"long key, write":    {func(d *crdt.Draft) error { return d.WriteRegister(longKey, 1, nil) }, crdt.ErrInvalid, "has 4097 bytes; at most 4096"},
		"long element":       {func(d *crdt.Draft) error { _, err := d.AddElement("k", longName); return err }, crdt.ErrInvalid, "has 32769 bytes; at most 32768"},
		"long element, away": {func(d *crdt.Draft) error { _, err := d.RemoveElement("k", longName); return err }, crdt.ErrInvalid, "has 32769 bytes; at most 32768"},
		"long value":         {func(d *crdt.Draft) error { return d.WriteRegister("k", 1, make([]byte, crdt.MaxValueBytes+1)) }, crdt.ErrInvalid, "has 1048577 bytes; at most 1048576"},
		"unknown type":       {func(d *crdt.Draft) error { return d.Delete(crdt.Object{Key: "k", Type: 9}) }, crdt.ErrInvalid, "unknown type 9"},
		"delete without key": {func(d *crdt.Draft) error { return d.Delete(crdt.Object{Type: crdt.TypeSet}) }, crdt.ErrInvalid, "takes 1 to 4096 bytes"},
		"overflow":           {func(d *crdt.Draft) error { _, err := d.AddToCounter("full", 1); return err }, crdt.ErrOverflow, "1 more"},
	} {
		d := s.Draft(1)
		if err := c.operation(d); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: the error is %v", name, err)
		}
		if e, changed := d.Event(0); changed || d.Bytes() != 0 {
			t.Errorf("%s: an operation that failed made %+v of %d bytes", name, e, d.Bytes())
		}
	}
}

func TestLargestArgumentsFit(t *testing.T) {
	key, name := strings.Repeat("k", crdt.MaxKeyBytes), strings.Repeat("e", crdt.MaxElementBytes)
	e := drafted(t, crdt.NewState(), 1, func(d *crdt.Draft) {
		must(d.AddElement(key, name))
		must(0, d.WriteRegister(key, 1, make([]byte, crdt.MaxValueBytes)))
	})
	if _, err := crdt.DecodeEvent(e.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
}

// TestNetEffect pins what becomes of groups of operations, each on top of a
// copy that already has an element, a value and a counter.
func TestNetEffect(t *testing.T) {
	theSet := crdt.Object{Key: "s", Type: crdt.TypeSet}
	for name, c := range map[string]struct {
		operations func(*crdt.Draft)
		want       string // puts and removes by field, clears
	}{
		"nothing":                  {func(d *crdt.Draft) {}, ""},
		"a thousand increments":    {func(d *crdt.Draft) { repeat(1000, func() { must(d.AddToCounter("c", 1)) }) }, "counter+1-0 "},
		"increments, then a reset": {func(d *crdt.Draft) { must(d.AddToCounter("c", 1)); must(0, d.ResetCounter("c")) }, "counter+0-1 "},
		"a new counter, reset":     {func(d *crdt.Draft) { must(d.AddToCounter("n", 1)); must(0, d.ResetCounter("n")) }, ""},
		"a reset, then increments": {func(d *crdt.Draft) { must(0, d.ResetCounter("c")); must(d.AddToCounter("c", 1)) }, "counter+1-1 "},
		"added and removed":        {func(d *crdt.Draft) { must(d.AddElement("s", "y")); must(d.RemoveElement("s", "y")) }, ""},
		"removed and added":        {func(d *crdt.Draft) { must(d.RemoveElement("s", "x")); must(d.AddElement("s", "x")) }, "set+1-1 "},
		"added again":              {func(d *crdt.Draft) { must(d.AddElement("s", "x")); must(d.AddElement("s", "x")) }, "set+1-1 "},
		"removed twice":            {func(d *crdt.Draft) { must(d.RemoveElement("s", "x")); must(d.RemoveElement("s", "x")) }, "set+0-1 "},
		"written twice":            {func(d *crdt.Draft) { must(0, d.WriteRegister("r", 1, nil)); must(0, d.WriteRegister("r", 1, nil)) }, "register+1-1 "},
		"cleared":                  {func(d *crdt.Draft) { must(0, d.Delete(theSet)) }, "clear "},
		"cleared, then added":      {func(d *crdt.Draft) { must(0, d.Delete(theSet)); must(d.AddElement("s", "x")) }, "set+1-0 clear "},
		"added, then cleared":      {func(d *crdt.Draft) { must(d.AddElement("s", "y")); must(0, d.Delete(theSet)) }, "clear "},
		"removed, then cleared":    {func(d *crdt.Draft) { must(d.RemoveElement("s", "x")); must(0, d.Delete(theSet)) }, "clear "},
		"cleared twice":            {func(d *crdt.Draft) { must(0, d.Delete(theSet)); must(0, d.Delete(theSet)) }, "clear "},
		"absent, deleted": {func(d *crdt.Draft) {
			must(d.RemoveElement("s", "z"))
			must(0, d.ResetCounter("n"))
			must(0, d.Delete(crdt.Object{Key: "n", Type: crdt.TypeRegister}))
		}, ""},
		"rolled back": {func(d *crdt.Draft) {
			must(d.AddToCounter("c", 1))
			must(0, d.Delete(theSet))
			must(0, d.WriteRegister("r", 1, nil))
			d.Rollback(0)
			if d.Bytes() != 0 {
				t.Errorf("rolled back to nothing, the draft takes %d bytes", d.Bytes())
			}
		}, ""},
	} {
		s := crdt.NewState()
		drafted(t, s, 1, func(d *crdt.Draft) {
			must(d.AddToCounter("c", 5))
			must(d.AddElement("s", "x"))
			must(0, d.WriteRegister("r", 1, []byte("v")))
		})
		if got := effect(drafted(t, s, 1, c.operations)); got != c.want {
			t.Errorf("%s: the event is %q, want %q", name, got, c.want)
		}
	}
}

func repeat(n int, f func()) {
	for range n {
		f()
	}
}

func effect(e *crdt.Event) string {
	if e == nil {
		return ""
	}
	text := ""
	for _, c := range e.Changes {
		text += fmt.Sprintf("%s+%d-%d ", c.Field.Type, len(c.Puts), len(c.Removes))
	}
	return text + strings.Repeat("clear ", len(e.Clears))
}

// TestRollbackKeepsEarlierClear: a field first read after a mark is forgotten
// by the rollback, and the clear drafted before the mark still holds for it.
func TestRollbackKeepsEarlierClear(t *testing.T) {
	s := crdt.NewState()
	drafted(t, s, 1, func(d *crdt.Draft) { must(d.AddElement("s", "x")) })
	d := s.Draft(1)
	must(0, d.Delete(crdt.Object{Key: "s", Type: crdt.TypeSet}))
	mark := d.Mark()
	must(d.RemoveElement("s", "x"))
	d.Rollback(mark)
	if absent := must(d.AddElement("s", "x")); !absent {
		t.Error("an element that the draft has cleared is there again after a rollback")
	}
}

// TestClearCostsTheSame: the event of a clear does not grow with the set.
func TestClearCostsTheSame(t *testing.T) {
	size := func(elements int) int {
		s := crdt.NewState()
		drafted(t, s, 1, func(d *crdt.Draft) {
			for i := range elements {
				must(d.AddElement("s", fmt.Sprint(i)))
			}
		})
		e := drafted(t, s, 1, func(d *crdt.Draft) { must(0, d.Delete(crdt.Object{Key: "s", Type: crdt.TypeSet})) })
		if err := s.Visit("", crdt.End, func(crdt.Position, crdt.Entries) error { return errors.New("something is left") }); err != nil {
			t.Fatal(err)
		}
		return len(e.AppendTo(nil))
	}
	if small, large := size(1), size(1000); small != large {
		t.Errorf("clearing one element takes %d bytes, a thousand %d", small, large)
	}
}

// TestClearBoundCountsVector: many actors make a clear large, and Bytes knows.
func TestClearBoundCountsVector(t *testing.T) {
	v := crdt.VersionVector{}
	for a := range crdt.Actor(200) {
		v[a+1] = math.MaxUint64 - 1
	}
	d := crdt.NewDraft(crdt.Dot{Actor: 500, Seq: 1}, crdt.NewHeard(v), crdt.NewState())
	must(0, d.Delete(crdt.Object{Key: "s", Type: crdt.TypeSet}))
	bound := d.Bytes()
	e, _ := d.Event(0)
	if got := len(e.AppendTo(nil)) - len(e.Deps.AppendTo(nil)); got > bound+40 {
		t.Errorf("a clear of %d bytes was said to have at most %d", got, bound)
	}
}

var errDisk = errors.New("the disk is gone")

// broken are fields on a disk that fails at the n-th access.
type broken struct {
	*crdt.State
	left *int
}

func (b broken) fails() bool { *b.left--; return *b.left < 0 }

func (b broken) Field(at crdt.Position) (crdt.Entries, error) {
	if b.fails() {
		return nil, errDisk
	}
	return b.State.Field(at)
}

func (b broken) SetField(at crdt.Position, es crdt.Entries) error {
	if b.fails() {
		return errDisk
	}
	return b.State.SetField(at, es)
}

func (b broken) Visit(lo, hi crdt.Position, f func(crdt.Position, crdt.Entries) error) error {
	return b.State.Visit(lo, hi, func(at crdt.Position, es crdt.Entries) error {
		if b.fails() {
			return errDisk
		}
		return f(at, es)
	})
}

// TestDiskFailures: whatever access fails, the error comes out, the copy has
// heard nothing of what it did not apply, and the draft is as before.
func TestDiskFailures(t *testing.T) {
	theSet := crdt.Object{Key: "s", Type: crdt.TypeSet}
	origin := crdt.NewState()
	drafted(t, origin, 1, func(d *crdt.Draft) {
		must(d.AddElement("s", "x"))
		must(d.AddElement("s", "y"))
		must(d.AddToCounter("c", 1))
	})
	other := origin.Clone()
	event := drafted(t, other, 2, func(d *crdt.Draft) {
		must(0, d.Delete(theSet))
		must(d.AddElement("s", "z"))
		must(0, d.ResetCounter("c"))
	})
	var theirs []crdt.FieldEntries
	must(0, other.Visit("", crdt.End, func(at crdt.Position, es crdt.Entries) error {
		theirs = append(theirs, crdt.FieldEntries{At: at, Entries: es})
		return nil
	}))
	for name, does := range map[string]func(broken, *crdt.Heard) error{
		"apply": func(b broken, h *crdt.Heard) error { return crdt.Apply(h, b, event, "", crdt.End) },
		"join": func(b broken, h *crdt.Heard) error {
			return crdt.JoinRange(h, b, "", crdt.End, theirs, other.Heard().Vector())
		},
		"count":    inDraft(func(d *crdt.Draft) error { _, err := d.AddToCounter("c", 1); return err }),
		"reset":    inDraft(func(d *crdt.Draft) error { return d.ResetCounter("c") }),
		"collect":  inDraft(func(d *crdt.Draft) error { return d.CollectCounter("c") }),
		"add":      inDraft(func(d *crdt.Draft) error { _, err := d.AddElement("s", "x"); return err }),
		"remove":   inDraft(func(d *crdt.Draft) error { _, err := d.RemoveElement("s", "x"); return err }),
		"register": inDraft(func(d *crdt.Draft) error { return d.WriteRegister("r", 1, nil) }),
		"delete":   inDraft(func(d *crdt.Draft) error { return d.Delete(crdt.Object{Key: "r", Type: crdt.TypeRegister}) }),
		"clear":    inDraft(func(d *crdt.Draft) error { return d.Delete(theSet) }),
		"field":    inDraft(func(d *crdt.Draft) error { _, err := d.Field(element("s", "x")); return err }),
		"exists":   inDraft(func(d *crdt.Draft) error { _, err := d.Exists(crdt.Object{Key: "n", Type: crdt.TypeSet}); return err }),
	} {
		for n := 0; ; n++ {
			s := origin.Clone()
			if name == "clear" { // only then it reads
				s.Heard().Observe("\x80", crdt.End, crdt.Dot{Actor: 3, Seq: 1})
				s.Heard().Forget("", "\x80")
			}
			heard, left := s.Heard().AppendTo(nil), n
			err := does(broken{s, &left}, s.Heard())
			if left >= 0 {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if n == 0 && name != "exists" {
					t.Errorf("%s: touches no field", name)
				}
				break
			}
			if !errors.Is(err, errDisk) {
				t.Errorf("%s: failing at access %d, the error is %v", name, n, err)
			}
			if !slices.Equal(heard, s.Heard().AppendTo(nil)) {
				t.Errorf("%s: failing at access %d, it counts as heard", name, n)
			}
		}
	}
}

func inDraft(operation func(*crdt.Draft) error) func(broken, *crdt.Heard) error {
	return func(b broken, h *crdt.Heard) error {
		d := crdt.NewDraft(crdt.Dot{Actor: 1, Seq: 2}, h, b)
		err := operation(d)
		if _, changed := d.Event(0); err != nil && changed {
			return fmt.Errorf("failed and drafted something: %v", err)
		}
		return err
	}
}

// pulled joins one object from a peer, whose copy has a single range.
func pulled(t *testing.T, s, peer *crdt.State, o crdt.Object) {
	t.Helper()
	lo, hi := o.Range()
	var theirs []crdt.FieldEntries
	must(0, peer.Visit(lo, hi, func(at crdt.Position, es crdt.Entries) error {
		theirs = append(theirs, crdt.FieldEntries{At: at, Entries: es})
		return nil
	}))
	must(0, crdt.JoinRange(s.Heard(), s, lo, hi, theirs, peer.Heard().Vector()))
}

// TestWriteWhileAhead: a copy with one range ahead writes there and elsewhere
// at once. At home the event waits for nothing, elsewhere for what was heard.
func TestWriteWhileAhead(t *testing.T) {
	s, peer := crdt.NewState(), crdt.NewState()
	ahead, behind := element("s", "x"), element("t", "x")
	drafted(t, peer, 2, func(d *crdt.Draft) { must(d.AddElement(ahead.Key, ahead.Name)) })
	pulled(t, s, peer, ahead.Object)
	e := drafted(t, s, 1, func(d *crdt.Draft) {
		must(d.RemoveElement(ahead.Key, ahead.Name))
		must(d.AddElement(behind.Key, behind.Name))
	})
	if e.Deps[2] != 1 {
		t.Errorf("the event that removes what a range ahead has waits for %s", e.Deps)
	}
	if err := crdt.Ready(crdt.NewHeard(nil), e); !errors.Is(err, crdt.ErrNotReady) {
		t.Errorf("elsewhere it is ready: %v", err)
	}
	if err := peer.Apply(e); err != nil {
		t.Errorf("where the rest was heard it is not: %v", err)
	}
}

// TestClearWhileAhead: a clear waits for what its ranges have heard, even if
// nothing of that is left: an element that was added and removed there must
// not stay where only the adding was heard.
func TestClearWhileAhead(t *testing.T) {
	s, peer, third := crdt.NewState(), crdt.NewState(), crdt.NewState()
	id := element("s", "x")
	added := drafted(t, peer, 2, func(d *crdt.Draft) { must(d.AddElement(id.Key, id.Name)) })
	removed := drafted(t, peer, 2, func(d *crdt.Draft) { must(d.RemoveElement(id.Key, id.Name)) })
	pulled(t, s, peer, id.Object)
	cleared := drafted(t, s, 1, func(d *crdt.Draft) { must(0, d.Delete(id.Object)) })
	must(0, third.Apply(added))
	if err := third.Apply(cleared); !errors.Is(err, crdt.ErrNotReady) {
		t.Errorf("a clear after a removal does not wait for it: %v", err)
	}
	must(0, third.Apply(removed))
	if err := third.Apply(cleared); err != nil {
		t.Error(err)
	}
}

// TestClearSparesContributions: whatever object an event clears, counters end
// by resets only, or an increment in flight would be lost.
func TestClearSparesContributions(t *testing.T) {
	s := crdt.NewState()
	counter, register := only("k", crdt.TypeCounter), only("k", crdt.TypeRegister)
	drafted(t, s, 1, func(d *crdt.Draft) {
		must(d.AddToCounter("k", 3))
		must(0, d.WriteRegister("k", 1, nil))
	})
	clear := &crdt.Event{Dot: crdt.Dot{Actor: 2, Seq: 1}, Deps: crdt.VersionVector{1: 1}, Clears: []crdt.Clear{
		{Object: counter.Object, UpTo: crdt.VersionVector{1: 1}},
		{Object: register.Object, UpTo: crdt.VersionVector{1: 1}},
	}}
	if err := s.Apply(clear); err != nil {
		t.Fatal(err)
	}
	if got := crdt.CounterValue(must(s.Field(counter.Position()))); got != 3 {
		t.Errorf("after the clear the counter is %d", got)
	}
	if left := must(s.Field(register.Position())); len(left) > 0 {
		t.Errorf("the clear left %v in the register", left)
	}
}
