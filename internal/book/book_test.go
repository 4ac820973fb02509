package book

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/client"
)

// TestOutcomes: only what the client says for sure is taken for sure.
func TestOutcomes(t *testing.T) {
	for err, want := range map[error]Outcome{
		client.ErrOutcomeUnknown: Unknown, client.ErrUnavailable: Unknown,
		client.ErrUnreachable: Refused, client.ErrBusy: Refused, client.ErrNoSpace: Refused, client.ErrInvalid: 0, context.Canceled: 0,
	} {
		if got, ok := OutcomeOf(fmt.Errorf("why: %w", err)); got != want || ok != (want != 0) {
			t.Errorf("%v is %v, %t", err, got, ok)
		}
	}
	if got, _ := OutcomeOf(nil); got != Done {
		t.Errorf("success is %v", got)
	}
}

// TestCheck: the book tells what may be from what may not.
func TestCheck(t *testing.T) {
	b, now := New(), time.Now()
	b.AddedTo("c", 5, Done, now)
	b.AddedTo("c", 7, Unknown, now)
	b.AddedTo("c", -2, Unknown, now)
	b.AddedTo("c", 100, Refused, now)
	for _, name := range []string{"in", "out", "maybe out"} {
		b.AddedElement("s", name, Done, now)
	}
	b.RemovedElement("s", "in", false, Done, now) // it had not seen it
	b.RemovedElement("s", "out", true, Done, now)
	b.RemovedElement("s", "maybe out", false, Unknown, now)
	b.AddedElement("s", "maybe", Unknown, now)
	b.AddedElement("s", "never", Refused, now)
	b.Wrote("r", "first", Done, now.Add(-time.Hour))
	b.registers["r"]["first"].end = now.Add(-time.Minute)
	b.Wrote("r", "later", Done, now)
	b.Wrote("r", "maybe", Unknown, now)
	b.Wrote("r", "never", Refused, now)

	for value, right := range map[int64]bool{2: false, 3: true, 5: true, 12: true, 13: false, 105: false} {
		if err := b.checkCounter("c", value); (err == nil) != right {
			t.Errorf("counter %d: %v", value, err)
		}
	}
	set := func(names ...string) map[string]bool {
		members := map[string]bool{}
		for _, name := range names {
			members[name] = true
		}
		return members
	}
	for name, test := range map[string]struct {
		members map[string]bool
		wrong   int
	}{
		"least":    {set("in"), 0},
		"most":     {set("in", "maybe out", "maybe"), 0},
		"lost":     {set(), 1},
		"came":     {set("in", "out"), 1},
		"refused":  {set("in", "never"), 1},
		"nobody's": {set("in", "x", "y"), 2},
	} {
		if errs := b.checkSet("s", test.members); len(errs) != test.wrong {
			t.Errorf("%s: %v", name, errs)
		}
	}
	for values, right := range map[[2]string]bool{
		{"later", "first"}: true, {"maybe", "first"}: true, {"first", "later"}: false,
		{"later", "never"}: false, {"later", "x"}: false,
	} {
		siblings := []client.Sibling{{Value: []byte(values[0])}, {Value: []byte(values[1])}}
		if err := b.checkRegister("r", siblings); (err == nil) != right {
			t.Errorf("register %v: %v", values, err)
		}
	}
	for skew, right := range map[time.Duration]bool{time.Second: false, 2 * time.Minute: true} {
		b.Skew = skew
		if err := b.checkRegister("r", []client.Sibling{{Value: []byte("first")}}); (err == nil) != right {
			t.Errorf("clocks %v apart: %v", skew, err)
		}
	}
	b.Wrote("empty", "maybe", Unknown, now)
	if b.checkRegister("r", nil) == nil || b.checkRegister("empty", nil) != nil {
		t.Error("which registers may hold nothing")
	}
}

// TestNext: counters go on, the rest begins anew.
func TestNext(t *testing.T) {
	b := New()
	b.AddedTo("c", 5, Done, time.Now())
	b.AddedElement("s", "e", Done, time.Now())
	next := b.Next()
	next.AddedTo("c", 1, Done, time.Now())
	if err := next.checkCounter("c", 6); err != nil || len(next.sets) > 0 || next.Count(Done) != 1 {
		t.Errorf("%v, %v", next, err)
	}
	if err := b.checkCounter("c", 5); err != nil {
		t.Error(err)
	}
}

// TestAwait ends with enough writes, or with its context.
func TestAwait(t *testing.T) {
	b := New()
	ctx, cancel := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for ctx.Err() == nil { // whenever the other begins to wait
			b.AddedTo("c", 1, Done, time.Now())
			b.AddedTo("c", 1, Refused, time.Now())
			runtime.Gosched()
		}
	})
	if err := b.Await(t.Context(), 1); err != nil {
		t.Error(err)
	}
	cancel()
	writer.Wait()
	if err := b.Await(ctx, 10); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if d := (Reading{"a": "1", "b": "2"}).Differ(Reading{"a": "1", "b": "3"}); len(d) != 1 || d[0] != "b" {
		t.Error(d)
	}
}
