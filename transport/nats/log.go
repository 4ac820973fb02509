package nats

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/internal/quiet"
)

// serverLog passes a nats-server's log on to slog. A server that cannot start
// says why only here, as a fatal message; the first one is kept. What it says
// again and again, such as of a region that is away, is passed on once a minute.
type serverLog struct {
	log    *slog.Logger
	denied atomic.Uint64 // what peers were refused
	fatal  chan string   // of capacity 1
	now    func() time.Time

	complaints quiet.Notes
}

func newServerLog(log *slog.Logger) *serverLog {
	return &serverLog{log: log, fatal: make(chan string, 1), now: time.Now}
}

// peerText is what a server says of a connection: whose it is, of what kind, its
// number, and what happened.
var peerText = regexp.MustCompile(`(?s)^(.+?):\d+ - ([crgl])id:\d+ - (.*)$`)

// attempt is how often a server has tried something, which it says along.
var attempt = regexp.MustCompile(` \(attempt \d+\)`)

// denials are parts of what a server says of another one that it does not let in, or
// that does what it may not do. It tells so in no other way. Of a client it calls
// nothing else an error, and that in ever other words: much of it is the client's.
var denials = []string{"authentication error", "Violation", "handshake error", "handshake timeout", "aximum payload", "aximum subscriptions", "parser ERROR", "ejecting", "Failing connection"}

// denial returns the host of a peer that was refused something, and what.
func denial(level slog.Level, text string) (host, what string, is bool) {
	parts := peerText.FindStringSubmatch(text)
	if parts == nil {
		return "", "", false
	}
	known := func(d string) bool { return strings.Contains(parts[3], d) }
	if !(parts[2] == "c" && level >= slog.LevelError) && !slices.ContainsFunc(denials, known) {
		return "", "", false
	}
	return parts[1], fmt.Sprintf("%.200q", parts[3]), true // a client's name is in it
}

// complain passes on what a server warns of, unless it did so less than a minute
// ago: of a refused peer anything, of others what is said in the same words.
func (l *serverLog) complain(level slog.Level, format string, values []any) {
	text, now := fmt.Sprintf(format, values...), l.now()
	about := attempt.ReplaceAllString(text, "")
	host, what, is := denial(level, text)
	if is && strings.HasSuffix(what, `handshake error: EOF"`) { // somebody who only looked
		l.write(slog.LevelDebug, format, values)
		return
	}
	if is {
		l.denied.Add(1)
		about, text = host, fmt.Sprintf("refused what comes from %s: %s", host, what)
	}
	switch repeated, due := l.complaints.Due(about, now); {
	case due && repeated > 0:
		l.log.Warn(text, "repeated", repeated)
	case due:
		l.log.Warn(text)
	}
}

func (l *serverLog) write(level slog.Level, format string, values []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, fmt.Sprintf(format, values...))
	}
}

// Noticef is for what happens in normal operation, every connection included:
// too much for the level Info of an embedding program.
func (l *serverLog) Noticef(format string, values ...any) { l.write(slog.LevelDebug, format, values) }

func (l *serverLog) Warnf(format string, values ...any) { l.complain(slog.LevelWarn, format, values) }

// Errorf is mostly for peers that cannot be reached, and for what will be
// tried again.
func (l *serverLog) Errorf(format string, values ...any) { l.complain(slog.LevelError, format, values) }

func (l *serverLog) Fatalf(format string, values ...any) {
	l.write(slog.LevelError, format, values)
	select {
	case l.fatal <- fmt.Sprintf(format, values...):
	default:
	}
}

func (l *serverLog) Debugf(format string, values ...any) { l.write(slog.LevelDebug, format, values) }

func (l *serverLog) Tracef(format string, values ...any) { l.write(slog.LevelDebug, format, values) }
