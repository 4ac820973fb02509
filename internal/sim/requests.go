package sim

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

// request is a request that has reached a member.
type request struct {
	number     int // in the order of arrival
	member     *member
	shard      int
	operations []*pb.Operation
	id         string // of the operation, if it has one
	level      pb.Consistency
	since      int    // the faults of copies when it came
	owners     owners // at least, when it was acknowledged
	formed     bool   // it came when all regions that were there at first had met
	hinted     bool   // in place of owners that could not be reached
	exact      bool   // it asks others before it writes: when a group takes it cannot be told
	group      int    // of the member's loop that took it, or 0
	begun      bool   // it is in a commit
	counted    bool   // under its id, by a copy that has been removed since
	event      *event // that holds its effect, once it is on disk
	before     []before
}

// watched is a member's end of the network, on which requests are seen.
type watched struct {
	*end
	member *member
}

// Serve implements transport.Transport.
func (t watched) Serve(pattern, group string, handle transport.Handler) (transport.Subscription, error) {
	if isKind(pattern, "kv") || isKind(pattern, "fallback") {
		handle = t.member.watch(handle)
	}
	if isKind(pattern, "sync") {
		handle = t.member.serve(handle)
	}
	return t.end.Serve(pattern, group, handle)
}

// Subscribe implements transport.Transport.
func (t watched) Subscribe(pattern string, handle func(transport.Message)) (transport.Subscription, error) {
	if isKind(pattern, "delta") {
		receive := handle
		handle = func(message transport.Message) {
			if !t.member.isHeld() {
				receive(message)
			}
		}
	}
	return t.end.Subscribe(pattern, handle)
}

// watch has the oracle see each request and its answer.
func (m *member) watch(handle transport.Handler) transport.Handler {
	return func(ctx context.Context, message transport.Message) ([]byte, error) {
		var asked pb.Request
		var answered pb.Answer
		if err := proto.Unmarshal(message.Data, &asked); err != nil {
			m.world.fail("request: %v", err)
		}
		if m.isHeld() {
			return nil, errors.New("sim: put back, and not met anybody yet")
		}
		r := m.arrived(message, &asked)
		known := m.world.acknowledged(r)
		data, err := handle(ctx, message)
		if err == nil {
			err = proto.Unmarshal(data, &answered)
		}
		if err != nil {
			m.world.fail("%s answers with %v", m.Name, err)
		}
		m.answered(r, &answered)
		m.checkSession(r, asked.GetAfter(), asked.GetConsistency(), &answered)
		m.checkQuorum(r, known, &answered)
		m.checkResults(r, &answered)
		m.checkTaken(r, &answered)
		return data, err
	}
}

func (m *member) arrived(message transport.Message, asked *pb.Request) *request {
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &request{
		number: len(w.requests), member: m, operations: asked.GetOperations(), id: string(asked.GetOperation()), exact: isExact(asked),
		level: asked.GetConsistency(), since: w.faults, formed: w.formed || !w.schedule.Placed,
	}
	for shard := range w.schedule.Shards {
		switch message.Subject {
		case transport.Fallback(m.Region, shard, transport.Trusted):
			r.hinted = true
			r.shard = shard
		case transport.Requests(m.Region, shard, transport.Trusted):
			r.shard = shard
		}
	}
	r.before = m.taken(r)
	w.requests = append(w.requests, r)
	if !r.exact {
		m.waiting = append(m.waiting, r)
	}
	return r
}

// answered checks that what is acknowledged is on disk.
func (m *member) answered(r *request, a *pb.Answer) {
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	m.waiting = slices.DeleteFunc(m.waiting, func(o *request) bool { return o == r })
	w.outcome.Stats.answer(a)
	if r.hinted && w.schedule.Placed && a.GetError() == nil {
		w.outcome.Stats.Hints++
	}
	if w.rots == 0 && strings.Contains(a.GetError().GetText(), store.ErrCorrupt.Error()) {
		w.failLocked("%s answers that it is damaged, and nothing has rotted: %s", m.Name, a.GetError().GetText())
	}
	if m.rotten[r.shard] && strings.Contains(a.GetError().GetText(), store.ErrCorrupt.Error()) {
		r.event = nil // refused alone, whatever was committed with it
	}
	if a.GetError() != nil || r.event != nil || r.exact || !adds(r.operations) {
		return
	}
	if r.counted || m.counted(r) {
		w.outcome.Stats.Again++
		return
	}
	for _, o := range w.requests {
		if o.member == m && o.group == r.group && o.shard == r.shard && !adds(o.operations) {
			return // it may have taken away what was added
		}
	}
	w.failLocked("%s acknowledges %s and has not committed it", m.Name, operationText(r.operations[0]))
}

// adds says that the operations leave something behind by themselves.
func adds(operations []*pb.Operation) bool {
	return !slices.ContainsFunc(operations, func(op *pb.Operation) bool {
		switch op.What.(type) {
		case *pb.Operation_CounterAdd, *pb.Operation_SetAdd, *pb.Operation_RegisterSet:
			return false
		}
		return true
	})
}

// reads says that the operations change nothing.
func reads(operations []*pb.Operation) bool {
	return !slices.ContainsFunc(operations, func(op *pb.Operation) bool {
		switch op.What.(type) {
		case *pb.Operation_CounterGet, *pb.Operation_SetCard, *pb.Operation_RegisterGet:
			return false
		}
		return true
	})
}

// writes says that none of the operations only reads.
func writes(operations []*pb.Operation) bool {
	return !slices.ContainsFunc(operations, func(op *pb.Operation) bool { return reads([]*pb.Operation{op}) })
}

// groups are the requests in a commit, by shard.
type groups map[int][]*request

