package main

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Quantiles are those of all values, sorted, up to the width of a bucket.
func TestQuantiles(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, most := range []int64{1, 100, 1000, int64(time.Second), int64(100 * time.Hour)} {
		var parts [3]latencies
		var all []time.Duration
		for range 1 + rng.IntN(3000) {
			d := time.Duration(rng.Int64N(most))
			parts[rng.IntN(3)].add(d)
			all = append(all, d)
		}
		var l latencies
		for i := range parts {
			l.merge(&parts[i])
		}
		slices.Sort(all)
		for _, part := range []float64{0, 0.01, 0.5, 0.99, 1} {
			rank := max(int(part*float64(len(all))+0.999999), 1)
			exact, got := all[min(rank, len(all))-1], l.quantile(part)
			if got < exact || float64(got) > float64(exact)*(1+1.0/64)+1 {
				t.Errorf("up to %v: quantile %v of %d is %v; want %v", time.Duration(most), part, len(all), got, exact)
			}
		}
		if l.count != uint64(len(all)) || l.max != all[len(all)-1] {
			t.Errorf("%d, at most %v; want %d, %v", l.count, l.max, len(all), all[len(all)-1])
		}
	}
	var none latencies
	if none.quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
	none.add(-1)              // a clock that was set back
	none.add(1<<63 - 1)       // the largest there is
	none.add(time.Nanosecond) // must all have a bucket
	if none.quantile(1) != 1<<63-1 {
		t.Errorf("the largest is %v", none.quantile(1))
	}
}

func TestOwnCommand(t *testing.T) {
	for path, want := range map[string]string{
		"/tmp/go-build123/b001/exe/crdtctl": "go run ./cmd/crdtctl",
		"/home/a/atoll/bin/crdtctl":         "/home/a/atoll/bin/crdtctl",
	} {
		if got := ownCommand(path, nil); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := ownCommand("", errors.New("nobody knows")); got != "crdtctl" {
		t.Errorf("of an unknown path: %q", got)
	}
}
