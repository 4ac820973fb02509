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
