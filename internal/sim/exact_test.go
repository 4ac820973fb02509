package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// unknown is the value of the register at the beginning of an age.
const unknown = "?"

// orderWithin is how long to look for an order of an age. None is known that takes
// a second; one that would is not a failure.
const orderWithin = 20 * time.Second

// theRegister is a register that nothing happens to.
func theRegister(first string) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return first },
		Step: func(state, input, output any) (bool, any) {
			switch a := input.(Access); {
			case a.Write, state == unknown:
				return true, a.Value
			default:
				return state == a.Value, state
			}
		},
	}
}

// inexact says which age of a history no single register could have had, or "".
//
// In the first age there is no value at first. In each later one it is unknown
// which there is; and what was written before may yet take effect, as a copy that
// was out of reach may have it.
func inexact(out *Outcome) string {
	ages := append([]time.Duration{-1}, out.Ages...)
	for i, begin := range ages {
		end, first := never, ""
		if i+1 < len(ages) {
			end = ages[i+1]
		}
		if i > 0 {
			first = unknown
		}
		seen := map[string]bool{}
		for _, a := range out.Accesses {
			seen[a.Value] = seen[a.Value] || !a.Write
		}
		var history []porcupine.Operation
		for n, a := range out.Accesses {
			switch {
			case a.Called >= end, !a.Write && (a.Called <= begin || a.Returned >= end):
				continue
			case a.Write && (a.Called <= begin || a.Returned >= end):
				a.Returned = never
			}
			if a.Returned == never && !seen[a.Value] {
				continue // it need not have taken effect, and there would be no end of orders
			}
			history = append(history, porcupine.Operation{
				ClientId: n, Input: a, Call: int64(max(a.Called, begin)), Return: int64(a.Returned),
			})
		}
		if porcupine.CheckOperationsTimeout(theRegister(first), history, orderWithin) == porcupine.Illegal {
			return fmt.Sprintf("no single register does this from %v on:\n%s", max(0, begin), listed(history))
		}
	}
	return ""
}

// miscounted says which read of the counter is not what a counter would say, or "".
// It has all that was acknowledged before the read came, in its age; nothing that was
// asked for only after it was answered; and all that an earlier read had.
func miscounted(out *Outcome) string {
	age := func(c Count) int {
		n, _ := slices.BinarySearch(out.Ages, c.Called)
		return n
	}
	for _, read := range out.Counts {
		begun := age(read)
		if read.Add || begun < len(out.Ages) && out.Ages[begun] <= read.Returned {
			continue // a loss in between: anything goes
		}
		var most int64
		for _, c := range out.Counts {
			if c.Add && c.Called < read.Returned {
				most |= c.N
			}
			if c.Returned < read.Called && age(c) == begun && read.N&c.N != c.N {
				return fmt.Sprintf("the counter reads %b at %v, and had %b at %v", read.N, read.Called, c.N, c.Returned)
			}
		}
		if read.N&^most != 0 {
			return fmt.Sprintf("the counter reads %b at %v, of which only %b was added", read.N, read.Called, most)
		}
	}
	return ""
}

func listed(history []porcupine.Operation) string {
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var b strings.Builder
	for _, op := range history {
		a := op.Input.(Access)
		what, until := "read ", a.Returned.String()
		if a.Write {
			what = "write"
		}
		if a.Returned == never {
			until = "-"
		}
		fmt.Fprintf(&b, "%14v %14s  %s %q\n", a.Called, until, what, a.Value)
	}
	return b.String()
}

