package replica

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
)

// How can a read see every write that was acknowledged, with no owner that is
// in charge? What an owner has heard of a range is a vector, and a copy that has
// heard a vector holds the effect of all of it. So a write is known to an owner
// once it has heard the vector that the write was answered with; and a read
// asks enough owners for their vectors, waits until the own copy has heard them
// all, and is then answered from there. If the owners that must have heard a
// write and those that are asked before a read have one in common, the read
// shows the write. No entries travel for it, whatever the size of the object.
//
// A linearizable operation does both: it asks a majority first, so that it sees
// every operation that ended before, and ends when a majority has heard what it
// has shown, so that every later one sees it, too (Attiya, Bar-Noy, Dolev:
// Sharing Memory Robustly in Message-Passing Systems, 1995).

// ErrNotEnough says that too few owners answered in time, or are there to
// answer. A write that was made is kept, and spreads.
var ErrNotEnough = errors.New("too few owners answered")

const (
	// defaultPatience is how long other owners are waited for, if the request
	// does not say, and maxPatience how long at most.
	defaultPatience = 2 * time.Second
	maxPatience     = time.Minute
	// askAgain is the pause before an owner is asked again that gave no answer.
	askAgain = 50 * time.Millisecond
)

// electorates returns the sets of owners, by region, of each of which a request
// for a shard takes a part.
func (r *Replica) electorates(shard int) ([]map[string][]string, error) {
	return r.electoratesAt(pb.Consistency_ONE, shard)
}

// electoratesAt returns the same if the table that says it is enough for a level, too.
func (r *Replica) electoratesAt(level pb.Consistency, shard int) ([]map[string][]string, error) {
	switch {
	case r.options.Owners != nil:
		return []map[string][]string{r.options.Owners()}, nil
	case !r.placed():
		return []map[string][]string{{r.options.Region: {r.options.Member}}}, nil
	}
	hasFounded := r.shards[shard].is(founded) // before the table is read: once it is not, that is whole
	l, err := r.view()
	if err != nil {
		return nil, err
	}
	if r.options.Joins && len(l.members) < 2 {
		return nil, fmt.Errorf("%w: this member has not heard of any other one yet", ErrNotEnough)
	}
	if hasFounded {
		err = l.allows(level, r.options.Region)
	}
	return l.electorates(shard), err
}

// quorums returns what a level demands for a shard.
func (r *Replica) quorums(level pb.Consistency, shard int) ([]*quorum, error) {
	sets, err := r.electoratesAt(level, shard)
	if err != nil {
		return nil, err
	}
	var demanded []*quorum
	demand := func(owners []string, needed int) {
		if len(owners) == 0 {
			return // of a region that is about to be there, or to be gone
		}
		same := func(q *quorum) bool { return q.needed == needed && slices.Equal(q.owners, owners) }
		if !slices.ContainsFunc(demanded, same) {
			demanded = append(demanded, &quorum{owners: owners, needed: needed})
		}
	}
	for _, byRegion := range sets {
		var all []string
		for _, region := range slices.Sorted(maps.Keys(byRegion)) {
			all = append(all, byRegion[region]...)
		}
		switch level {
		case pb.Consistency_LOCAL_QUORUM:
			demand(byRegion[r.options.Region], majority(byRegion[r.options.Region]))
		case pb.Consistency_QUORUM, pb.Consistency_LINEARIZABLE:
			demand(all, majority(all))
		case pb.Consistency_ALL:
			demand(all, len(all))
		case pb.Consistency_EACH_QUORUM:
			for _, region := range slices.Sorted(maps.Keys(byRegion)) {
				demand(byRegion[region], majority(byRegion[region]))
			}
		default:
			return nil, unknownLevel(level)
		}
	}
	return demanded, nil
}

func unknownLevel(level pb.Consistency) error {
	return fmt.Errorf("%w: the consistency %v; this member does not know it", crdt.ErrInvalid, level)
}

// leveled returns a request at a level: its own, or the default of the cluster.
func (r *Replica) leveled(request *pb.Request) *pb.Request {
	level := r.defaultLevel()
	if request.Consistency != nil || level == pb.Consistency_ONE {
		return request
	}
	return &pb.Request{
		Operations: request.GetOperations(), Operation: request.GetOperation(), After: request.GetAfter(),
		Consistency: level.Enum(), PatienceMs: request.GetPatienceMs(),
	}
}

