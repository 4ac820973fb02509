package replica

import (
	"errors"
	"slices"

	"github.com/atolldb/atoll/crdt"
)

// Bounds of what waits in one shard. What does not fit is dropped, counted,
// and fetched later like anything else that was missed.
const (
	maxWaiting      = 512
	maxWaitingBytes = 8 << 20
)

// delivered is an event as it came: decoded, and the bytes that the log keeps.
type delivered struct {
	event *crdt.Event
	raw   []byte
}

// waiting keeps events of one shard that came before those they build on.
type waiting struct {
	events []delivered // in dot order
	bytes  int
}

// add keeps an event, or returns false if there is no room.
func (w *waiting) add(d delivered) bool {
	i, found := slices.BinarySearchFunc(w.events, d.event.Dot, func(d delivered, dot crdt.Dot) int {
		return d.event.Dot.Compare(dot)
	})
	switch {
	case found:
		return true
	case len(w.events) >= maxWaiting || w.bytes+len(d.raw) > maxWaitingBytes:
		return false
	}
	w.events = slices.Insert(w.events, i, d)
	w.bytes += len(d.raw)
	return true
}

// ready takes out an event that can be applied on top of h, and drops those
// that were applied meanwhile. Of each actor only the first can be ready.
func (w *waiting) ready(h *crdt.Heard) (delivered, bool) {
	var next delivered
	var blocked crdt.Actor
	w.events = slices.DeleteFunc(w.events, func(d delivered) bool {
		if next.event != nil || d.event.Dot.Actor == blocked {
			return false
		}
		err := crdt.Ready(h, d.event)
		if errors.Is(err, crdt.ErrNotReady) {
			blocked = d.event.Dot.Actor
			return false
		}
		w.bytes -= len(d.raw)
		if err == nil {
			next = d
		}
		return true
	})
	return next, next.event != nil
}
