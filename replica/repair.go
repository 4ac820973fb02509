package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/merkle"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

// receiveDelta takes in a broadcast event.
func (r *Replica) receiveDelta(m transport.Message) {
	shard, err := r.shardOf(m.Subject)
	var delta pb.Delta
	if err == nil {
		err = proto.Unmarshal(m.Data, &delta)
	}
	if err == nil {
		err = checkSender(delta.GetMember())
	}
	if err != nil {
		r.refuse(m.Subject, fmt.Errorf("an event: %w", err))
		return
	}
	if r.isForeign(delta.GetCluster()) || delta.GetMember() == r.options.Member {
		return
	}
	err = checkProtocol(delta.GetProtocol())
	var d delivered
	if err == nil {
		d, err = decodeDelivered(shard, r.options.Shards, delta.GetEvent())
	}
	if err != nil {
		r.refuse(delta.GetMember(), fmt.Errorf("an event: %w", err))
		return
	}
	if !r.shards[shard].is(joining, complete, founded) {
		return // subscribed to until a moment ago
	}
	v := r.State(shard).Vector
	if v.Covers(d.event.Dot) {
		return
	}
	r.counters.received.Add(1)
	if d.event.Dot.Seq > v[d.event.Dot.Actor]+1 {
		r.peers.mu.Lock()
		r.peers.planner.Saw(delta.GetMember(), shard, d.event.Dot)
		r.peers.mu.Unlock()
	}
	s := r.shards[shard]
	if !r.loop(s).offer(eventTask(s, d, ignore)) {
		r.counters.dropped.Add(1)
	}
}

func eventTask(s *shard, d delivered, done func([]*pb.Result, error)) task {
	return task{shard: s, event: d, done: done, size: fieldSize*len(d.event.Changes) + 2*len(d.raw)}
}

// repair does one task of the planner.
func (r *Replica) repair(t antientropy.Task) {
	r.meter.tasks[t.Kind].Add(1)
	ctx := r.present(t.Peer)
	outcome := antientropy.Outcome{}
	switch t.Kind {
	case antientropy.Fetch:
		outcome.LogEnded, outcome.Err = r.fetch(ctx, t.Peer, t.Shard)
	case antientropy.WalkDiverged:
		r.counters.divergences.Add(1)
		r.log.Error("two copies heard the same and differ", "shard", t.Shard, "peer", t.Peer)
		r.suspect(r.shards[t.Shard], divergencePause)
		outcome.Err = r.walk(ctx, t.Peer, t.Shard)
	case antientropy.WalkBehind:
		before := r.State(t.Shard).Vector
		outcome.Err = r.walk(ctx, t.Peer, t.Shard)
		if outcome.Err == nil && r.inVain(t, before) {
			outcome.Err = fmt.Errorf("a walk over shard %d of %s brought nothing", t.Shard, t.Peer)
		}
	default:
		outcome.Err = r.walk(ctx, t.Peer, t.Shard)
	}
	outcome.Err = r.noted(r.shards[t.Shard], outcome.Err)
	if outcome.Err != nil && ctx.Err() == nil {
		r.counters.repairErrors.Add(1)
		r.log.Debug("catching up failed", "task", t.Kind.String(), "peer", t.Peer, "shard", t.Shard, "error", outcome.Err)
	}
	r.peers.mu.Lock()
	r.peers.planner.Done(t, r.options.Now(), outcome)
	r.peers.mu.Unlock()
}

// inVain says that a walk has not brought what the peer says to have: what it
// has of a damaged leaf, it does not give.
func (r *Replica) inVain(t antientropy.Task, before crdt.VersionVector) bool {
	r.peers.mu.Lock()
	theirs, _ := r.peers.planner.Advertised(t.Peer, t.Shard)
	r.peers.mu.Unlock()
	after := r.State(t.Shard).Vector
	return after.Compare(before) == crdt.Equal && !after.Dominates(theirs.Vector)
}

// Ask puts a question to a member, itself included, and returns its answer,
// which may be a refusal.
func (r *Replica) Ask(ctx context.Context, member string, q *pb.SyncRequest) (*pb.SyncAnswer, error) {
	n := r.network.Load()
	if n == nil {
		return nil, transport.ErrUnreachable
	}
	data, err := n.transport.Request(ctx, transport.Questions(member, transport.Trusted), marshal(q))
	if err != nil {
		return nil, err
	}
	var answer pb.SyncAnswer
	return &answer, proto.Unmarshal(data, &answer)
}

// ask puts a question of a repair to a peer, and counts its bytes.
func (r *Replica) ask(ctx context.Context, member string, q *pb.SyncRequest) (*pb.SyncAnswer, error) {
	n := r.network.Load()
	q.Cluster, q.Protocol = r.cluster, pb.Protocol
	question := marshal(q)
	data, err := insist(ctx, r.options.QuestionTimeout, timesOf(q), func(ctx context.Context) ([]byte, error) {
		r.counters.syncBytes.Add(uint64(len(question)))
		return n.transport.Request(ctx, transport.Sync(member), question)
	})
	r.counters.syncBytes.Add(uint64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", member, err)
	}
	var answer pb.SyncAnswer
	if err := proto.Unmarshal(data, &answer); err != nil {
		return nil, fmt.Errorf("answer of %s: %w", member, err)
	}
	if e := answer.GetError(); e != nil {
		return nil, fmt.Errorf("%s refuses: %s", member, e.GetText())
	}
	return &answer, nil
}

