package replica

import (
	"context"
	"errors"
	"fmt"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
	"github.com/atolldb/atoll/proto"
)

// Bounds of one group. A single task may take up to maxTaskWeight; then it
// goes alone.
const (
	maxQueued      = 4096    // tasks that wait for a loop
	maxGroupTasks  = 1024    // tasks of one group
	maxGroupBytes  = 1 << 20 // of requests and events of one group
	maxGroupWeight = 8192    // changed fields of one group, about
	maxEventBytes  = 512 << 10
)

// task is one thing for a loop to do: one of write, event, joins, collect,
// drain and foreign is set.
type task struct {
	shard   *shard
	write   *proto.Request
	event   delivered
	joins   *joins
	collect string             // key of a counter to tidy up
	drain   bool               // look at the events that wait
	foreign crdt.VersionVector // what a peer says to have heard
	bytes   int                // about what it takes in a batch
	weight  int                // fields it changes, about
	// done is called once, with the answer to a write, when the task's effect
	// is on disk or will never be. It must not block.
	done func(results []*proto.Result, err error)
}

// loop owns a part of the shards and is the only one to change them.
type loop struct {
	replica *Replica
	hasher  *merkle.Hasher
	tasks   chan task
	urgent  []task // from the loop itself, before all others
	held    *task  // taken from the channel, for the next group
	batch   store.Batch
}

// submit hands a task to the loop, waiting for room while ctx lasts.
func (l *loop) submit(ctx context.Context, t task) error {
	select {
	case l.tasks <- t:
		return nil
	default:
	}
	select {
	case l.tasks <- t:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: waiting for the write loop: %w", ErrBusy, ctx.Err())
	case <-l.replica.stopping:
		return ErrClosed
	}
}

// offer hands a task to the loop if there is room.
func (l *loop) offer(t task) bool {
	select {
	case l.tasks <- t:
		return true
	default:
		return false
	}
}

// run commits group after group until the replica stops. What still waits
// then is refused.
func (l *loop) run() {
	for {
		tasks := l.take()
		if tasks == nil {
			l.refuse()
			return
		}
		g := &group{loop: l, snap: l.replica.store.Snapshot(), changes: map[*shard]*change{}}
		g.run(tasks)
	}
}

// take waits for a task and returns it with all others that are there, up to
// the bounds of a group; nil when the replica stops.
func (l *loop) take() []task {
	if len(l.urgent) > 0 {
		tasks := l.urgent
		l.urgent = nil
		return tasks
	}
	var tasks []task
	if l.held != nil {
		tasks, l.held = append(tasks, *l.held), nil
	} else {
		select {
		case t := <-l.tasks:
			tasks = append(tasks, t)
		case <-l.replica.stopping:
			return nil
		}
	}
	bytes, weight := tasks[0].bytes, tasks[0].weight
	for len(tasks) < maxGroupTasks {
		select {
		case t := <-l.tasks:
			bytes += t.bytes
			weight += t.weight
			if bytes > maxGroupBytes || weight > maxGroupWeight {
				l.held = &t
				return tasks
			}
			tasks = append(tasks, t)
		default:
			return tasks
		}
	}
	return tasks
}

// refuse answers all that waits, when nothing will be written any more.
func (l *loop) refuse() {
	if l.held != nil {
		l.held.done(nil, ErrClosed)
	}
	for {
		select {
		case t := <-l.tasks:
			t.done(nil, ErrClosed)
		default:
			return
		}
	}
}

// group is what one batch commits: changes of any of the loop's shards.
type group struct {
	loop    *loop
	snap    store.Snapshot
	changes map[*shard]*change
	order   []*change // in order of arrival
}

