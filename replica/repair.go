package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/merkle"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

const (
	// tickInterval is how often the planner is asked what to do.
	tickInterval = 20 * time.Millisecond
	// gossipPart is the part of all shards that each gossip repeats, so that
	// what was lost of earlier ones comes again.
	gossipPart = 16
	// gossipBytes is about where one message ends and the next begins.
	gossipBytes = 256 << 10
	// silentIntervals is after how many intervals without a word a peer may
	// have been out of reach, and has missed what this member said.
	silentIntervals = 3
)

// peers is what is known of the other members.
type peers struct {
	mu      sync.Mutex
	planner *antientropy.Planner
	known   map[string]*peer
}

type peer struct {
	region      string
	incarnation uint64
	heard       time.Time
}

func newPeers(p *antientropy.Planner) *peers {
	return &peers{planner: p, known: map[string]*peer{}}
}

// maxPeers bounds how many members are remembered.
const maxPeers = 1024

// gossip tells the others what this member has, and acts on what they tell,
// until the replica stops.
func (r *Replica) gossip() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // ends the tasks under way
	ticks := time.NewTicker(tickInterval)
	defer ticks.Stop()
	said := make([]*antientropy.State, len(r.shards)) // last, of each shard
	var next time.Time
	for round := 0; ; {
		all := r.announceNow.CompareAndSwap(true, false)
		if all {
			clear(said)
		}
		if now := r.options.Now(); all || !now.Before(next) {
			r.announce(said, round)
			round++
			next = now.Add(r.options.GossipInterval)
		}
		r.peers.mu.Lock()
		tasks := r.peers.planner.Tick(r.options.Now(), r.State)
		r.peers.mu.Unlock()
		for _, t := range tasks {
			r.tasksWG.Go(func() { r.repair(ctx, t) })
		}
		select {
		case <-ticks.C:
		case <-r.stopping:
			return
		}
	}
}

// announce publishes the shards that changed since they were last said, and a
// part of the others.
func (r *Replica) announce(said []*antientropy.State, round int) {
	n := r.network.Load()
	message := &pb.Gossip{Member: r.options.Member, Region: r.options.Region, Incarnation: r.incarnation}
	bytes := 0
	publish := func() {
		if err := n.transport.Publish(transport.Gossip, marshal(message)); err != nil {
			r.counters.unsent.Add(1)
		}
		message.Shards, bytes = nil, 0
	}
	for i, s := range r.shards {
		state := s.published.Load()
		if state == said[i] && i%gossipPart != round%gossipPart {
			continue
		}
		said[i] = state
		encoded := state.Message(i)
		message.Shards = append(message.Shards, encoded)
		if bytes += 64 + len(encoded.Vector); bytes > gossipBytes {
			publish()
		}
	}
	publish()
}

// Announce has the member tell the others soon all that it has, as after a
// link was down.
func (r *Replica) Announce() { r.announceNow.Store(true) }

// receiveGossip takes in what another member says of itself.
func (r *Replica) receiveGossip(m transport.Message) {
	var g pb.Gossip
	if err := proto.Unmarshal(m.Data, &g); err != nil || !namePattern.MatchString(g.GetMember()) || !namePattern.MatchString(g.GetRegion()) {
		r.counters.malformed.Add(1)
		return
	}
	if g.GetMember() == r.options.Member {
		if g.GetIncarnation() != r.incarnation {
			r.counters.namesakes.Add(1)
			r.log.Error("another process runs under this member's name: stop one of the two", "member", g.GetMember())
		}
		return
	}
	r.peers.mu.Lock()
	defer r.peers.mu.Unlock()
	now := r.options.Now()
	known, ok := r.peers.known[g.GetMember()]
	if !ok {
		if len(r.peers.known) >= maxPeers {
			r.counters.malformed.Add(1)
			return
		}
		known = &peer{}
		r.peers.known[g.GetMember()] = known
	}
	if known.incarnation != g.GetIncarnation() || now.Sub(known.heard) > silentIntervals*r.options.GossipInterval {
		r.Announce() // it may have missed what was said
	}
	known.region, known.incarnation, known.heard = g.GetRegion(), g.GetIncarnation(), now
	rank := cmp.Compare(g.GetRegion(), r.options.Region)
	for _, encoded := range g.GetShards() {
		state, err := antientropy.DecodeState(encoded)
		if err != nil || int(encoded.GetShard()) >= len(r.shards) {
			r.counters.malformed.Add(1)
			continue
		}
		s := r.shards[encoded.GetShard()]
		r.peers.planner.Advertise(g.GetMember(), rank*rank, s.index, state)
		if own := crdt.Actor(s.writer.Load()); state.Vector[own] > r.State(s.index).Vector[own] {
			r.loop(s).offer(task{shard: s, claim: crdt.Dot{Actor: own, Seq: state.Vector[own]}, done: ignore})
		}
	}
}

