package replica

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	pb "github.com/atolldb/atoll/proto"
)

// How long does a copy remember an operation, so that nobody counts it again?
//
// Records are entries, so every copy that hears of an event hears of its record.
// A request with an id is taken for half of the memory after the id was made, by
// the clock of the member; the record goes after all of it, and not before every
// owner was in touch since the first half ended, had heard of the record, and this
// copy had heard of all that they had. Whoever has taken the operation, too, has
// said so by then: two records are under the id, and the writer of one takes its
// own back (crdt.Record). The slack of half a memory is for clocks that differ.

// ErrNotRemembered says that it cannot be known whether an operation was done
// before; nothing was done now.
var ErrNotRemembered = errors.New("the operation is not remembered")

const (
	// maxForgotten is how many records are looked at in one step of forgetting.
	maxForgotten = 1000
	// forgetsPerMemory is how often in the time of its memory a copy forgets.
	forgetsPerMemory = 60
	minForgetPause   = time.Second
	// maxUnsettled bounds what a shard keeps in mind to take back. What is beyond
	// is taken back when it would be forgotten.
	maxUnsettled = 4096
)

// operationKey is where records of a shard are found in the order of the times
// of their ids. It follows from the records.
func operationKey(shard int, at crdt.Position, id crdt.OperationID) []byte {
	k := append(shardKey('o', shard, 6+len(at)), id[:6]...)
	return append(k, at...)
}

// recordedAt returns the position in an operation key.
func recordedAt(operationKey []byte) crdt.Position {
	return crdt.Position(operationKey[shardPrefixBytes+6:])
}

// operationsBefore is above the operation keys of ids made before a time.
func operationsBefore(shard int, t time.Time) []byte {
	id := crdt.NewOperationID(t.UnixMilli(), [10]byte{})
	return append(shardKey('o', shard, 6), id[:6]...)
}

// operationWrite notes in the order of times that there is a record, or none any
// more; fields of other types have nothing there.
func operationWrite(shard int, at crdt.Position, id crdt.FieldID, there bool) (store.Write, bool) {
	if id.Type != crdt.TypeOperation {
		return store.Write{}, false
	}
	w := store.Write{Key: operationKey(shard, at, operationOf(id))}
	if there {
		w.Value = []byte{1}
	}
	return w, true
}

// operationOf returns the id that a field of records is named by.
func operationOf(id crdt.FieldID) (operation crdt.OperationID) {
	copy(operation[:], id.Name)
	return operation
}

// checkOperation validates the id of a request, if there is one, and that it
// holds no other writes than what an id is for.
func checkOperation(request *pb.Request) error {
	id := request.GetOperation()
	if len(id) == 0 {
		return nil
	}
	if len(id) != crdt.OperationIDBytes {
		return fmt.Errorf("%w: an operation id of %d bytes; it has %d", crdt.ErrInvalid, len(id), crdt.OperationIDBytes)
	}
	for _, op := range request.GetOperations() {
		write, err := isWrite(op)
		if _, adds := op.GetWhat().(*pb.Operation_CounterAdd); err == nil && write && !adds {
			return fmt.Errorf("%w: a request with an operation id that does more than add to counters", crdt.ErrInvalid)
		}
	}
	return nil
}

// operation is what a group knows of the operation of a request.
type operation struct {
	id      crdt.OperationID
	counted bool // before: it is not counted again
}

// begin says of the operation of a request whether it was counted before, or nil
// if the request has none, or ErrNotRemembered if it can be counted no more. What
// a copy has pulled for some of its counters only is not known to be safe here: it
// is counted once more, and taken back when the rest has come.
func (g *group) begin(s *shard, d *crdt.Draft, request *pb.Request) (*operation, error) {
	if len(request.GetOperation()) == 0 {
		return nil, nil
	}
	o := &operation{id: crdt.OperationID(request.GetOperation())}
	adds, known := 0, 0
	for _, op := range request.GetOperations() {
		if _, add := op.GetWhat().(*pb.Operation_CounterAdd); !add {
			continue
		}
		counted, err := d.Counted(string(op.GetKey()), o.id)
		if err != nil {
			return nil, err
		}
		if adds++; counted {
			known++
		}
	}
	if o.counted = adds > 0 && known == adds; o.counted {
		g.loop.replica.counters.operationsAgain.Add(1)
		return o, nil
	}
	return o, g.remembers(s, o.id)
}

// remembers says whether an operation of this id can be counted and remembered.
func (g *group) remembers(s *shard, id crdt.OperationID) error {
	options := g.loop.replica.options
	window := options.OperationMemory / 2
	switch age := options.Now().Sub(time.UnixMilli(id.UnixMs())); {
	case age > window:
		return fmt.Errorf("%w: its id was made %v ago, and whether it was done before is known for %v; it was not done now", ErrNotRemembered, age.Round(time.Second), window)
	case age < -window:
		return fmt.Errorf("%w: its id is of a time %v ahead of this member's clock; nothing was done", ErrNotRemembered, -age.Round(time.Second))
	}
	if s.recorded < 0 {
		n, err := countRecords(g.snap, s.index)
		if err != nil {
			return err
		}
		s.recorded = n
	}
	c := g.change(s)
	if n := s.recorded + c.taken; n >= options.OperationLimit {
		return fmt.Errorf("%w: shard %d has to remember %d operations already; nothing was done", ErrNotRemembered, s.index, n)
	}
	c.taken++
	return nil
}

