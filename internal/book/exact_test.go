package book

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// TestLooks holds what a register is read as against a checker that tries all
// orders, on random histories of which some are right and some are not.
func TestLooks(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	model := porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			if input.(string) != "" {
				return true, input
			}
			return output == state, state
		},
	}
	right, never := 0, time.Hour
	for range 20_000 {
		b, start := New(), time.Now()
		b.registers["r"] = map[string]*write{}
		var history []porcupine.Operation
		values := []string{"a", "b", "c"}[:1+random.IntN(3)]
		op := func(client int, input, output string, outcome Outcome) (began, end time.Time) {
			called := time.Duration(random.IntN(12))
			returned := called + 1 + time.Duration(random.IntN(6))
			began, end = start.Add(called), start.Add(returned)
			if outcome == Unknown {
				returned = never
			}
			// Times that are the same come in any order here; there, calls come first.
			history = append(history, porcupine.Operation{
				ClientId: client, Input: input, Output: output, Call: 2 * int64(called), Return: 2*int64(returned) - 1,
			})
			return began, end
		}
		for i, value := range values {
			outcome := Done
			if random.IntN(4) == 0 {
				outcome = Unknown
			}
			began, end := op(i, value, "", outcome)
			b.registers["r"][value] = &write{outcome, began, end.Add(-1)}
		}
		for i := range 1 + random.IntN(4) {
			value := append(values, "")[random.IntN(len(values)+1)]
			began, end := op(10+i, "", value, Done)
			b.looks["r"] = append(b.looks["r"], look{value, began, end.Add(-1)})
		}
		want := porcupine.CheckOperations(model, history)
		if err := b.checkLooks("r"); (err == nil) != want {
			t.Fatalf("%v, want it to be linearizable: %t\n%+v", err, want, history)
		}
		if want {
			right++
		}
	}
	if right < 2000 || right > 18_000 {
		t.Errorf("%d of 20,000 histories are right", right)
	}
}

// TestLooksAtNothing: what nobody wrote, or was refused, is not read.
func TestLooksAtNothing(t *testing.T) {
	b := New()
	b.Wrote("r", "v", Refused, time.Now())
	for _, value := range []string{"v", "x"} {
		b.looks["r"] = nil
		b.Looked("r", value, time.Now())
		if err := b.checkLooks("r"); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q, which nobody wrote", value)) {
			t.Errorf("%q was read: %v", value, err)
		}
	}
}
