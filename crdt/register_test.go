package crdt_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/atolldb/atoll/crdt"
)

func sibling(a crdt.Actor, seq, time uint64) crdt.Entry {
	d := crdt.Dot{Actor: a, Seq: seq}
	return crdt.Entry{Dot: d, Payload: crdt.Sibling{Time: time, Value: []byte(d.String())}}
}

func TestWinner(t *testing.T) {
	for name, c := range map[string]struct {
		entries crdt.Entries
		want    crdt.Dot
	}{
		"none":                     {nil, crdt.Dot{}},
		"of another type":          {crdt.Entries{{Dot: crdt.Dot{Actor: 1, Seq: 1}, Payload: crdt.Presence{}}}, crdt.Dot{}},
		"time 0":                   {crdt.Entries{sibling(1, 1, 0)}, crdt.Dot{Actor: 1, Seq: 1}},
		"the latest":               {crdt.Entries{sibling(1, 1, 5), sibling(2, 1, 9), sibling(3, 1, 7)}, crdt.Dot{Actor: 2, Seq: 1}},
		"the larger actor of two":  {crdt.Entries{sibling(1, 8, 5), sibling(2, 1, 5)}, crdt.Dot{Actor: 2, Seq: 1}},
		"the larger seq of two":    {crdt.Entries{sibling(1, 1, 5), sibling(1, 2, 5)}, crdt.Dot{Actor: 1, Seq: 2}},
		"a tie below, not the top": {crdt.Entries{sibling(1, 1, 6), sibling(2, 1, 5), sibling(3, 1, 5)}, crdt.Dot{Actor: 1, Seq: 1}},
	} {
		got, found := crdt.Winner(c.entries)
		if got.Dot != c.want || found != (c.want != crdt.Dot{}) {
			t.Errorf("%s: %s wins (%t), want %s", name, got.Dot, found, c.want)
		}
	}
}

func set(t *testing.T, r *crdt.LWWRegister, value string, now uint64) *crdt.Event {
	t.Helper()
	delta, err := r.Set([]byte(value), now)
	if err != nil {
		t.Fatal(err)
	}
	return delta
}

// siblings lists the values and times of a register.
func siblings(r *crdt.LWWRegister) string {
	text := ""
	for _, s := range r.Siblings() {
		text += fmt.Sprintf("%s@%d ", s.Value, s.Time)
	}
	return text
}

func TestSiblingsAreRanked(t *testing.T) {
	all := crdt.NewLWWRegister(9)
	for a, time := range map[crdt.Actor]uint64{1: 5, 2: 7, 3: 5, 4: 6} {
		r := crdt.NewLWWRegister(a)
		if err := all.Apply(set(t, r, fmt.Sprint("of ", a), time)); err != nil {
			t.Fatal(err)
		}
	}
	const want = "of 0000000000000002@7 of 0000000000000004@6 of 0000000000000003@5 of 0000000000000001@5 "
	if got := siblings(all); got != want {
		t.Errorf("the siblings are %s, want %s", got, want)
	}
	if winner, _ := all.Value(); string(winner) != "of 0000000000000002" {
		t.Errorf("%q wins", winner)
	}
}

// TestClockSetWrong: a time far ahead rules until somebody who saw it writes,
// with whatever clock.
func TestClockSetWrong(t *testing.T) {
	fast, slow := crdt.NewLWWRegister(1), crdt.NewLWWRegister(2)
	set(t, fast, "from the future", math.MaxUint64-1)
	slow.Merge(fast)
	for i, want := range []string{"a@18446744073709551615 ", "b@18446744073709551615 "} {
		set(t, slow, string(rune('a'+i)), 3)
		if got := siblings(slow); got != want {
			t.Fatalf("the siblings are %s, want %s", got, want)
		}
	}
	fast.Merge(slow)
	if got, _ := fast.Value(); string(got) != "b" {
		t.Fatalf("the fast copy shows %q", got)
	}
}

func TestValueIsACopy(t *testing.T) {
	r := crdt.NewLWWRegister(1)
	value := []byte("before")
	if _, err := r.Set(value, 1); err != nil {
		t.Fatal(err)
	}
	copy(value, "after!")
	if got, _ := r.Value(); string(got) != "before" {
		t.Errorf("the caller's slice was kept: %q", got)
	}
}
