package replica

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/proto"
)

// group is what one batch commits: changes of any of the loop's shards. They
// stand and fall one by one, unless the disk fails.
type group struct {
	loop    *loop
	snap    store.Snapshot
	changes map[*shard]*change
	order   []*change
	size    int // see maxGroupSize
}

// newGroup starts a group on top of what is on disk now.
func (l *loop) newGroup() *group {
	return &group{loop: l, snap: l.replica.store.Snapshot(), changes: map[*shard]*change{}}
}

// run applies the tasks: what came from others first, then what was asked
// here, one event for each shard. Large things go alone, after the others.
func (g *group) run(tasks []task) {
	writes := map[*shard][]task{}
	var alone []task
	for i, t := range tasks {
		if g.size > maxGroupSize {
			g.loop.urgent = append(g.loop.urgent, tasks[i:]...)
			break
		}
		if err := t.shard.health.unreadable(); err != nil && t.alone == nil {
			t.done(nil, unavailable(err))
			continue
		}
		if t.alone == nil && !t.shard.held() {
			if err := g.loop.startCopy(t); err != nil {
				t.done(nil, err)
				continue
			}
		}
		if t.event.event != nil {
			t.claim = t.event.event.Dot
		}
		g.learn(g.change(t.shard), t.claim)
		cleared := g.cleared(t)
		switch {
		case t.joins != nil || t.alone != nil || cleared > maxStepSize:
			alone = append(alone, t)
		case t.write != nil:
			g.size += t.size + cleared
			writes[t.shard] = append(writes[t.shard], t)
		default:
			g.deliver(t)
		}
	}
	for _, c := range g.order {
		if waiting := writes[c.shard]; len(waiting) > 0 {
			g.draft(c, waiting)
		}
	}
	g.commit()
	for _, t := range alone {
		g.loop.runAlone(t)
	}
}

// change returns the shard's change in this group.
func (g *group) change(s *shard) *change {
	c, ok := g.changes[s]
	if !ok {
		c = newChange(g, s)
		g.changes[s] = c
		g.order = append(g.order, c)
	}
	return c
}

// learn ends the actor of a copy if a peer knows an event of it that the copy
// does not: it has lost a part of its history.
func (g *group) learn(c *change, d crdt.Dot) {
	if c.actor == 0 || d.Actor != c.actor {
		return
	}
	for _, span := range c.heard.Over("", crdt.End) {
		if span.Vector.Covers(d) {
			return
		}
	}
	r := g.loop.replica
	c.become(r.options.NewActor())
	r.counters.actorsLost.Add(1)
	r.log.Warn("a peer knows an event of this copy that the copy has lost; it goes on under a new actor",
		"shard", c.shard.index, "event", d, "actor", c.actor)
}

// writer makes sure that the change has an actor to write under, one whose
// events are all applied in full.
func (g *group) writer(c *change) {
	if !c.mayWrite() {
		c.become(g.loop.replica.options.NewActor())
	}
}

// mayWrite says that there is an actor, the events of which are all applied in
// full.
func (c *change) mayWrite() bool {
	seq := c.heard.Vector()[c.actor]
	ahead := func(span crdt.Span) bool { return span.Vector[c.actor] > seq }
	return c.actor != 0 && !slices.ContainsFunc(c.heard.Over("", crdt.End), ahead)
}

// deliver applies an event of a peer, or keeps it if others must come first,
// and applies those that waited for it.
func (g *group) deliver(t task) {
	r, c, waiting := g.loop.replica, g.change(t.shard), &t.shard.waiting
	c.answers = append(c.answers, answer{done: t.done})
	if t.event.event != nil {
		switch err := crdt.Ready(c.heard, t.event.event); {
		case err == nil:
			c.apply(t.event, "", crdt.End)
			r.counters.applied.Add(1)
		case errors.Is(err, crdt.ErrNotReady) && !waiting.add(t.event):
			r.counters.dropped.Add(1)
		}
	}
	for c.err == nil {
		if g.size > maxGroupSize {
			g.loop.drain(t.shard)
			return
		}
		d, ok := waiting.ready(c.heard)
		switch {
		case !ok:
			return
		case g.cleared(task{shard: t.shard, event: d}) > maxStepSize:
			g.loop.urgent = append(g.loop.urgent, task{shard: t.shard, event: d, done: ignore})
			return
		}
		c.apply(d, "", crdt.End)
		r.counters.applied.Add(1)
	}
}