// receiveDelta takes in a broadcast event.
func (r *Replica) receiveDelta(m transport.Message) {
	shard, err := r.shardOf(m.Subject)
	var delta pb.Delta
	if err == nil {
		err = proto.Unmarshal(m.Data, &delta)
	}
	if err != nil || !namePattern.MatchString(delta.GetMember()) {
		r.counters.malformed.Add(1)
		return
	}
	if delta.GetMember() == r.options.Member {
		return
	}
	d, err := decodeDelivered(shard, len(r.shards), delta.GetEvent())
	if err != nil {
		r.counters.malformed.Add(1)
		r.log.Warn("an event was refused", "member", delta.GetMember(), "error", err)
		return
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
func (r *Replica) repair(ctx context.Context, t antientropy.Task) {
	outcome := antientropy.Outcome{}
	if t.Kind == antientropy.Fetch {
		outcome.LogEnded, outcome.Err = r.fetch(ctx, t.Peer, t.Shard)
	} else {
		if t.Kind == antientropy.WalkDiverged {
			r.counters.divergences.Add(1)
			r.log.Error("two copies heard the same and differ", "shard", t.Shard, "peer", t.Peer)
		}
		outcome.Err = r.walk(ctx, t.Peer, t.Shard)
	}
	if outcome.Err != nil && ctx.Err() == nil {
		r.counters.repairErrors.Add(1)
		r.log.Debug("catching up failed", "task", t.Kind.String(), "peer", t.Peer, "shard", t.Shard, "error", outcome.Err)
	}
	r.peers.mu.Lock()
	r.peers.planner.Done(t, r.options.Now(), outcome)
	r.peers.mu.Unlock()
}

// Ask puts a question to a member, itself included, and returns its answer,
// which may be a refusal.
func (r *Replica) Ask(ctx context.Context, member string, q *pb.SyncRequest) (*pb.SyncAnswer, error) {
	n := r.network.Load()
	if n == nil {
		return nil, transport.ErrUnreachable
	}
	data, err := n.transport.Request(ctx, transport.Sync(member), marshal(q))
	if err != nil {
		return nil, err
	}
	var answer pb.SyncAnswer
	return &answer, proto.Unmarshal(data, &answer)
}

// ask puts a question of a repair to a peer, and counts its bytes.
func (r *Replica) ask(ctx context.Context, member string, q *pb.SyncRequest) (*pb.SyncAnswer, error) {
	n := r.network.Load()
	ctx, cancel := context.WithTimeout(ctx, r.options.QuestionTimeout)
	defer cancel()
	question := marshal(q)
	data, err := n.transport.Request(ctx, transport.Sync(member), question)
	r.counters.syncBytes.Add(uint64(len(question) + len(data)))
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
		if err := r.deliverAll(ctx, shard, fetched.GetEvents()); err != nil {
			return false, err
		}
		r.counters.fetched.Add(uint64(len(fetched.GetEvents())))
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
		d, err := decodeDelivered(shard, len(r.shards), raw)
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
		parts, err := decodeParts(shard, len(r.shards), answer.GetWalked())
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
		r.counters.pulled.Add(uint64(j.pulled))
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