// The check sees what no register does, and no more than that.
func TestInexact(t *testing.T) {
	write := func(value string, called, returned time.Duration) Access {
		return Access{Write: true, Value: value, Called: called, Returned: returned}
	}
	read := func(value string, called, returned time.Duration) Access {
		return Access{Value: value, Called: called, Returned: returned}
	}
	tests := []struct {
		name     string
		accesses []Access
		ages     []time.Duration
		exact    bool
	}{
		{"in order", []Access{write("a", 1, 2), read("a", 3, 4), write("b", 5, 6), read("b", 7, 8)}, nil, true},
		{"nothing at first", []Access{read("", 1, 2), write("a", 3, 4), read("a", 5, 6)}, nil, true},
		{"a lost write", []Access{write("a", 1, 2), read("", 3, 4)}, nil, false},
		{"back and forth", []Access{write("a", 1, 9), read("a", 2, 3), read("", 4, 5)}, nil, false},
		{"while it is written", []Access{write("a", 1, 9), read("", 2, 3), read("a", 4, 5)}, nil, true},
		{"a failed write that shows", []Access{write("a", 1, never), read("", 2, 3), read("a", 4, 5)}, nil, true},
		{"a failed write that shows and goes", []Access{write("a", 1, never), read("a", 2, 3), read("", 4, 5)}, nil, false},
		{"lost in another age", []Access{write("a", 1, 2), read("", 4, 5)}, []time.Duration{3}, true},
		{"lost within another age", []Access{read("", 4, 5), write("a", 6, 7), read("", 8, 9)}, []time.Duration{3}, false},
		{"back from another age", []Access{write("a", 1, 2), read("", 4, 5), read("a", 6, 7)}, []time.Duration{3}, true},
		{"back and gone", []Access{write("a", 1, 2), read("", 4, 5), read("a", 6, 7), read("", 8, 9)}, []time.Duration{3}, false},
		{"across ages", []Access{write("a", 1, 2), read("", 1, 5)}, []time.Duration{3}, true},
	}
	for _, test := range tests {
		wrong := inexact(&Outcome{Accesses: test.accesses, Ages: test.ages})
		if (wrong == "") != test.exact {
			t.Errorf("%s: exact is to be %v: %s", test.name, test.exact, wrong)
		}
	}
}

// The check sees what no counter does, and no more than that.
func TestMiscounted(t *testing.T) {
	add := func(n int64, called, returned time.Duration) Count {
		return Count{Add: true, N: n, Called: called, Returned: returned}
	}
	read := func(n int64, called, returned time.Duration) Count {
		return Count{N: n, Called: called, Returned: returned}
	}
	tests := []struct {
		name   string
		counts []Count
		ages   []time.Duration
		exact  bool
	}{
		{"in order", []Count{read(0, 1, 2), add(1, 3, 4), add(2, 5, 6), read(3, 7, 8)}, nil, true},
		{"lost", []Count{add(1, 1, 2), add(2, 3, 4), read(2, 5, 6)}, nil, false},
		{"lost in another age", []Count{add(1, 1, 2), add(2, 4, 5), read(2, 6, 7)}, []time.Duration{3}, true},
		{"lost within another age", []Count{add(1, 1, 2), add(2, 4, 5), read(1, 6, 7)}, []time.Duration{3}, false},
		{"lost while it is read", []Count{add(1, 1, 2), read(0, 3, 5)}, []time.Duration{4}, true},
		{"while it is added", []Count{add(1, 1, 9), read(0, 2, 3), read(1, 4, 5)}, nil, true},
		{"back and forth", []Count{add(1, 1, 9), read(1, 2, 3), read(0, 4, 5)}, nil, false},
		{"side by side", []Count{add(1, 1, 9), read(1, 2, 5), read(0, 3, 4)}, nil, true},
		{"a failed one that shows", []Count{add(1, 1, never), read(0, 2, 3), read(1, 4, 5)}, nil, true},
		{"before it was asked for", []Count{read(1, 1, 2), add(1, 3, 4)}, nil, false},
		{"twice", []Count{add(1, 1, 2), read(2, 3, 4)}, nil, false},
	}
	for _, test := range tests {
		wrong := miscounted(&Outcome{Counts: test.counts, Ages: test.ages})
		if (wrong == "") != test.exact {
			t.Errorf("%s: exact is to be %v: %s", test.name, test.exact, wrong)
		}
	}
}
