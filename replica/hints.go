package replica

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	pb "github.com/atolldb/atoll/proto"
)

// When no owner of a shard can be reached, the member at hand takes the write in
// their place. It starts a copy of the shard for that, which holds what was
// written here and nothing else: the same events under an own actor, on disk
// before they are acknowledged. The owners hear of the copy by gossip, as of
// any other, and fetch what it has. Once every owner has heard all of it, the
// copy is removed, like that of a former owner.

// DoHinted serves a request in place of owners that cannot be reached. It takes
// writes that need not know what is there: increments, added elements, values of
// registers. What it answers for them is as if nothing else was there. It fails
// with ErrNotOwner for others, with ErrBusy if it keeps too much already, and with
// ErrNotRemembered for operations with an id: the copy ends before it may have to
// take back what it has counted.
func (r *Replica) DoHinted(ctx context.Context, shard int, request *pb.Request) (*pb.Answer, error) {
	return r.timed(ctx, shard, request, r.doHinted)
}

func (r *Replica) doHinted(ctx context.Context, shard int, request *pb.Request) (*pb.Answer, error) {
	s := r.shards[shard]
	if s.serving.Load() {
		return r.do(ctx, shard, request)
	}
	if _, err := r.check(shard, request); err != nil {
		return nil, err
	}
	if request.GetIfAbsent() {
		if err := r.checkAbsent(shard); err != nil {
			return nil, err
		}
	}
	if !hintable(request) {
		return nil, fmt.Errorf("%w %d, and no owner can be reached; until one is back, increments, added elements and values of registers are taken, and nothing else", ErrNotOwner, shard)
	}
	if len(request.GetOperation()) > 0 {
		return nil, fmt.Errorf("%w: no owner can be reached, and in their place it cannot be known whether it was done before; nothing was done", ErrNotRemembered)
	}
	if _, bytes := r.hintsKept(); bytes+uint64(proto.Size(request)) > uint64(r.options.HintLimit) {
		return nil, fmt.Errorf("%w: %.1f MiB of writes wait here already for owners that cannot be reached, and hint_limit allows %.1f MiB", ErrBusy, mebibytes(bytes), mebibytes(uint64(r.options.HintLimit)))
	}
	results, err := r.write(ctx, s, request, true)
	if err != nil {
		return nil, r.noted(s, err)
	}
	answer := &pb.Answer{Member: r.options.Member, Results: results}
	answer.Vector = seen(s.spoken.Load(), request).AppendTo(nil)
	return answer, nil
}

// checkAbsent returns an error if an owner of a shard may be there.
func (r *Replica) checkAbsent(shard int) error {
	sets, err := r.electorates(shard)
	if err != nil {
		return fmt.Errorf("%w %d, and who is one is not known: %v", ErrNotOwner, shard, err)
	}
	states, _ := r.observer.opinion()
	for _, owner := range everyone(sets) {
		if !states.absent(owner) {
			return fmt.Errorf("%w %d, and its owner %s is there, or was a moment ago", ErrNotOwner, shard, owner)
		}
	}
	return nil
}

// hintable says whether a request makes sense where nothing is known of its
// objects.
func hintable(request *pb.Request) bool {
	for _, op := range request.GetOperations() {
		switch op.GetWhat().(type) {
		case *pb.Operation_CounterAdd, *pb.Operation_SetAdd, *pb.Operation_RegisterSet:
		default:
			return false
		}
	}
	return request.GetConsistency() == pb.Consistency_ONE
}

// startCopy starts a copy for a task that needs one, if it may. Only the loop
// starts and removes copies, so that nothing is written to one that is being
// removed.
func (l *loop) startCopy(t task) error {
	switch {
	case !t.hint: // it was there until a moment ago
		return fmt.Errorf("%w %d", ErrNotOwner, t.shard.index)
	case t.shard.is(dropping):
		return fmt.Errorf("%w: shard %d is being removed here", ErrBusy, t.shard.index)
	}
	t.shard.hints.Store(0)
	return l.replica.declare(hinted, t.shard)
}

// hintsKept returns how many events were written here in place of owners and are
// kept, and about how many bytes.
func (r *Replica) hintsKept() (events, bytes uint64) {
	for _, s := range r.shards[:r.options.Shards] {
		if s.is(hinted) {
			events += s.spoken.Load().Vector()[crdt.Actor(s.writer.Load())]
			bytes += s.hints.Load()
		}
	}
	return events, bytes
}

// weighHints counts the bytes of a copy that a process before has written in place
// of owners, by what is left of its events.
func (s *shard) weighHints(snap store.Snapshot) error {
	bytes := 0
	err := snap.Scan(shardKey('e', s.index, 0), shardEnd('e', s.index), func(key, value []byte) error {
		bytes += len(key) + len(value)
		return nil
	})
	s.hints.Store(uint64(bytes))
	return err
}

func mebibytes(n uint64) float64 { return float64(n) / (1 << 20) }
