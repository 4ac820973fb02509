package hlc_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/hlc"
)

// wall is a physical clock that stands still until it is set.
type wall struct{ now time.Time }

func (w *wall) read() time.Time { return w.now }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestNowFollowsThePhysicalClock(t *testing.T) {
	w := &wall{noon}
	c := hlc.NewClock(w.read)
	c.Now()
	for _, step := range []time.Duration{time.Millisecond, time.Second, 24 * time.Hour} {
		w.now = w.now.Add(step)
		if got, want := c.Now(), hlc.At(w.now); got != want {
			t.Errorf("%v later: got %v, want %v", step, got, want)
		}
	}
}

func TestNowIncreasesWhileThePhysicalClockDoesNot(t *testing.T) {
	w := &wall{noon}
	c := hlc.NewClock(w.read)
	last := c.Now()
	for _, step := range []time.Duration{0, 0, -time.Millisecond, -time.Hour, time.Minute, -200 * 365 * 24 * time.Hour, 0} {
		w.now = w.now.Add(step)
		now := c.Now()
		if now != last+1 {
			t.Errorf("physical clock moved by %v to %v: got %v after %v, want the next one", step, w.now, now, last)
		}
		last = now
	}
}

func TestLogicalOverflowCarriesIntoTheMillisecond(t *testing.T) {
	w := &wall{noon}
	c := hlc.NewClock(w.read)
	last := c.Now()
	for range 3 * 65536 {
		now := c.Now()
		if now != last+1 {
			t.Fatalf("got %v after %v, want the next one", now, last)
		}
		last = now
	}
	if got, want := last.Time(), noon.Add(3*time.Millisecond); !got.Equal(want) {
		t.Errorf("after 3 * 65536 more the clock stands at %v, want %v", got, want)
	}
	w.now = noon.Add(4 * time.Millisecond)
	if got, want := c.Now(), hlc.At(w.now); got != want {
		t.Errorf("once the physical clock has caught up: got %v, want %v", got, want)
	}
}

func TestAfterExceedsTheSeenAndTheClock(t *testing.T) {
	here := hlc.At(noon)
	for _, seen := range []hlc.Timestamp{0, 1, here - 1, here, here + 3, here + 1<<20, hlc.At(noon.AddDate(50, 0, 0)), hlc.Max - 1} {
		if got := here.After(seen); got <= seen || got < here || got > max(here, seen+1) {
			t.Errorf("%v after %v is %v, want the least that is neither before the one nor at the other", here, seen, got)
		}
	}
}

func TestSaturation(t *testing.T) {
	w := &wall{noon}
	c := hlc.NewClock(w.read)
	if got := c.Now().After(hlc.Max); got != hlc.Max {
		t.Errorf("After(Max) = %v, want Max", got)
	}
	if got := c.Now().After(hlc.Max - 1); got != hlc.Max {
		t.Errorf("After(Max-1) = %v, want Max", got)
	}
	w.now = hlc.Max.Time() // the last millisecond
	last := c.Now()
	for range 70_000 {
		now := c.Now()
		if now < last || now == last && last != hlc.Max {
			t.Fatalf("got %v after %v", now, last)
		}
		last = now
	}
	if last != hlc.Max {
		t.Errorf("clock ends at %v, want Max", last)
	}
}

func TestConcurrentCallsNeverShareATimestamp(t *testing.T) {
	const callers, calls = 4, 50_000
	c := hlc.NewClock(func() time.Time { return noon })
	issued := make([][]hlc.Timestamp, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for range calls {
				issued[i] = append(issued[i], c.Now())
			}
		})
	}
	wg.Wait()
	for i, own := range issued {
		if !slices.IsSorted(own) {
			t.Errorf("caller %d saw time run backwards", i)
		}
	}
	all := slices.Concat(issued...)
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != callers*calls {
		t.Errorf("%d distinct timestamps of %d", n, callers*calls)
	}
}

func BenchmarkNow(b *testing.B) {
	c := hlc.NewClock(time.Now)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Now()
		}
	})
}
