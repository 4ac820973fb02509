package replica

import (
	"context"
	"fmt"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
	"github.com/atolldb/atoll/proto"
)

// Bounds of one group. Sizes are bytes, about, where each field counts for
// fieldSize more: they keep a batch within what a store accepts, in bytes and
// in writes, whatever the last task adds.
const (
	maxQueued     = 4096 // tasks that wait for a loop
	maxGroupTasks = 1024
	maxGroupSize  = 2 << 20
	// maxStepSize is how much a task may clear beside others, and what a step
	// of one that clears more takes.
	maxStepSize = 1 << 20
	fieldSize   = 384 // three writes: the entries, the digest of a leaf, a header

	// maxEventBytes is where the event of a group is split between requests;
	// maxRequestEvent is what a single request may come to, so that messages
	// can carry it.
	maxEventBytes   = 512 << 10
	maxRequestEvent = 2 << 20

	// retryPause is how long a shard rests, the commit of which failed, if nothing
	// else is to be written.
	retryPause = time.Second
)

// task is one thing for a loop to do. At most one of write, event, joins, claim
// and alone is set; with none, it is to look at the events that wait.
type task struct {
	shard *shard
	write *proto.Request
	event delivered
	joins *joins
	claim crdt.Dot // an event of this copy that a peer says to know
	alone func(*loop) error
	hint  bool // the write may start a copy
	size  int
	// done is called once, with the answer to a write, when the task's effect
	// is on disk or will never be. It must not block.
	done func(results []*proto.Result, err error)
}

func ignore([]*proto.Result, error) {}

// loop owns a part of the shards and is the only one to change them.
type loop struct {
	replica *Replica
	hasher  *merkle.Hasher
	tasks   chan task
	urgent  []task // from the loop itself, before all others
	held    *task  // taken from the channel, for the next group
	batch   store.Batch
	stalled []*shard // the commits of which failed, while events wait
	doubt   doubt    // of the last commit
	retry   <-chan time.Time
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

// drain has the events looked at that wait for what was just done.
func (l *loop) drain(s *shard) {
	if len(s.waiting.events) > 0 {
		l.urgent = append(l.urgent, task{shard: s, done: ignore})
	}
}

// run commits group after group until the replica stops. What still waits
// then is refused.
func (l *loop) run() {
	for tasks := l.take(); tasks != nil; tasks = l.take() {
		l.makeSure()
		l.newGroup().run(tasks)
	}
	l.refuse()
}

// take waits for a task and returns it with all others that are there, up to
// the bounds of a group; nil when the replica stops.
func (l *loop) take() []task {
	select {
	case <-l.replica.stopping:
		return nil
	default:
	}
	if tasks := l.urgent; len(tasks) > 0 {
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
		case <-l.retry:
			l.retry = nil
			l.makeSure()
			for _, s := range l.stalled {
				l.drain(s)
			}
			l.stalled = nil
			return l.take()
		case <-l.replica.stopping:
			return nil
		}
	}
	// Those who were just answered ask again at once: let them, or they would
	// fall into groups of their own for ever.
	l.replica.options.Gather()
	size := tasks[0].size
	for len(tasks) < maxGroupTasks {
		select {
		case t := <-l.tasks:
			if size += t.size; size > maxGroupSize {
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
	for _, t := range l.urgent {
		t.done(nil, ErrClosed)
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
