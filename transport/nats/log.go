package nats

import (
	"context"
	"fmt"
	"log/slog"
)

// serverLog passes a nats-server's log on to slog. A server that cannot start
// says why only here, as a fatal message; the first one is kept.
type serverLog struct {
	log   *slog.Logger
	fatal chan string // of capacity 1
}

func newServerLog(log *slog.Logger) *serverLog {
	return &serverLog{log: log, fatal: make(chan string, 1)}
}

func (l *serverLog) write(level slog.Level, format string, values []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, fmt.Sprintf(format, values...))
	}
}

// Noticef is for what happens in normal operation, every connection included:
// too much for the level Info of an embedding program.
func (l *serverLog) Noticef(format string, values ...any) { l.write(slog.LevelDebug, format, values) }

func (l *serverLog) Warnf(format string, values ...any) { l.write(slog.LevelWarn, format, values) }

// Errorf is mostly for peers that cannot be reached, and for what will be
// tried again.
func (l *serverLog) Errorf(format string, values ...any) { l.write(slog.LevelWarn, format, values) }

func (l *serverLog) Fatalf(format string, values ...any) {
	l.write(slog.LevelError, format, values)
	select {
	case l.fatal <- fmt.Sprintf(format, values...):
	default:
	}
}

func (l *serverLog) Debugf(format string, values ...any) { l.write(slog.LevelDebug, format, values) }

func (l *serverLog) Tracef(format string, values ...any) { l.write(slog.LevelDebug, format, values) }
