package nats

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// How often a server may complain in the same words, and how many different
// words are remembered for that.
const (
	complaintPause = time.Minute
	maxComplaints  = 256
)

// serverLog passes a nats-server's log on to slog. A server that cannot start
// says why only here, as a fatal message; the first one is kept. What it says
// again and again, such as of a region that is away, is passed on once a minute.
type serverLog struct {
	log   *slog.Logger
	fatal chan string // of capacity 1
	now   func() time.Time

	mu         sync.Mutex
	complaints map[string]*complaint
}

// complaint is when a text was passed on, and how often it came since.
type complaint struct {
	last     time.Time
	repeated int
}

func newServerLog(log *slog.Logger) *serverLog {
	return &serverLog{log: log, fatal: make(chan string, 1), now: time.Now, complaints: map[string]*complaint{}}
}

// complain passes a warning on, unless it did so less than a minute ago.
func (l *serverLog) complain(format string, values []any) {
	text, now := fmt.Sprintf(format, values...), l.now()
	l.mu.Lock()
	c := l.complaints[text]
	if c != nil && now.Sub(c.last) < complaintPause {
		c.repeated++
		l.mu.Unlock()
		return
	}
	repeated := 0
	if c != nil {
		repeated = c.repeated
	}
	if len(l.complaints) >= maxComplaints {
		clear(l.complaints)
	}
	l.complaints[text] = &complaint{last: now}
	l.mu.Unlock()
	if repeated > 0 {
		l.log.Warn(text, "repeated", repeated)
	} else {
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

func (l *serverLog) Warnf(format string, values ...any) { l.complain(format, values) }

// Errorf is mostly for peers that cannot be reached, and for what will be
// tried again.
func (l *serverLog) Errorf(format string, values ...any) { l.complain(format, values) }

func (l *serverLog) Fatalf(format string, values ...any) {
	l.write(slog.LevelError, format, values)
	select {
	case l.fatal <- fmt.Sprintf(format, values...):
	default:
	}
}

func (l *serverLog) Debugf(format string, values ...any) { l.write(slog.LevelDebug, format, values) }

func (l *serverLog) Tracef(format string, values ...any) { l.write(slog.LevelDebug, format, values) }