// countRecords counts the fields of records that a shard has.
func countRecords(snap store.Snapshot, shard int) (n int, err error) {
	err = scanAll(snap, shardKey('o', shard, 0), shardEnd('o', shard), func(_, _ []byte, _ error) error {
		n++
		return nil
	})
	return n, err
}

// add counts up or down, an operation with an id once.
func (g *group) add(d *crdt.Draft, key string, k int64, o *operation) (*pb.Result, error) {
	switch {
	case o == nil:
		n, err := d.AddToCounter(key, k)
		return &pb.Result{Number: n}, err
	case o.counted:
		es, err := d.Field(crdt.FieldID{Object: crdt.Object{Key: key, Type: crdt.TypeCounter}})
		return &pb.Result{Number: crdt.CounterValue(es), Flag: true}, err
	}
	n, err := d.AddOnce(key, o.id, k)
	return &pb.Result{Number: n}, err
}

// met notes a field of records that this copy may have to take its own back from.
func (c *change) met(at crdt.Position, es crdt.Entries) error {
	if !c.isSurplus(es) {
		return nil
	}
	id, err := at.FieldID()
	if err == nil {
		c.surplus = append(c.surplus, id)
	}
	return err
}

// correct takes back what this actor has counted and others have, too: in the
// batch in which the copy comes to know of it.
func (g *group) correct(c *change, d *crdt.Draft) *crdt.Draft {
	surplus := c.surplus
	c.surplus = nil
	for _, id := range surplus {
		if d.Bytes() > maxEventBytes {
			d = g.finish(c, d)
		}
		if c.err == nil {
			c.err = g.correctOne(d, id)
		}
		if es, err := d.Field(id); err == nil && c.isSurplus(es) && len(c.unsettled) < maxUnsettled {
			c.unsettled = append(c.unsettled, id)
		}
	}
	return d
}

// isSurplus says that this actor has counted an operation and another record of
// it has a lesser dot.
func (c *change) isSurplus(es crdt.Entries) bool {
	return len(es) > 1 && slices.ContainsFunc(es[1:], func(e crdt.Entry) bool { return e.Dot.Actor == c.actor })
}

// hasSurplus says that there may be something to take back now. While an event of
// this actor is applied in steps, nothing can be.
func (c *change) hasSurplus() bool {
	if len(c.surplus) > 0 && !c.mayWrite() {
		c.unsettled, c.surplus = c.surplus, nil
	}
	return len(c.surplus) > 0
}

// findUnsettled looks for what is to be taken back once the counters have heard of
// the records that stand: there may be such only while ranges are ahead of others.
func (s *shard) findUnsettled(snap store.Snapshot) error {
	s.unsettled = nil
	if s.heard.Whole() {
		return nil
	}
	c := &change{actor: s.actor}
	err := snap.Scan(shardKey('o', s.index, 0), shardEnd('o', s.index), func(key, _ []byte) error {
		at := recordedAt(slices.Clone(key))
		id, err := at.FieldID()
		if err != nil {
			return nil
		}
		es, err := readField(snap, s.index, at)
		if err == nil && c.isSurplus(es) && len(s.unsettled) < maxUnsettled {
			s.unsettled = append(s.unsettled, id)
		}
		return nil // what cannot be read is found by a scrub
	})
	return err
}

func (g *group) correctOne(d *crdt.Draft, id crdt.FieldID) error {
	corrected, err := d.CorrectOperation(id.Key, operationOf(id))
	if corrected {
		g.loop.replica.counters.operationsCorrected.Add(1)
	}
	return err
}

// census is what the owners of a shard were last heard to have.
type census struct {
	when        time.Time
	least, most crdt.VersionVector // what all have heard, and what any has
}

// forget removes records, now and then, until the replica stops.
func (r *Replica) forget() {
	ticks := time.NewTicker(max(minForgetPause, r.options.OperationMemory/forgetsPerMemory))
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			r.forgetOperations()
		case <-r.stopping:
			return
		}
	}
}

// forgetOperations removes the records that nobody will ask for any more.
func (r *Replica) forgetOperations() {
	for _, s := range r.shards {
		if !s.whole() {
			continue
		}
		heard := r.settledCensus(s)
		if heard == nil {
			continue
		}
		for from := shardKey('o', s.index, 0); from != nil; {
			step := func(l *loop) (err error) {
				from, err = l.forgetSome(s, heard, from)
				return err
			}
			if err := r.submitAndWait(r.tasks, task{shard: s, alone: step}); err != nil {
				if r.tasks.Err() == nil {
					r.log.Error("records of operations could not be removed", "shard", s.index, "error", err)
				}
				break
			}
		}
	}
}

