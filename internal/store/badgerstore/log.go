package badgerstore

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
)

// bridge is Badger's logger over slog. What Badger calls info is routine, so it
// goes to Debug; its own debug lines, several per commit, are dropped.
type bridge struct {
	log *slog.Logger
	// opened is set once Badger is open: what fails before is returned, too.
	opened *atomic.Bool
}

func (b bridge) Errorf(format string, args ...any) {
	if b.opened.Load() {
		b.print(slog.LevelError, format, args)
	} else {
		b.print(slog.LevelDebug, format, args)
	}
}
func (b bridge) Warningf(format string, args ...any) { b.print(slog.LevelWarn, format, args) }
func (b bridge) Infof(format string, args ...any)    { b.print(slog.LevelDebug, format, args) }
func (b bridge) Debugf(string, ...any)               {}

func (b bridge) print(level slog.Level, format string, args []any) {
	if !b.log.Enabled(context.Background(), level) {
		return
	}
	b.log.Log(context.Background(), level, "badger: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
}
