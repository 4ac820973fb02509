package replica

import (
	"errors"
	"fmt"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
)

// runAlone does one task that is too large for a batch with others: it joins
// ranges, clears objects of many fields, or mends what is damaged.
func (l *loop) runAlone(t task) {
	switch {
	case t.alone != nil:
		t.done(nil, t.alone(l))
	case t.joins != nil:
		l.join(t)
	case t.write != nil:
		l.writeAlone(t)
	default:
		l.deliverAlone(t)
	}
}

func (l *loop) deliverAlone(t task) {
	r := l.replica
	switch err := crdt.Ready(t.shard.heard, t.event.event); {
	case errors.Is(err, crdt.ErrDuplicate):
		t.done(nil, nil)
	case err != nil:
		if !t.shard.waiting.add(t.event) {
			r.counters.dropped.Add(1)
		}
		t.done(nil, nil)
	default:
		_, err := l.applyInSteps(t.shard, t.event, t.shard.actor)
		if err == nil {
			r.counters.applied.Add(1)
			l.drain(t.shard)
		}
		t.done(nil, err)
	}
}

// writeAlone drafts one request and applies its event in steps.
func (l *loop) writeAlone(t task) {
	g := l.newGroup()
	c := g.change(t.shard)
	g.writer(c)
	d := g.newDraft(c)
	results, err := g.execute(t.shard, d, t.write)
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
	if begun, err := l.applyInSteps(t.shard, delivered{event, raw}, c.actor); err != nil {
		if begun { // the log has it, and what is left is done in time: not a refusal, whatever the cause
			err = fmt.Errorf("%w: a part of it was done: %v", ErrUnavailable, err)
		}
		t.done(nil, err)
		return
	}
	t.done(results, nil)
	l.replica.broadcast(t.shard.index, raw)
}

// applyInSteps applies an event range by range, each in a batch of its own.
// The first brings the actor and the event to disk, so that a restart goes on
// with it: from then on the event has begun, and will be applied as a whole.
func (l *loop) applyInSteps(s *shard, d delivered, actor crdt.Actor) (begun bool, err error) {
	cuts, err := l.cuts(s, d.event)
	if err != nil {
		return false, unavailable(err)
	}
	lo := crdt.Position("")
	for _, hi := range append(cuts, crdt.End) {
		g := l.newGroup()
		c := g.change(s)
		c.become(actor)
		c.apply(d, lo, hi)
		g.commit()
		if c.err != nil {
			return begun, c.err
		}
		begun, lo = true, hi
	}
	return begun, nil
}

// cuts returns where to cut the order so that no range holds more of the
// objects that an event clears than a step takes.
func (l *loop) cuts(s *shard, e *crdt.Event) ([]crdt.Position, error) {
	snap := l.replica.store.Snapshot()
	defer snap.Close()
	var cuts []crdt.Position
	size := 0
	for _, c := range e.Clears { // they are in order
		lo, hi := c.Object.Range()
		err := snap.Scan(entryKey(s.index, lo), entryKey(s.index, hi), func(key, _ []byte) error {
			if size += fieldSize + len(key); size > maxStepSize {
				cuts = append(cuts, positionOf(key))
				size = fieldSize + len(key)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return cuts, nil
}

// joins is what an answer of a peer brings to a shard.
type joins struct {
	parts []antientropy.Part
	// again are the parts that changed after they were compared.
	again []antientropy.Range
	// diverged counts the ranges that cannot be.
	diverged int
}