// cleared returns about what the objects take that a task deletes whole, or
// somewhat more than maxStepSize.
func (g *group) cleared(t task) int {
	size := 0
	add := func(o crdt.Object) {
		// What cannot be read here fails again where it is written.
		if n, _ := readHeader(g.snap, headerKey(t.shard.index, o)); n == 0 || size > maxStepSize {
			return
		}
		lo, hi := o.Range()
		_ = g.snap.Scan(entryKey(t.shard.index, lo), entryKey(t.shard.index, hi), func(key, _ []byte) error {
			if size += fieldSize + len(key); size > maxStepSize {
				return errStop
			}
			return nil
		})
	}
	if t.event.event != nil {
		for _, c := range t.event.event.Clears {
			add(c.Object)
		}
	}
	for _, op := range t.write.GetOperations() {
		if del := op.GetDelete(); del != nil {
			add(crdt.Object{Key: string(op.GetKey()), Type: crdt.TypeSet})
		}
	}
	return size
}

// answer is what a task is told once its change is on disk, or failed.
type answer struct {
	done    func([]*proto.Result, error)
	results []*proto.Result
	err     error // the task's own
}

// commit writes everything in one atomic batch, and only then shows it:
// first in memory, then to those who wait, then to the peers.
func (g *group) commit() {
	l, r := g.loop, g.loop.replica
	l.batch.Reset()
	for _, c := range g.order {
		if c.err == nil && (len(c.dead) > 0 || len(c.crowded) > 0 || c.hasSurplus()) {
			g.draft(c, nil)
		}
		if writes := len(l.batch.Writes()); c.err == nil {
			if c.err = c.flush(&l.batch); c.err != nil {
				l.batch.Truncate(writes)
			}
		}
	}
	g.snap.Close()
	var err error
	if len(l.batch.Writes()) > 0 {
		r.counters.commits.Add(1)
		began := time.Now()
		err = l.commit(&l.batch, g.wrote()...)
		r.meter.commits.add(time.Since(began))
	}
	for _, c := range g.order {
		if c.wrote && c.err == nil {
			c.err = err
		}
		if c.err != nil {
			g.failed(c)
		} else if c.wrote {
			c.shard.set(c.actor, c.heard, c.root)
			c.shard.unsettled = c.unsettled
			if c.shard.recorded >= 0 {
				c.shard.recorded += c.recorded
			}
			if c.shard.is(hinted) {
				for _, raw := range c.events {
					c.shard.hints.Add(uint64(len(raw)))
				}
			}
		}
	}
	for _, c := range g.order {
		for _, a := range c.answers {
			if a.err == nil {
				a.err = c.err
			}
			a.done(a.results, a.err)
		}
	}
	for _, c := range g.order {
		for _, raw := range c.events {
			if c.err == nil {
				r.broadcast(c.shard.index, raw)
			}
		}
	}
}

// wrote returns the shards that the batch changes.
func (g *group) wrote() (shards []*shard) {
	for _, c := range g.order {
		if c.wrote {
			shards = append(shards, c.shard)
		}
	}
	return shards
}

// failed returns a shard to what is on disk.
func (g *group) failed(c *change) {
	l, r, s := g.loop, g.loop.replica, c.shard
	r.counters.commitErrors.Add(1)
	r.log.Error("a change could not be committed", "shard", s.index, "error", c.err)
	c.err = unavailable(r.noted(s, c.err))
	l.reload(s)
	if len(s.waiting.events) > 0 {
		l.stalled = append(l.stalled, s)
		l.retryLater()
	}
}

// unavailable turns an error of the disk into ErrUnavailable, and leaves those
// that the caller has caused, or that say that nothing was done, as they are.
func unavailable(err error) error {
	caused := slices.ContainsFunc([]error{crdt.ErrInvalid, crdt.ErrOverflow, ErrBusy, ErrWrongShard, ErrNotOwner, ErrPresent, ErrBehind, ErrNotEnough, ErrNotRemembered, ErrForbidden, ErrProtocol, store.ErrNoSpace}, func(is error) bool {
		return errors.Is(err, is)
	})
	if err == nil || caused && !errors.Is(err, store.ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