// defaultLevel returns the level of requests that name none: as this member has
// it set, or had when it could last read that.
func (r *Replica) defaultLevel() pb.Consistency {
	if !r.placed() {
		return pb.Consistency_ONE
	}
	l, err := r.view()
	if err != nil {
		l = r.roster.Load()
	}
	if l == nil {
		return pb.Consistency_ONE
	}
	return l.level
}

// agree serves a request at a level above one.
func (r *Replica) agree(ctx context.Context, s *shard, request *pb.Request, writes int) (*pb.Answer, error) {
	patience := min(time.Duration(request.GetPatienceMs())*time.Millisecond, maxPatience)
	if patience == 0 {
		patience = defaultPatience
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	level := request.GetConsistency()
	if _, err := r.quorums(level, s.index); err != nil { // before anything is done
		return nil, fmt.Errorf("%w; nothing was changed", err)
	}
	local := &pb.Request{Operations: request.GetOperations(), Operation: request.GetOperation(), After: request.GetAfter()}
	var common crdt.VersionVector // what all have heard who were asked before
	var seen crdt.VersionVector   // what any of them has
	var answers []heard
	if writes < len(request.GetOperations()) || level == pb.Consistency_LINEARIZABLE {
		var err error
		if seen, answers, err = r.gather(ctx, s, level, request, nil); err != nil {
			return nil, fmt.Errorf("%w; nothing was changed", err)
		}
		common = meet(answers)
		if err := joinEncoded(seen, local.GetAfter()); err != nil {
			return nil, err
		}
		local.After = seen.AppendTo(nil)
	}
	if err := r.awaitFor(ctx, s, local, patience, ""); err != nil {
		return nil, err
	}
	local.After = nil
	r.tellLaggards(s, request, seen, answers)
	answer, err := r.serve(ctx, s, local, writes)
	if err != nil || writes == 0 && (level != pb.Consistency_LINEARIZABLE || common.Dominates(shown(answer))) {
		return answer, err
	}
	if _, _, err := r.gather(ctx, s, level, request, answer.GetVector()); err != nil {
		if writes == 0 {
			return nil, fmt.Errorf("%w; nothing was changed", err)
		}
		if errors.Is(err, ErrClosed) { // which says that nothing was done
			err = fmt.Errorf("%w before the member that has it stopped", ErrNotEnough)
		}
		return nil, fmt.Errorf("%w; the write is kept, and spreads", err)
	}
	return answer, nil
}

// shown returns what an answer of this copy may show.
func shown(answer *pb.Answer) crdt.VersionVector {
	v, err := crdt.DecodeVector(answer.GetVector())
	if err != nil {
		panic(err) // it was encoded here
	}
	return v
}

// joinEncoded joins an encoded vector, if there is one.
func joinEncoded(v crdt.VersionVector, encoded []byte) error {
	if len(encoded) == 0 {
		return nil
	}
	o, err := crdt.DecodeVector(encoded)
	if err != nil {
		return fmt.Errorf("what the session has seen: %w", err)
	}
	v.Join(o)
	return nil
}

// heard is what an owner has heard of some objects: upper in any of their
// ranges, lower in all.
type heard struct {
	owner        string
	upper, lower crdt.VersionVector
	table        crdt.VersionVector // what it has heard of the table of members
	complete     bool               // it is not taking the shard over itself
	ranges       *crdt.Heard        // what it has heard of the whole shard, if asked for that
}

// meet returns what all owners who answered have heard in all ranges.
func meet(answers []heard) crdt.VersionVector {
	v := answers[0].lower
	for _, h := range answers[1:] {
		v = v.Meet(h.lower)
	}
	return v
}

// gather asks the owners that a level concerns what they have heard of the
// objects of a request, once they have heard what a vector says. When enough of
// them have answered, it returns what any of them has heard in any range, and
// their answers, this copy's first. It fails as soon as too many are confirmed to
// be gone; one that is suspect may still answer.
func (r *Replica) gather(ctx context.Context, s *shard, level pb.Consistency, request *pb.Request, vector []byte) (upper crdt.VersionVector, answers []heard, err error) {
	system := r.shards[r.System()]
	tableChanged := system.changed()
	quorums, err := r.quorums(level, s.index)
	if err != nil {
		return nil, nil, err
	}
	began := time.Now()
	deadline, _ := ctx.Deadline()
	var asked sync.WaitGroup
	defer asked.Wait()
	parent := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	question := r.question(s, request, vector)
	replies := make(chan heard)
	if r.stands(s) {
		for _, q := range quorums {
			q.hear(r.options.Member)
		}
	}
	for _, owner := range missing(quorums) {
		if r.network.Load() != nil {
			asked.Go(func() { r.hearFrom(ctx, owner, question, deadline, replies) })
		}
	}
	own := s.spoken.Load()
	upper = seen(own, request).Clone()
	answers = []heard{{owner: r.options.Member, lower: own.Vector()}}
	newer := newerTable{}
	for slices.ContainsFunc(quorums, (*quorum).lacks) {
		states, news := r.observer.opinion()
		if slices.ContainsFunc(quorums, func(q *quorum) bool { return !q.possible(states) }) {
			return nil, nil, r.notEnough(s.index, level, quorums, states, time.Since(began))
		}
		select {
		case h := <-replies:
			newer.see(h)
			upper.Join(h.upper)
			answers = append(answers, h)
			for _, q := range quorums {
				q.hear(h.owner)
			}
		case <-tableChanged:
			tableChanged = system.changed()
			if again, err := r.others(level, s, quorums); err != nil || again {
				if err != nil {
					return nil, nil, err
				}
				cancel()
				return r.gather(parent, s, level, request, vector)
			}
		case <-news:
		case <-ctx.Done():
			return nil, nil, r.notEnough(s.index, level, quorums, states, time.Since(began))
		case <-r.stopping:
			return nil, nil, ErrClosed
		}
	}
	if again, err := r.outdated(ctx, s, quorums, newer, level, deadline); err != nil || !again {
		return upper, answers, err
	}
	return r.gather(parent, s, level, request, vector)
}

// question returns what owners are asked about the objects of a request.
func (r *Replica) question(s *shard, request *pb.Request, vector []byte) *pb.Hear {
	q := &pb.Hear{Shard: uint32(s.index), Vector: vector, Member: r.options.Member, Table: r.tableVector()}
	if !isScan(request) { // which is about all of them
		for _, op := range request.GetOperations() {
			q.Keys = append(q.Keys, op.GetKey())
		}
	}
	return q
}

// others says whether a level demands other owners than those who were asked.
func (r *Replica) others(level pb.Consistency, s *shard, asked []*quorum) (bool, error) {
	now, err := r.quorums(level, s.index)
	same := slices.EqualFunc(asked, now, func(a, b *quorum) bool {
		return a.needed == b.needed && slices.Equal(a.owners, b.owners)
	})
	return !same, err
}

// newerTable is what owners have heard of the table of members.
type newerTable struct {
	vector crdt.VersionVector
	from   string
}

func (n *newerTable) see(h heard) {
	if n.vector == nil {
		n.vector = crdt.VersionVector{}
	}
	if !n.vector.Dominates(h.table) {
		n.vector.Join(h.table)
		n.from = h.owner
	}
}

// outdated hears what owners who have answered had heard of the table of
// members, and says whether other owners are to be asked by that.
func (r *Replica) outdated(ctx context.Context, s *shard, asked []*quorum, newer newerTable, level pb.Consistency, deadline time.Time) (bool, error) {
	if r.shards[r.System()].spoken.Load().Vector().Dominates(newer.vector) {
		return false, nil
	}
	if err := r.awaitTable(ctx, newer, time.Until(deadline)); err != nil {
		return false, fmt.Errorf("%w: the table of members has changed: %w", ErrNotEnough, err)
	}
	return r.others(level, s, asked)
}

// awaitTable waits until this member has heard what others had of the table of members.
func (r *Replica) awaitTable(ctx context.Context, newer newerTable, patience time.Duration) error {
	return r.awaitFor(ctx, r.shards[r.System()], &pb.Request{After: newer.vector.AppendTo(nil)}, patience, newer.from)
}

// hearFrom asks one owner until it answers.
func (r *Replica) hearFrom(ctx context.Context, owner string, question *pb.Hear, deadline time.Time, answers chan<- heard) {
	for {
		q := &pb.Hear{
			Shard: question.GetShard(), Keys: question.GetKeys(), Vector: question.GetVector(), Member: question.GetMember(),
			Table:      question.GetTable(),
			PatienceMs: uint32(max(1, time.Until(deadline).Milliseconds())),
		}
		answer, err := r.ask(ctx, owner, &pb.SyncRequest{What: &pb.SyncRequest_Hear{Hear: q}})
		var h heard
		if err == nil {
			h, err = decodeHeard(owner, answer.GetHeard())
		}
		if err == nil {
			select {
			case answers <- h:
			case <-ctx.Done():
			}
			return
		}
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return
		}
	}
}