// run applies the tasks: what came from others first, then what was asked
// here, one event for each shard. Large things go alone, after the others.
func (g *group) run(tasks []task) {
	var writes map[*shard][]task
	var alone []task
	for _, t := range tasks {
		switch {
		case g.isLarge(t):
			alone = append(alone, t)
		case t.event.event != nil || t.drain:
			g.deliver(t)
		case t.foreign != nil:
			g.recognize(g.change(t.shard), t.foreign)
		default:
			if writes == nil {
				writes = map[*shard][]task{}
			}
			if _, ok := writes[t.shard]; !ok {
				g.change(t.shard) // in order of arrival
			}
			writes[t.shard] = append(writes[t.shard], t)
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
		c = newChange(s, g.snap, g.loop.hasher, g.loop.replica.options.LogLimit)
		g.changes[s] = c
		g.order = append(g.order, c)
	}
	return c
}

// commit writes everything in one atomic batch, and only then shows it:
// first in memory, then to those who wait, then to the peers. A shard whose
// change failed is left as it was.
func (g *group) commit() {
	l, r := g.loop, g.loop.replica
	l.batch.Reset()
	roots := make(map[*change]merkle.Digest, len(g.order))
	for _, c := range g.order {
		if c.failed != nil {
			continue
		}
		writes := len(l.batch.Writes())
		if roots[c], c.failed = c.flush(&l.batch); c.failed != nil {
			l.batch.Truncate(writes)
		}
	}
	g.snap.Close()
	if len(l.batch.Writes()) > 0 {
		if err := r.store.Commit(&l.batch); err != nil {
			g.uncommitted(err)
		}
		r.counters.commits.Add(1)
	}
	for _, c := range g.order {
		if c.failed == nil {
			c.shard.set(c.actor, c.heard, roots[c])
		}
	}
	for _, c := range g.order {
		g.conclude(c)
	}
}

// conclude answers those who waited for a change and tells the peers of it.
func (g *group) conclude(c *change) {
	l := g.loop
	var err error
	if c.failed != nil {
		err = fmt.Errorf("%w: %w", ErrUnavailable, c.failed)
		l.replica.log.Error("a shard could not be changed", "shard", c.shard.index, "error", c.failed)
	}
	for _, answer := range c.answers {
		answer(err)
	}
	if err != nil {
		return
	}
	for _, raw := range c.broadcast {
		l.replica.broadcast(c.shard.index, raw)
	}
	for _, key := range c.dead {
		l.urgent = append(l.urgent, task{shard: c.shard, collect: key, done: ignore})
	}
}

// uncommitted makes sure that no dot is used twice after a commit that failed:
// it is not known whether the batch will be there after a restart, so the
// shards are read again and go on under new actors.
func (g *group) uncommitted(err error) {
	r := g.loop.replica
	r.counters.commitErrors.Add(1)
	snap := r.store.Snapshot()
	defer snap.Close()
	for _, c := range g.order {
		if c.failed != nil {
			continue
		}
		c.failed = err
		reload := c.shard.load(snap)
		if reload == nil {
			reload = r.replay(c.shard, snap)
		}
		if reload != nil {
			r.log.Error("a shard could not be read again", "shard", c.shard.index, "error", reload)
		}
		c.shard.actor = 0
		g.loop.drain(c.shard)
	}
}

// writer makes sure that the change has an actor to write under, one whose
// events are all applied in full.
func (g *group) writer(c *change) {
	seq := c.heard.Vector()[c.actor]
	for _, span := range c.heard.Over("", crdt.End) {
		if c.actor == 0 || span.Vector[c.actor] > seq {
			c.become(g.loop.replica.options.NewActor())
			return
		}
	}
}

// deliver applies an event of a peer, and those that waited for it.
func (g *group) deliver(t task) {
	c := g.change(t.shard)
	c.answers = append(c.answers, func(err error) { t.done(nil, err) })
	if d := t.event; !t.drain {
		g.recognize(c, crdt.VersionVector{d.event.Dot.Actor: d.event.Dot.Seq})
		switch err := crdt.Ready(c.heard, d.event); {
		case err == nil:
			g.apply(c, d)
		case errors.Is(err, crdt.ErrNotReady) && !t.shard.waiting.add(d):
			g.loop.replica.counters.dropped.Add(1)
		}
	}
	for c.failed == nil {
		if c.weight() > 2*maxGroupWeight {
			g.loop.drain(t.shard)
			return
		}
		d, ok := t.shard.waiting.ready(c.heard)
		if !ok {
			return
		}
		if g.clearsMuch(t.shard, d.event) {
			g.loop.urgent = append(g.loop.urgent, task{shard: t.shard, event: d, done: ignore})
			return
		}
		g.apply(c, d)
	}
}

// apply brings an event that is ready to the change.
func (g *group) apply(c *change, d delivered) {
	if err := c.apply(d, "", crdt.End); err != nil {
		c.failed = fmt.Errorf("applying event %s: %w", d.event.Dot, err)
		return
	}
	g.loop.replica.counters.applied.Add(1)
}

// recognize ends the actor of a copy if a peer has heard events of it that
// the copy has not: it has lost a part of its history, and whatever it would
// write next might carry a dot that is taken.
func (g *group) recognize(c *change, heard crdt.VersionVector) {
	seq, own := heard[c.actor], c.heard.Vector()[c.actor]
	if c.actor == 0 || seq <= own {
		return
	}
	r, lost := g.loop.replica, c.actor
	c.become(r.options.NewActor())
	r.counters.actorsLost.Add(1)
	r.log.Warn("a peer has heard more of this copy than it knows itself; it goes on under a new actor",
		"shard", c.shard.index, "lost", lost, "heard", seq, "known", own, "actor", c.actor)
}