// timesOf returns how many times a question is put at most. A walk takes a peer long that
// has much to compare, and it goes on with each though nobody waits for it any more.
func timesOf(q *pb.SyncRequest) int {
	if q.GetWalk() != nil {
		return 2
	}
	return 4
}

// insist asks up to some times within a time, the pauses in between doubling, and
// returns the first reply. A peer that is back is heard before what is sent to it
// takes another way than the link that has broken, and that loses a question
// without a word. Questions change nothing, so that two at a time do no harm. That one
// fails says nothing of those that are under way, as when the peer is busy with these;
// but where nobody is there to take it, nobody is there to answer them.
func insist(ctx context.Context, within time.Duration, times int, ask func(context.Context) ([]byte, error)) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	type reply struct {
		data []byte
		err  error
	}
	replies := make(chan reply, times)
	again := time.NewTimer(0)
	defer again.Stop()
	pause := within / (1<<times - 1)
	for left, open := times, 0; ; {
		select {
		case got := <-replies:
			if open--; got.err == nil || open == 0 || errors.Is(got.err, transport.ErrNoResponders) {
				return got.data, got.err
			}
		case <-again.C:
			open++
			if left--; left > 0 {
				again.Reset(pause)
				pause *= 2
			}
			go func() {
				data, err := ask(ctx)
				replies <- reply{data, err}
			}()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// fetch brings the events that a peer has and this copy lacks, as far as the
// peer's log has them. It says whether the log ended before.
func (r *Replica) fetch(ctx context.Context, member string, shard int) (logEnded bool, err error) {
	for {
		before := r.State(shard).Vector
		answer, err := r.ask(ctx, member, &pb.SyncRequest{What: &pb.SyncRequest_Fetch{
			Fetch: &pb.Fetch{Shard: uint32(shard), Vector: before.AppendTo(nil)},
		}})
		if err != nil {
			return false, err
		}
		fetched := answer.GetFetched()
		theirs, err := crdt.DecodeVector(fetched.GetVector())
		if err != nil {
			return false, err
		}
		r.counters.fetched.Add(uint64(len(fetched.GetEvents())))
		// What the peer knows of this copy comes first: the events may have it
		// write, and it must not do so under an actor that has gone on elsewhere.
		s := r.shards[shard]
		if own := crdt.Actor(s.writer.Load()); theirs[own] > before[own] {
			if err := r.loop(s).submit(ctx, task{shard: s, claim: crdt.Dot{Actor: own, Seq: theirs[own]}, done: ignore}); err != nil {
				return false, err
			}
		}
		if err := r.deliverAll(ctx, shard, fetched.GetEvents()); err != nil {
			return false, err
		}
		left := r.State(shard).Vector.Missing(theirs)
		if left == 0 || left >= before.Missing(theirs) {
			return left > 0, nil
		}
	}
}

// deliverAll hands events to the shard's loop and waits until they are on disk.
func (r *Replica) deliverAll(ctx context.Context, shard int, raws [][]byte) error {
	s := r.shards[shard]
	done := make(chan error, len(raws))
	sent := 0
	var failed error
	for _, raw := range raws {
		d, err := decodeDelivered(shard, r.options.Shards, raw)
		if err == nil {
			err = r.loop(s).submit(ctx, eventTask(s, d, func(_ []*pb.Result, err error) { done <- err }))
		}
		if err != nil {
			failed = err
			break
		}
		sent++
	}
	for range sent {
		select {
		case err := <-done:
			failed = errors.Join(failed, err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return failed
}

// walk compares a shard with a peer's, range by range, and joins what differs.
func (r *Replica) walk(ctx context.Context, member string, shard int) error {
	return r.walkAt(ctx, member, shard, untiring)
}

// walkAt walks at a pace, which is told the bytes of each answer.
func (r *Replica) walkAt(ctx context.Context, member string, shard int, pace func(bytes int) error) error {
	s, hasher := r.shards[shard], r.hasher.Clone()
	w := antientropy.NewWalk(r.State(shard).Root)
	r.counters.walks.Add(1)
	for ask := w.Next(); ask != nil; ask = w.Next() {
		answer, err := r.ask(ctx, member, &pb.SyncRequest{What: &pb.SyncRequest_Walk{
			Walk: &pb.Walk{Shard: uint32(shard), Ranges: encodeRanges(ask)},
		}})
		if err != nil {
			return err
		}
		if err := pace(proto.Size(answer)); err != nil {
			return err
		}
		parts, err := decodeParts(shard, r.options.Shards, answer.GetWalked())
		if err != nil {
			return err
		}
		snap := r.store.Snapshot()
		found, err := w.Receive(parts, func(lo, hi crdt.Position) (merkle.Digest, error) {
			return rangeDigest(snap, hasher, shard, lo, hi)
		})
		snap.Close()
		if err != nil || len(found) == 0 {
			if err != nil {
				return err
			}
			continue
		}
		j := &joins{parts: found}
		if err := r.submitAndWait(ctx, task{shard: s, joins: j}); err != nil {
			return err
		}
		if j.diverged > 0 {
			return fmt.Errorf("replica: shard %d differs from %s's in %d ranges that heard the same", shard, member, j.diverged)
		}
		for _, again := range j.again {
			if !w.Again(again) {
				return nil // a busy shard; the next walk goes on
			}
		}
	}
	return nil
}
