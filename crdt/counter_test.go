package crdt_test

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"github.com/atolldb/atoll/crdt"
)

func contributions(all ...crdt.Contribution) crdt.Entries {
	var es crdt.Entries
	for i, c := range all {
		es = append(es, crdt.Entry{Dot: crdt.Dot{Actor: crdt.Actor(i + 1), Seq: 1}, Payload: c})
	}
	return es
}

func TestCounterValueIsTheSumHeldAtTheEnds(t *testing.T) {
	rng := random(t)
	extremes := []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64 - 1, math.MaxInt64}
	some := func() int64 {
		if rng.IntN(3) == 0 {
			return int64(rng.Uint64())
		}
		return extremes[rng.IntN(len(extremes))]
	}
	for range 5000 {
		sum := new(big.Int)
		var all []crdt.Contribution
		for range rng.IntN(6) {
			c := crdt.Contribution{N: 2, Total: some()}
			sum.Add(sum, big.NewInt(c.Total))
			if rng.IntN(2) == 0 {
				c.ResetN, c.ResetTotal = 1, some()
				sum.Sub(sum, big.NewInt(c.ResetTotal))
			}
			all = append(all, c)
		}
		want := sum.Int64()
		if !sum.IsInt64() {
			want = math.MaxInt64
			if sum.Sign() < 0 {
				want = math.MinInt64
			}
		}
		if got := crdt.CounterValue(contributions(all...)); got != want {
			t.Fatalf("the value of %+v is %d, want %d", all, got, want)
		}
	}
}

func TestContribution(t *testing.T) {
	for _, c := range []struct {
		crdt.Contribution
		value int64
		dead  bool
	}{
		{crdt.Contribution{N: 3, Total: 7}, 7, false},
		{crdt.Contribution{N: 3, Total: 7, ResetN: 2, ResetTotal: 5}, 2, false},
		{crdt.Contribution{N: 3, Total: 7, ResetN: 3, ResetTotal: 7}, 0, true},
		{crdt.Contribution{N: 1, Total: 3, ResetN: 3, ResetTotal: 7}, 0, false}, // a part of the state only
	} {
		if got := c.Value(); got != c.value {
			t.Errorf("the value of %+v is %d, want %d", c.Contribution, got, c.value)
		}
		if got := crdt.CounterValue(contributions(c.Contribution)); got != c.value {
			t.Errorf("the counter's value with %+v is %d, want %d", c.Contribution, got, c.value)
		}
		if got := c.Dead(); got != c.dead {
			t.Errorf("%+v is dead: %t, want %t", c.Contribution, got, c.dead)
		}
	}
}

// add fails the test unless the counter can be added to.
func add(t *testing.T, c *crdt.PNCounter, k int64) {
	t.Helper()
	if _, err := c.Add(k); err != nil {
		t.Fatal(err)
	}
}

func TestCounterOverflow(t *testing.T) {
	c := crdt.NewPNCounter(1)
	add(t, c, math.MaxInt64)
	before := encode(t, c)
	delta, err := c.Add(1)
	if !errors.Is(err, crdt.ErrOverflow) || delta != nil {
		t.Fatalf("one more than the largest: %v", err)
	}
	if encode(t, c) != before {
		t.Fatal("an increment that failed changed the counter")
	}
	add(t, c, math.MinInt64) // leaves -1
	add(t, c, math.MinInt64+1)
	if got := c.Value(); got != math.MinInt64 {
		t.Fatalf("the value is %d", got)
	}
	if _, err := c.Add(-1); !errors.Is(err, crdt.ErrOverflow) {
		t.Fatalf("one less than the smallest: %v", err)
	}
	g := crdt.NewGCounter(1)
	if _, err := g.Add(math.MaxUint64); !errors.Is(err, crdt.ErrOverflow) {
		t.Fatalf("more than fits: %v", err)
	}
}

// TestConcurrentOverflow: what each may do alone can be too much together. The
// value is held at the end, and right again when there is room.
func TestConcurrentOverflow(t *testing.T) {
	a, b := crdt.NewPNCounter(1), crdt.NewPNCounter(2)
	add(t, a, math.MaxInt64)
	add(t, b, 10)
	a.Merge(b)
	if got := a.Value(); got != math.MaxInt64 {
		t.Fatalf("the value is %d, want the largest", got)
	}
	add(t, a, -11)
	if got := a.Value(); got != math.MaxInt64-1 {
		t.Fatalf("the value is %d, want the largest less 1", got)
	}
}

// TestCounterStartsAnewAfterReset: the running total that a reset has made
// void takes no room away.
func TestCounterStartsAnewAfterReset(t *testing.T) {
	a, b := crdt.NewPNCounter(1), crdt.NewPNCounter(2)
	add(t, a, math.MaxInt64)
	b.Merge(a)
	if _, err := b.Reset(); err != nil {
		t.Fatal(err)
	}
	a.Merge(b)
	add(t, a, math.MaxInt64)
	if got := a.Value(); got != math.MaxInt64 {
		t.Fatalf("after the reset and another increment the value is %d", got)
	}
	b.Merge(a)
	if a.Value() != b.Value() || encode(t, a) != encode(t, b) {
		t.Fatalf("the copies differ: %d and %d", a.Value(), b.Value())
	}
}

// TestTotalAtItsEnd: a running total that has no room left, because a reset
// stands against most of it, takes no room away from the counter.
func TestTotalAtItsEnd(t *testing.T) {
	a, b := crdt.NewPNCounter(1), crdt.NewPNCounter(2)
	add(t, a, math.MaxInt64)
	b.Merge(a)
	if _, err := b.Reset(); err != nil {
		t.Fatal(err)
	}
	add(t, a, -5)
	a.Merge(b)
	for want := int64(-2); want < 10; want += 3 {
		if add(t, a, 3); a.Value() != want {
			t.Fatalf("the value is %d, want %d", a.Value(), want)
		}
	}
	b.Merge(a)
	if _, err := b.Reset(); err != nil {
		t.Fatal(err)
	}
	add(t, a, 4)
	a.Merge(b)
	b.Merge(a)
	if a.Value() != 4 || b.Value() != 4 || encode(t, a) != encode(t, b) {
		t.Fatalf("after another reset, with 4 beside it, the copies read %d and %d", a.Value(), b.Value())
	}
}

func TestResetOfNothing(t *testing.T) {
	c := crdt.NewPNCounter(1)
	if delta, err := c.Reset(); delta != nil || err != nil {
		t.Fatalf("the delta is %v, the error %v", delta, err)
	}
}
