package replica

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

const (
	// arrangePause is the time between two looks at what is to be done while the
	// table does not change, and unsettledPause while shards are on their way.
	arrangePause   = time.Second
	unsettledPause = 100 * time.Millisecond
	// turnPause is how long each member of a region leaves it to those before it
	// to write down that the layout advances.
	turnPause = 2 * time.Second
	// takeovers is how many shards are taken over, or handed over, at the same time.
	takeovers = 8
	// surveyPatience is how long all owners are waited for, when some would do.
	surveyPatience = time.Second
)

// arranger is what the member does about the table of members.
type arranger struct {
	began       time.Time
	joinedBytes atomic.Uint64
	move        atomic.Pointer[move]
	due         time.Time       // when it may write that the layout advances
	advancing   uint64          // to this
	pace        func(int) error // of taking over
	complained  time.Time       // when the log last said what is in the way
	lacked      []string        // by whom, as it said then
}

// arrange keeps the copies of this member to what the table says, until the
// replica stops.
func (r *Replica) arrange() {
	r.arranger.pace = r.pace(r.options.JoinRate)
	system := r.shards[r.System()]
	for {
		changed := system.changed()
		pause := arrangePause
		settled, err := r.arrangeOnce()
		if err != nil && !errors.Is(err, ErrClosed) {
			r.complain(err)
		}
		if err != nil {
			changed = nil // by what has just failed: do not try again at once
		}
		if !settled {
			pause = unsettledPause
		}
		select {
		case <-changed:
		case <-time.After(pause):
		case <-r.stopping:
			return
		}
	}
}

// settleIn takes what this member is to have from the start, as far as that is
// known without asking anybody.
func (r *Replica) settleIn(n *network) error {
	if !r.placed() {
		if r.options.Record != nil {
			r.enrollAs(r.options.Record())
		}
		everything := func(*shard) bool { return true }
		return errors.Join(n.deltas.cover(r, everything), n.requests.cover(r, everything))
	}
	in, err := r.appear()
	if err == nil && in != nil {
		r.cover(in)
		return nil
	}
	return errors.Join(err, n.deltas.cover(r, func(s *shard) bool { return s.index == r.System() }))
}

// appear has this member stand in the table, and founds its region if that is up
// to it. It returns the region as the table has it, nil if it is not founded.
//
// A member is in the table together with a layout of its region, or after it: who
// knows of a member knows who owns what there.
func (r *Replica) appear() (*regionLayout, error) {
	l, err := r.view()
	if err != nil {
		return nil, err
	}
	in := l.regions[r.options.Region]
	founded := in != nil && in.layout != nil
	switch {
	case founded:
		r.enrollAs(r.options.Record())
	case r.options.Seeds && time.Since(r.arranger.began) < r.options.FoundAfter:
		return nil, nil
	default:
		if err := r.found(l.owners); err != nil {
			r.log.Error("the region is not founded yet", "error", err)
			return nil, nil
		}
	}
	if l, err = r.view(); err != nil {
		return nil, err
	}
	if in = l.regions[r.options.Region]; in == nil || in.layout == nil {
		return nil, nil
	}
	return in, nil
}

// arrangeOnce does what can be done now, and says whether nothing is left.
func (r *Replica) arrangeOnce() (settled bool, err error) {
	l, err := r.view()
	if err != nil {
		return false, err
	}
	in := l.regions[r.options.Region]
	if in == nil || in.layout == nil || l.members[r.options.Member] == nil {
		_, err := r.appear()
		return false, err
	}
	if err := r.assign(in); err != nil {
		return false, err
	}
	r.cover(in) // who has to take over serves nobody meanwhile
	r.follow(in)
	joined, err := r.takeOver(l, in)
	if err != nil {
		return false, err
	}
	r.cover(in)
	if in.aim != nil {
		if joined {
			err = r.report(l, in)
		}
		return false, errors.Join(err, r.advance(l, in))
	}
	return r.handOver(l, in) && joined, nil
}

// found founds the region. There is nobody to take anything over from.
func (r *Replica) found(owners int) error {
	record := r.options.Record()
	// Until other regions have heard of it, quorums are taken without it, too.
	agreed := &pb.Layout{
		Current: &pb.Ring{Owners: uint32(owners)},
		Next:    &pb.Ring{Owners: uint32(owners), Seats: []*pb.Seat{seatOf(record)}},
	}
	_, err := r.DoSystem(r.tasks, &pb.Request{Operations: append(enrolling(record), &pb.Operation{
		Key: []byte(layoutPrefix + r.options.Region), What: &pb.Operation_RegisterSet{RegisterSet: marshal(agreed)},
	})})
	if err != nil {
		return err
	}
	r.log.Info("the region is founded", "region", r.options.Region)
	return r.declare(founded, r.shards[:r.options.Shards]...)
}

// setEntry writes a message into a register of the system shard.
func (r *Replica) setEntry(key string, m proto.Message) error {
	_, err := r.DoSystem(r.tasks, &pb.Request{Operations: []*pb.Operation{
		{Key: []byte(key), What: &pb.Operation_RegisterSet{RegisterSet: marshal(m)}},
	}})
	return err
}

// assign starts copies of the shards that this member is to own, and goes on
// removing those that a crash has left half removed.
func (r *Replica) assign(in *regionLayout) error {
	var starting []*shard
	for _, s := range r.shards[:r.options.Shards] {
		if s.is(dropping) {
			err := r.submitAndWait(r.tasks, task{shard: s, alone: func(l *loop) error { return l.remove(s) }})
			if err != nil {
				return err
			}
		}
		claim := in.claimOf(r.options.Member, s.index)
		if claim != unrelated && (s.is(noCopy, hinted) || s.is(founded) && in.isThere()) {
			s.joined.Store(0)
			starting = append(starting, s)
		}
	}
	return r.declare(joining, starting...)
}