// settledCensus returns what all owners of a shard had heard at a time, once this
// copy has heard all that any of them had then; nil as long as it has not. It
// prepares the next one.
func (r *Replica) settledCensus(s *shard) *census {
	if s.census == nil || !r.State(s.index).Vector.Dominates(s.census.most) {
		fresh := r.takeCensus(s)
		if s.census == nil {
			s.census = fresh
		}
		if fresh == nil || !r.State(s.index).Vector.Dominates(s.census.most) {
			return nil
		}
	}
	settled := s.census
	s.census = r.takeCensus(s)
	return settled
}

// takeCensus returns what the owners have heard, or nil if one of them is out of
// reach, or has not spoken yet.
func (r *Replica) takeCensus(s *shard) *census {
	sets, err := r.electorates(s.index)
	if err != nil {
		return nil
	}
	owners := map[string]bool{}
	for _, byRegion := range sets {
		for _, names := range byRegion {
			for _, name := range names {
				owners[name] = true
			}
		}
	}
	own, now := r.State(s.index).Vector, r.options.Now()
	c := &census{when: now, least: own.Clone(), most: own.Clone()}
	r.peers.mu.Lock()
	defer r.peers.mu.Unlock()
	for name := range owners {
		if name == r.options.Member {
			continue
		}
		known, there := r.peers.known[name]
		state, spoken := r.peers.planner.Advertised(name, s.index)
		if !there || !spoken || now.Sub(known.heard) > max(silentIntervals*r.options.GossipInterval, silentAtLeast) {
			return nil
		}
		c.least = c.least.Meet(state.Vector)
		c.most.Join(state.Vector)
	}
	return c
}

// forgetSome looks at some records that are due, from an operation key on, and
// removes those that every owner has heard of. It returns where to go on, or nil
// at the end.
func (l *loop) forgetSome(s *shard, heard *census, from []byte) (next []byte, err error) {
	r := l.replica
	memory := r.options.OperationMemory
	due := heard.when.Add(-memory / 2)
	if oldest := r.options.Now().Add(-memory); oldest.Before(due) {
		due = oldest
	}
	g := l.newGroup()
	c := g.change(s)
	g.writer(c)
	d := g.newDraft(c)
	n := 0
	err = g.snap.Scan(from, operationsBefore(s.index, due), func(key, _ []byte) error {
		if n++; n > maxForgotten || d.Bytes() > maxEventBytes {
			next = slices.Clone(key)
			return errStop
		}
		return g.forgetRecord(c, d, slices.Clone(key), heard, memory)
	})
	if err != nil && err != errStop {
		g.snap.Close()
		return nil, unavailable(r.noted(s, err))
	}
	g.finish(c, d)
	if n == 0 {
		g.snap.Close()
		return nil, nil
	}
	return next, g.commitOne(s)
}

// forgetRecord removes a record, if every owner has heard of it. Where there are
// two, the increment that is too much is taken back by its writer first. If it does
// not do so for as long again, as when its actor has ended, it stays counted twice.
func (g *group) forgetRecord(c *change, d *crdt.Draft, key []byte, heard *census, memory time.Duration) error {
	r, at := g.loop.replica, recordedAt(key)
	id, err := at.FieldID()
	if err != nil {
		return fmt.Errorf("%w: operation key: %w", store.ErrCorrupt, err)
	}
	es, err := c.Field(at)
	if err != nil {
		return err
	}
	if len(es) == 0 { // the leaf was replaced
		c.mended, c.touched = append(c.mended, store.Write{Key: key}), true
		return nil
	}
	operation := operationOf(id)
	if slices.ContainsFunc(es, func(e crdt.Entry) bool { return !heard.least.Covers(e.Dot) }) {
		return nil
	}
	if len(es) > 1 {
		if err := g.correctOne(d, id); err != nil {
			return err
		}
		if r.options.Now().Sub(time.UnixMilli(operation.UnixMs())) < 2*memory {
			return nil
		}
		r.counters.operationsTwice.Add(uint64(len(es) - 1))
		r.log.Warn("an operation stays counted twice: the copy that has counted it last is gone", "shard", c.shard.index, "key", id.Key, "dots", fmt.Sprint(es[0].Dot, es[1].Dot))
	}
	r.counters.operationsForgotten.Add(1)
	return d.ForgetOperation(id.Key, operation)
}

// flushOperation notes records that came or went in the order of times.
func (c *change) flushOperation(batch *store.Batch, at crdt.Position, id crdt.FieldID, there bool) {
	w, ok := operationWrite(c.shard.index, at, id, there)
	switch {
	case !ok:
		return
	case there:
		batch.Put(w.Key, w.Value)
		c.recorded++
	default:
		batch.Delete(w.Key)
		c.recorded--
	}
}
