package replica

import (
	"context"
	"fmt"
	"slices"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
)

// handOver removes the copies that this member is not to have, once every owner
// has heard all that they hold, and says whether there are none.
func (r *Replica) handOver(l *layout, in *regionLayout) (none bool) {
	var going []*shard
	for _, s := range r.shards[:r.options.Shards] {
		if s.held() && in.claimOf(r.options.Member, s.index) == unrelated {
			going = append(going, s)
		}
	}
	_, kept := r.each(going, func(s *shard) error { return r.handOverShard(l, s) })
	if kept != nil && r.tasks.Err() == nil {
		r.log.Debug("a copy is kept", "because", kept)
	}
	return len(going) == 0
}

func (r *Replica) handOverShard(l *layout, s *shard) error {
	owners := everyone(l.electorates(s.index))
	if len(owners) == 0 {
		return fmt.Errorf("nobody owns shard %d", s.index)
	}
	mine := s.spoken.Load()
	ctx, cancel := context.WithTimeout(r.tasks, surveyPatience)
	defer cancel()
	replies := r.askAll(ctx, owners, s)
	var theirs []*crdt.Heard
	for range owners {
		a := <-replies
		switch {
		case a.err != nil:
			return a.err
		case !a.complete || !includes(a.ranges, mine):
			return fmt.Errorf("%s has not heard all of shard %d", a.owner, s.index)
		}
		theirs = append(theirs, a.ranges)
	}
	if s.whole() {
		// An increment that was sent to this copy and to an owner may be counted
		// in both: this copy takes its own back when it hears of the other, and
		// ends only then.
		if err := r.awaitRanges(ctx, s, theirs); err != nil {
			return err
		}
	}
	return r.drop(s, everything(mine))
}

// awaitRanges waits until this copy has heard what others have, range by range.
func (r *Replica) awaitRanges(ctx context.Context, s *shard, theirs []*crdt.Heard) error {
	for {
		changed := s.changed()
		mine := s.spoken.Load()
		if !slices.ContainsFunc(theirs, func(h *crdt.Heard) bool { return !includes(mine, h) }) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: shard %d lacks what its owners have", ErrBehind, s.index)
		}
	}
}

// wholeAnswer is what one of several owners has heard of a shard, or why that is
// not known.
type wholeAnswer struct {
	heard
	err error
}

// askAll asks owners what they have heard of a shard. As many answers come, and
// need not be read.
func (r *Replica) askAll(ctx context.Context, owners []string, s *shard) <-chan wholeAnswer {
	answers := make(chan wholeAnswer, len(owners))
	for _, name := range owners {
		go func() {
			h, err := r.askWhole(ctx, name, s)
			answers <- wholeAnswer{h, err}
		}()
	}
	return answers
}

// askWhole asks an owner what it has heard of a shard.
func (r *Replica) askWhole(ctx context.Context, name string, s *shard) (heard, error) {
	answer, err := r.ask(ctx, name, &pb.SyncRequest{What: &pb.SyncRequest_Hear{Hear: &pb.Hear{
		Shard: uint32(s.index), Member: r.options.Member, Everything: true, Table: r.tableVector(),
	}}})
	if err != nil {
		return heard{}, err
	}
	h, err := decodeHeard(name, answer.GetHeard())
	if err == nil && h.ranges == nil {
		err = fmt.Errorf("%w: an answer of %s without ranges", crdt.ErrInvalid, name)
	}
	return h, err
}
