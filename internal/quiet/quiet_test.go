package quiet_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/quiet"
)

func TestNotes(t *testing.T) {
	var n quiet.Notes
	now := time.Unix(1000, 0)
	want := func(about string, repeated int, due bool) {
		t.Helper()
		if r, d := n.Due(about, now); r != repeated || d != due {
			t.Errorf("%s at %v: %d, %v; want %d, %v", about, now, r, d, repeated, due)
		}
	}
	want("a", 0, true)
	want("b", 0, true)
	want("a", 0, false)
	now = now.Add(quiet.Pause - 1)
	want("a", 0, false)
	now = now.Add(1)
	want("a", 2, true)
	want("b", 0, true)
	now = now.Add(-1) // of somebody who was overtaken
	want("a", 0, false)
	now = now.Add(-time.Hour) // a clock that is set back does not silence anything
	want("a", 1, true)
}

// Whoever comes under ever new names does not fill the memory, and cannot
// silence what is told of others.
func TestManyNames(t *testing.T) {
	var n quiet.Notes
	now := time.Unix(1000, 0)
	for i := range 10_000 {
		if _, due := n.Due(fmt.Sprint(i), now); !due {
			t.Fatalf("%d is not told", i)
		}
	}
}
