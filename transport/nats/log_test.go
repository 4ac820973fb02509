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
	for i := range 61 {
		l.Warnf("no route to %s", "us")
		l.Errorf("no route to %s", "ap")
		l.Errorf("Error connecting to explicit gateway %q (%s) at %s (attempt %v): %v", "us", "h:1", "h:1", i+1, "refused")
		l.Errorf("Error connecting to explicit gateway %q (%s) at %s (attempt %v): %v", "ap", "h:2", "h:2", i+1, "refused")
		now = now.Add(time.Second)
	}
	l.Fatalf("dead")
	l.Fatalf("dead")
	for text, want := range map[string]int{
		`msg="no route to us"`: 2, `msg="no route to us" repeated=59`: 1, `msg="no route to ap"`: 2, "msg=dead": 2,
		`gateway \"us\"`: 2, `gateway \"ap\"`: 2, "(attempt 1)": 2,
	} {
		if n := strings.Count(out.String(), text); n != want {
			t.Errorf("%q is there %d times, want %d:\n%s", text, n, want, out.String())
		}
	}
}

// Whoever tries again and again, by ever new connections, is told of once a
// minute, and counted each time.
func TestDenialsOnceAMinute(t *testing.T) {
	var out strings.Builder
	l := newServerLog(slog.New(slog.NewTextHandler(&out, nil)))
	now := time.Unix(0, 0)
	l.now = func() time.Time { return now }
	for i := range 100 {
		l.Errorf("10.0.0.9:%d - cid:%d - authentication error - User \"x\"", 40000+i, i)
		l.Errorf("10.0.0.9:%d - rid:%d - TLS route handshake error: tls: bad certificate", 50000+i, i)
		l.Errorf("10.0.0.8:%d - cid:%d - TLS handshake error: EOF", 50000+i, i)
		l.Errorf("[::1]:%d - gid:%d - authentication error", 40000+i, i)
		l.Warnf("10.0.0.9:%d - cid:%d - Readloop processing time: 1s", 40000, 1)
		l.Errorf("10.0.0.7:%d - cid:%d - invalid character '%c' looking for beginning of value", 40000+i, i, 'a'+rune(i%26))
		l.Errorf("10.0.0.7:%d - cid:%d - Client Error %d", 40000+i, i, i)
		l.Errorf("10.0.0.6:%d - rid:%d - TLS handshake timeout", 40000+i, i)
		l.Errorf("10.0.0.9:%d - cid:%d - \"v1:go:10.7.7.%d:1 - cid:5 - x\" - Publish Violation - Subject \"y\"", 40000+i, i, i)
	}
	if n := l.denied.Load(); n != 700 {
		t.Errorf("%d denials are counted, want 700", n)
	}
	for text, want := range map[string]int{`comes from 10.0.0.9: \"authentication error`: 1, "comes from [::1]": 1, "route handshake": 0, "10.0.0.8": 0, "comes from 10.7.7": 0, "Readloop": 1, "10.0.0.7": 1, "10.0.0.6": 1} {
		if n := strings.Count(out.String(), text); n != want {
			t.Errorf("%q is there %d times, want %d:\n%s", text, n, want, out.String())
		}
	}
}