func decodeHeard(owner string, m *pb.Heard) (heard, error) {
	h := heard{owner: owner, complete: !m.GetJoining()}
	var err error
	if len(m.GetRanges()) > 0 {
		if h.ranges, err = crdt.DecodeHeard(m.GetRanges()); err != nil {
			return h, err
		}
	}
	if len(m.GetTable()) > 0 {
		if h.table, err = crdt.DecodeVector(m.GetTable()); err != nil {
			return h, err
		}
	}
	if h.upper, err = crdt.DecodeVector(m.GetAny()); err != nil {
		return h, err
	}
	if h.lower = h.upper; len(m.GetAll()) > 0 {
		h.lower, err = crdt.DecodeVector(m.GetAll())
	}
	return h, err
}

// serveHear answers another owner what this copy has heard.
func (r *Replica) serveHear(ctx context.Context, h *pb.Hear) (*pb.Heard, error) {
	shard := int(h.GetShard())
	if shard >= len(r.shards) {
		return nil, fmt.Errorf("%w: there is no shard %d", ErrWrongShard, shard)
	}
	if n := len(h.GetKeys()); n > maxOperations {
		return nil, fmt.Errorf("%w: a question about %d keys; it takes at most %d", crdt.ErrInvalid, n, maxOperations)
	}
	request := &pb.Request{After: h.GetVector()}
	for _, key := range h.GetKeys() {
		if err := (crdt.Object{Key: string(key), Type: crdt.TypeCounter}).Validate(); err != nil {
			return nil, err
		}
		request.Operations = append(request.Operations, &pb.Operation{Key: key})
	}
	s := r.shards[shard]
	if err := s.health.unreadable(); err != nil {
		return nil, unavailable(err)
	}
	patience := min(time.Duration(h.GetPatienceMs())*time.Millisecond, maxPatience)
	// Whoever counts on the answer goes by no later table than this one.
	if err := r.awaitFor(ctx, r.shards[r.System()], &pb.Request{After: h.GetTable()}, max(patience, r.options.SessionPatience), h.GetMember()); err != nil {
		return nil, err
	}
	switch {
	case !s.held():
		return nil, fmt.Errorf("%w %d", ErrNotOwner, shard)
	case !r.stands(s) && !h.GetEverything():
		return nil, fmt.Errorf("%w: this copy of shard %d is being taken over", ErrBehind, shard)
	}
	if err := r.awaitFor(ctx, s, request, patience, h.GetMember()); err != nil {
		return nil, err
	}
	now := s.spoken.Load()
	answer := &pb.Heard{Any: seen(now, request).AppendTo(nil), Table: r.tableVector(), Joining: !r.stands(s)}
	if h.GetEverything() {
		answer.Ranges = now.AppendTo(nil)
	}
	if !now.Whole() {
		answer.All = now.Vector().AppendTo(nil)
	}
	return answer, nil
}

// everything returns what was heard in any range.
func everything(h *crdt.Heard) crdt.VersionVector {
	v := crdt.VersionVector{}
	for _, span := range h.Over("", crdt.End) {
		v.Join(span.Vector)
	}
	return v
}

// includes says whether one copy has heard, range by range, all that another has.
func includes(mine, theirs *crdt.Heard) bool {
	spans := theirs.Over("", crdt.End)
	for i, span := range spans {
		hi := crdt.End
		if i+1 < len(spans) {
			hi = spans[i+1].Start
		}
		for _, own := range mine.Over(span.Start, hi) {
			if !own.Vector.Dominates(span.Vector) {
				return false
			}
		}
	}
	return true
}
