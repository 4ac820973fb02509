package replica

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/proto"
)

// seekAfter is how long a request waits for events on their way before peers
// are asked for them.
const seekAfter = 20 * time.Millisecond

// await waits until this copy has heard what the request's session has seen,
// in the ranges of the objects that the request names. It fails with ErrBehind
// once patience ends.
func (r *Replica) await(ctx context.Context, s *shard, request *proto.Request) error {
	return r.awaitFor(ctx, s, request, r.options.SessionPatience, "")
}

// awaitFor waits for as long as it is told. If it names a member that has what
// is awaited, that one alone is asked.
func (r *Replica) awaitFor(ctx context.Context, s *shard, request *proto.Request, patience time.Duration, from string) error {
	if len(request.GetAfter()) == 0 {
		return nil
	}
	after, err := crdt.DecodeVector(request.GetAfter())
	if err != nil {
		return fmt.Errorf("what the session has seen: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	seek := time.NewTimer(seekAfter)
	defer seek.Stop()
	for {
		changed := s.changed()
		missing := unheard(s.spoken.Load(), request, after)
		if missing == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-seek.C:
			if from == "" {
				r.seek(ctx, s)
			} else if namePattern.MatchString(from) {
				_, _ = r.fetch(ctx, from, s.index) // as in seek
			}
		case <-ctx.Done():
			return fmt.Errorf("%w: %d events are missing in shard %d after %v", ErrBehind, missing, s.index, patience)
		case <-r.stopping:
			return ErrClosed
		}
	}
}

// seek asks the peers, the likely ones first, for the events of a shard that this
// copy lacks. One request at a time does so for all.
func (r *Replica) seek(ctx context.Context, s *shard) {
	if r.network.Load() == nil || !s.sought.CompareAndSwap(false, true) {
		return
	}
	defer s.sought.Store(false)
	for _, member := range r.byPromise() {
		if ctx.Err() == nil {
			// What fails here, the planner does in its time.
			_, _ = r.fetch(ctx, member, s.index)
		}
	}
}

// byPromise returns the peers in the order in which they are to be asked: those
// that are there before those that are suspect, and these before those that are
// gone; of the same standing, those of the own region first.
func (r *Replica) byPromise() []string {
	states, _ := r.observer.opinion()
	r.peers.mu.Lock()
	defer r.peers.mu.Unlock()
	distance := func(name string) int {
		if r.peers.known[name].region == r.options.Region {
			return 0
		}
		return 1
	}
	names := slices.Collect(maps.Keys(r.peers.known))
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(states.doubt(a), states.doubt(b)), cmp.Compare(distance(a), distance(b)), cmp.Compare(a, b))
	})
	return names
}

// unheard counts the events of a vector that were not heard in some range of
// the objects that a request names.
func unheard(heard *crdt.Heard, request *proto.Request, after crdt.VersionVector) uint64 {
	var most uint64
	eachSpan(heard, request, func(v crdt.VersionVector) { most = max(most, v.Missing(after)) })
	return most
}

// seen returns what the answer to a request may show: what was heard in the
// ranges of its objects. In the steady state that is the shard's vector.
func seen(heard *crdt.Heard, request *proto.Request) crdt.VersionVector {
	v := heard.Vector()
	if heard.Whole() {
		return v
	}
	v = v.Clone()
	eachSpan(heard, request, v.Join)
	return v
}

// eachSpan tells what was heard in each range of the objects that a request
// names, or everywhere if it names none.
func eachSpan(heard *crdt.Heard, request *proto.Request, f func(crdt.VersionVector)) {
	if heard.Whole() {
		f(heard.Vector())
		return
	}
	if len(request.GetOperations()) == 0 || isScan(request) {
		for _, span := range heard.Over("", crdt.End) {
			f(span.Vector)
		}
		return
	}
	for _, op := range request.GetOperations() {
		for _, t := range crdt.Types {
			lo, hi := (crdt.Object{Key: string(op.GetKey()), Type: t}).Range()
			for _, span := range heard.Over(lo, hi) {
				f(span.Vector)
			}
		}
	}
}

// changed returns a channel that is closed when the shard's next state is
// published. What was published before can be loaded after the call.
func (s *shard) changed() <-chan struct{} {
	for {
		if c := s.change.Load(); c != nil {
			return *c
		}
		c := make(chan struct{})
		if s.change.CompareAndSwap(nil, &c) {
			return c
		}
	}
}

// publish shows a committed state to other goroutines.
func (s *shard) publish() {
	s.writer.Store(uint64(s.actor))
	s.spoken.Store(s.heard)
	s.published.Store(&antientropy.State{Vector: s.heard.Vector(), Root: s.root, Whole: s.heard.Whole() && s.health.sound()})
	if c := s.change.Swap(nil); c != nil {
		close(*c)
	}
}