// begun notes which requests are in a commit that has an own event: those of the
// group that was taken last. One of an earlier group that is still not answered
// has changed nothing, and waits for a quorum.
func (m *member) begun(writes []store.Write) groups {
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	in := groups{}
	for _, write := range writes {
		kind, shard, _ := splitKey(write.Key)
		if kind != 'l' || write.Value == nil || shard >= w.schedule.Shards {
			continue
		}
		e, _, err := decodeLogged(write.Value)
		if err == nil {
			m.checkBuilt(shard, e)
		}
		if err != nil || w.record.events[e.Dot] != nil {
			continue
		}
		for _, r := range m.waiting {
			if r.shard == shard && r.group > 0 && r.group == m.groups && !r.begun {
				r.begun = true
				in[shard] = append(in[shard], r)
			}
		}
	}
	return in
}

// wrote takes in what a member has committed.
func (m *member) wrote(writes []store.Write, in groups) {
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	states := map[int]*copyState{}
	var logged []store.Write
	for _, write := range writes {
		w.commits += mix(text(write.Key) ^ mix(text(write.Value)) ^ uint64(w.now()))
		kind, shard, rest := splitKey(write.Key)
		switch {
		case shard >= w.schedule.Shards: // the cluster's own
		case isRemoval(write):
			m.removed(shard)
		case isFounding(write):
			m.found(shard)
		case kind == 'v' && len(rest) == 0:
			state, err := decodeState(write.Value)
			if err != nil {
				w.failLocked("%s: %v", m.Name, err)
				return
			}
			states[shard] = state
		case kind == 'l' && write.Value != nil:
			logged = append(logged, write)
		}
	}
	for _, write := range logged {
		_, shard, _ := splitKey(write.Key)
		m.log(shard, write.Value, states[shard], in)
	}
	for _, write := range writes {
		delete(m.decayed, string(write.Key))
	}
	snap := m.disk.Snapshot()
	defer snap.Close()
	for shard := range m.states {
		if state := states[shard]; state != nil {
			m.compare(snap, shard, state)
		}
	}
}

// came checks that no event of a batch that comes late has the dot of another one.
func (m *member) came(writes []store.Write) {
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, write := range writes {
		kind, shard, _ := splitKey(write.Key)
		if kind != 'l' || write.Value == nil || shard >= w.schedule.Shards {
			continue
		}
		e, raw, err := decodeLogged(write.Value)
		if err != nil {
			w.failLocked("%s logs what is no event, for shard %d: %v", m.Name, shard, err)
			return
		}
		if known := w.record.events[e.Dot]; known != nil && !bytes.Equal(known.raw, raw) {
			w.failLocked("%s has failed to commit %s, and then commits %s: a dot names two events", m.Name, eventText(e), eventText(known.Event))
		}
	}
}

// log takes in an event of a commit. world.mu is held.
func (m *member) log(shard int, value []byte, state *copyState, in groups) {
	w := m.world
	decoded, raw, err := decodeLogged(value)
	switch {
	case err != nil:
		w.failLocked("%s logs what is no event, for shard %d: %v", m.Name, shard, err)
		return
	case state == nil:
		w.failLocked("%s has an event on disk, and nothing that says it has heard it: %s", m.Name, eventText(decoded))
		return
	}
	e, err := w.record.add(shard, decoded, raw, m.Name, state, w.now())
	if err != nil {
		w.failLocked("%v", err)
	}
	if e == nil {
		return
	}
	w.note(m, "commits %s", eventText(e.Event))
	e.onRot = m.rotten[shard]
	m.findExact(e)
	deletes := false
	for _, r := range in[shard] {
		if !r.countedBy(e) {
			continue
		}
		r.event = e
		deletes = deletes || slices.ContainsFunc(r.operations, func(op *pb.Operation) bool { return op.GetDelete() != nil })
	}
	if err := w.record.checkTimes(e); err != nil && !deletes && !m.rotten[shard] {
		w.failLocked("%v", err)
	}
	delete(in, shard) // an event after it tidies up
}

// compare checks a copy after a commit against the one before and against the
// record. world.mu is held.
func (m *member) compare(snap store.Snapshot, shard int, state *copyState) {
	w, before := m.world, m.states[shard]
	m.states[shard] = state
	if was, ok := m.held[shard]; ok && state.actor != was {
		delete(m.held, shard)
	}
	if m.hurt[shard] {
		m.checkForgotten(snap, shard, before, state)
	}
	if m.rotten[shard] {
		m.checkRotten(shard)
		return // it must be sound in the end
	}
	for _, f := range w.record.fields[shard] {
		now := state.at(f.at)
		w.checkCauses(m, f, before.at(f.at), now)
		for actor, seq := range before.at(f.at) {
			if now[actor] < seq && !m.hurt[shard] {
				w.failLocked("%s had heard %d:%d of %s and has forgotten it", m.Name, actor, seq, f.id.Object)
			}
		}
	}
	if err := w.record.check(snap, shard, state); err != nil {
		w.failLocked("%s, shard %d: %v", m.Name, shard, err)
	}
}

// checkCauses checks that whoever has heard an event of a field has heard what
// its writer knew of the field. w.mu is held.
func (w *world) checkCauses(m *member, f *field, before, now crdt.VersionVector) {
	for _, e := range f.events {
		if !covers(now, e.Dot) || covers(before, e.Dot) {
			continue
		}
		for actor, seq := range e.heard.at(f.at) {
			if now[actor] < seq && actor != e.Dot.Actor {
				w.failLocked("%s has heard %s of %s, and not %d:%d before it", m.Name, brief(e.Dot), f.id.Object, actor, seq)
			}
		}
	}
}
