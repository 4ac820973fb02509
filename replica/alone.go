package replica

import (
	"errors"
	"fmt"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/proto"
)

// maxStepFields is how many fields of one object a step of a large change
// takes.
const maxStepFields = 4096

// isLarge says that a task does not fit into a batch with others: it joins
// ranges, or clears an object of many fields.
func (g *group) isLarge(t task) bool {
	switch {
	case t.joins != nil:
		return true
	case t.event.event != nil:
		return g.clearsMuch(t.shard, t.event.event)
	}
	for _, op := range t.write.GetOperations() {
		if del := op.GetDelete(); del != nil && g.fields(t.shard, crdt.Object{Key: string(op.GetKey()), Type: crdt.TypeSet}) > maxStepFields {
			return true
		}
	}
	return false
}

func (g *group) clearsMuch(s *shard, e *crdt.Event) bool {
	for _, c := range e.Clears {
		if g.fields(s, c.Object) > maxStepFields {
			return true
		}
	}
	return false
}

// fields returns how many live fields an object has on disk; an error shows
// again where it is handled.
func (g *group) fields(s *shard, o crdt.Object) uint64 {
	n, _ := readHeader(g.snap, headerKey(s.index, o))
	return n
}

// newGroup starts a group on top of what is on disk now.
func (l *loop) newGroup() *group {
	return &group{loop: l, snap: l.replica.store.Snapshot(), changes: map[*shard]*change{}}
}

// runAlone does one large task.
func (l *loop) runAlone(t task) {
	switch {
	case t.joins != nil:
		l.join(t)
	case t.event.event != nil:
		if err := crdt.Ready(t.shard.heard, t.event.event); errors.Is(err, crdt.ErrNotReady) {
			if !t.shard.waiting.add(t.event) {
				l.replica.counters.dropped.Add(1)
			}
			t.done(nil, nil)
		} else if err != nil {
			t.done(nil, nil) // a duplicate
		} else if err := l.applyInSteps(t.shard, t.event); err != nil {
			t.done(nil, err)
		} else {
			l.replica.counters.applied.Add(1)
			t.done(nil, nil)
			l.drain(t.shard)
		}
	default:
		l.writeAlone(t)
	}
}

// writeAlone drafts one request and applies its event in steps.
func (l *loop) writeAlone(t task) {
	if t.shard.actor == 0 { // it must be on disk before its first event
		g := l.newGroup()
		g.writer(g.change(t.shard))
		g.commit()
	}
	g := l.newGroup()
	d := g.newDraft(g.change(t.shard))
	results, err := g.execute(d, t)
	var event *crdt.Event
	changed := false
	if err == nil {
		event, changed = d.Event(l.replica.options.Now().UnixMilli())
	}
	g.snap.Close()
	if !changed {
		t.done(results, err)
		return
	}
	raw := event.AppendTo(nil)
	if err := l.applyInSteps(t.shard, delivered{event, raw}); err != nil {
		t.done(nil, err)
		return
	}
	t.done(results, nil)
	l.replica.broadcast(t.shard.index, raw)
}

// applyInSteps applies an event range by range, each in a batch of its own.
// The first brings the event to the log, so that a restart goes on with it.
func (l *loop) applyInSteps(s *shard, d delivered) error {
	cuts, err := l.cuts(s, d.event)
	if err != nil {
		return err
	}
	lo := crdt.Position("")
	for _, hi := range append(cuts, crdt.End) {
		g := l.newGroup()
		c := g.change(s)
		if err := c.apply(d, lo, hi); err != nil {
			g.snap.Close()
			return err
		}
		g.commit()
		if c.failed != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, c.failed)
		}
		lo = hi
	}
	return nil
}

// cuts returns where to cut the order so that no range holds many fields of
// the objects that an event clears.
func (l *loop) cuts(s *shard, e *crdt.Event) ([]crdt.Position, error) {
	snap := l.replica.store.Snapshot()
	defer snap.Close()
	var cuts []crdt.Position
	for _, c := range e.Clears { // they are in order
		n := 0
		lo, hi := c.Object.Range()
		err := snap.Scan(entryKey(s.index, lo), entryKey(s.index, hi), func(key, _ []byte) error {
			if n++; n%maxStepFields == 0 {
				cuts = append(cuts, positionOf(key))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return cuts, nil
}

// drain has the events looked at that wait for what was just done.
func (l *loop) drain(s *shard) {
	if len(s.waiting.events) > 0 {
		l.urgent = append(l.urgent, task{shard: s, drain: true, done: ignore})
	}
}

func ignore([]*proto.Result, error) {}

// joins is what an answer of a peer brings to a shard.
type joins struct {
	parts []antientropy.Part
	// again are the parts that changed after they were compared.
	again []antientropy.Range
	// pulled counts the fields that came, diverged the ranges that cannot be.
	pulled, diverged int
}