// takeOver brings the copies that are being taken over to what the owners have,
// and says whether there are none left.
func (r *Replica) takeOver(l *layout, in *regionLayout) (all bool, err error) {
	var coming []*shard
	for _, s := range r.shards[:r.options.Shards] {
		if s.is(joining) && in.claimOf(r.options.Member, s.index) != unrelated {
			coming = append(coming, s)
		}
	}
	for some := range slices.Chunk(coming, 8*takeovers) {
		come, failed := r.each(some, func(s *shard) error {
			if err := r.catchUp(l, s); err != nil {
				return err
			}
			return r.declare(complete, s)
		})
		if failed != nil {
			return false, fmt.Errorf("%d of %d shards cannot be taken over yet; the first: %w", len(some)-len(come), len(coming), failed)
		}
	}
	return true, nil
}

// each does something for some shards, several at the same time, and returns
// those for which it was done, and why the first of the others was not.
func (r *Replica) each(shards []*shard, do func(*shard) error) (done []*shard, failed error) {
	var running sync.WaitGroup
	places := make(chan struct{}, takeovers)
	errs := make([]error, len(shards))
	for i, s := range shards {
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			errs[i] = do(s)
		})
	}
	running.Wait()
	for i, s := range shards {
		if errs[i] == nil {
			done = append(done, s)
		} else if failed == nil {
			failed = errs[i]
		}
	}
	return done, failed
}

// joinPace counts what is taken over of a shard, and holds it to its rate.
func (r *Replica) joinPace(s *shard) func(bytes int) error {
	return func(bytes int) error {
		r.arranger.joinedBytes.Add(uint64(bytes))
		s.joined.Add(uint64(bytes))
		return r.arranger.pace(bytes)
	}
}

// tableVector returns what was heard of the system shard.
func (r *Replica) tableVector() []byte {
	return r.shards[r.System()].published.Load().Vector.AppendTo(nil)
}

// report writes down that this member has come as far as the aim asks of it.
func (r *Replica) report(l *layout, in *regionLayout) error {
	name, ready := r.options.Member, in.ready()
	if in.isSettled(l, name) {
		return nil
	}
	var coming []*shard
	for _, s := range r.shards[:r.options.Shards] {
		if !in.hears(name, s.index) {
			continue
		}
		if !s.whole() {
			return nil
		}
		coming = append(coming, s)
	}
	if in.next != nil {
		caught, err := r.each(coming, func(s *shard) error { return r.catchUp(l, s) })
		if err != nil {
			return err
		}
		caught = slices.DeleteFunc(caught, func(s *shard) bool { return !s.is(founded) })
		if err := r.declare(complete, caught...); err != nil {
			return err
		}
	}
	// What the owners know of the table has come with their answers: if it is
	// another aim by now, all of this was for nothing.
	if now, err := r.view(); err != nil || !now.aims(r.options.Region, ready) {
		return err
	}
	return r.setEntry(progressPrefix+name, ready)
}

// advance writes down the next step of the layout once all are ready for it, if
// it is this member's turn: a region's layout is written by one member after
// the other, so that no two write different ones.
func (r *Replica) advance(l *layout, in *regionLayout) error {
	next := in.advanced(l)
	if next == nil {
		return nil
	}
	now := time.Now()
	if key := ringHash(in.aimRing) + uint64(len(next.String())); key != r.arranger.advancing {
		r.arranger.advancing, r.arranger.due = key, now.Add(turnPause*time.Duration(r.turn(in)))
	}
	if now.Before(r.arranger.due) {
		return nil
	}
	err := r.setEntry(layoutPrefix+r.options.Region, next)
	if err == nil {
		r.log.Info("the owners in this region change", "members", len(in.aimRing.GetSeats()), "done", next.GetNext() == nil)
	}
	return err
}

// turn returns how many members of the region are to advance the layout before
// this one does.
func (r *Replica) turn(in *regionLayout) (before int) {
	states, _ := r.observer.opinion()
	for _, seat := range slices.Concat(in.aimRing.GetSeats(), in.layout.GetCurrent().GetSeats()) {
		switch {
		case seat.GetName() == r.options.Member:
			return before
		case !states.gone(seat.GetName()):
			before++
		}
	}
	return before
}

// cover takes the requests and events that this member is to have now.
func (r *Replica) cover(in *regionLayout) {
	serves := func(s *shard) bool {
		if !r.stands(s) {
			return false
		}
		is := in.claimOf(r.options.Member, s.index)
		return is == owner || is == heir && in.next != nil
	}
	for _, s := range r.shards[:r.options.Shards] {
		if serves(s) {
			s.serving.Store(true) // before anybody asks
		}
	}
	n := r.network.Load()
	errs := errors.Join(
		n.deltas.cover(r, func(s *shard) bool { return s.index == r.System() || s.is(joining, complete, founded) }),
		n.requests.cover(r, func(s *shard) bool { return s.index != r.System() && serves(s) }),
	)
	if errs != nil && !errors.Is(errs, transport.ErrClosed) {
		r.log.Warn("not all subscriptions are what they should be", "error", errs)
	}
	for _, s := range r.shards[:r.options.Shards] {
		s.serving.Store(serves(s)) // after nobody does
	}
}
