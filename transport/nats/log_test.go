package nats

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A server that complains every second about the same fills no log, and is heard
// again after a minute.
func TestComplaintsOnceAMinute(t *testing.T) {
	var out strings.Builder
	l := newServerLog(slog.New(slog.NewTextHandler(&out, nil)))
	now := time.Unix(0, 0)
	l.now = func() time.Time { return now }
	for range 61 {
		l.Warnf("no route to %s", "us")
		l.Errorf("no route to %s", "ap")
		now = now.Add(time.Second)
	}
	l.Fatalf("dead")
	l.Fatalf("dead")
	for text, want := range map[string]int{
		`msg="no route to us"`: 2, `msg="no route to us" repeated=59`: 1, `msg="no route to ap"`: 2, "msg=dead": 2,
	} {
		if n := strings.Count(out.String(), text); n != want {
			t.Errorf("%q is there %d times, want %d:\n%s", text, n, want, out.String())
		}
	}
	for i := range 2 * maxComplaints {
		l.Warnf("text %d", i)
	}
	if n := len(l.complaints); n > maxComplaints {
		t.Errorf("it remembers %d texts", n)
	}
}
