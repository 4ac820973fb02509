package transport_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/atolldb/atoll/transport"
)

func TestSubjectsOfACluster(t *testing.T) {
	for _, subject := range []string{
		transport.Delta(0), transport.Requests("eu", 255, "web"), transport.Sync("eu-1"), transport.Gossip, transport.Info("web"), transport.Questions("eu-1", "web"),
	} {
		if err := transport.CheckSubject(subject); err != nil {
			t.Errorf("CheckSubject(%q): %v", subject, err)
		}
	}
	for _, pair := range [][2]string{
		{transport.AllDeltas, transport.Delta(12)},
		{transport.AllRequests("eu"), transport.Requests("eu", 7, transport.Trusted)},
	} {
		if !transport.Match(pair[0], pair[1]) {
			t.Errorf("%q does not match %q", pair[0], pair[1])
		}
		if err := transport.CheckPattern(pair[0]); err != nil {
			t.Errorf("CheckPattern(%q): %v", pair[0], err)
		}
		if err := transport.CheckSubject(pair[0]); !errors.Is(err, transport.ErrBadSubject) {
			t.Errorf("CheckSubject(%q) = %v, want ErrBadSubject", pair[0], err)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, subject string
		want             bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a", "a.b", false},
		{"a.b", "a", false},
		{"a.*", "a.b", true},
		{"a.*", "a", false},
		{"a.*", "a.b.c", false},
		{"*.b", "a.b", true},
		{"*.b", "a.c", false},
		{"*", "a", true},
		{"a.*.c", "a.b.c", true},
	} {
		if got := transport.Match(c.pattern, c.subject); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.subject, got)
		}
	}
}

func TestMalformedSubjects(t *testing.T) {
	for _, subject := range []string{
		"", ".", "a.", ".a", "a..b", "a b", "a\r\nb", "a.>", "a*", "ä", strings.Repeat("a", transport.MaxSubjectBytes+1),
	} {
		if err := transport.CheckPattern(subject); !errors.Is(err, transport.ErrBadSubject) {
			t.Errorf("CheckPattern(%q) = %v, want ErrBadSubject", subject, err)
		}
	}
}
