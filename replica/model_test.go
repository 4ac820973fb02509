package replica

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store/memstore"
	"github.com/atolldb/atoll/merkle"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

// wire is a network on which nothing arrives by itself: events are kept for
// the test to deliver, questions are answered while patience lasts.
type wire struct {
	transport.Transport // of which the test needs no more than the two methods
	mu                  sync.Mutex
	deltas              []transport.Message
	members             map[string]*member // by subject
	patience            int                // questions until the network breaks
	asked               string             // the last of them
}

func (w *wire) Publish(subject string, data []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deltas = append(w.deltas, transport.Message{Subject: subject, Data: slices.Clone(data)})
	return nil
}

var errBroken = errors.New("the network is broken")

// allow lets so many questions pass from now on.
func (w *wire) allow(questions int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.patience, w.asked = questions, ""
}

// passes says whether a question passes. Who waits long for the answer asks the same
// again, which is the same question.
func (w *wire) passes(question string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if question != w.asked {
		w.asked = question
		w.patience--
	}
	return w.patience >= 0
}

func (w *wire) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case !w.passes(subject + " " + string(data)):
		return nil, errBroken
	}
	return w.members[subject].serveSync(ctx, transport.Message{Subject: subject, Data: slices.Clone(data)})
}

// deed is one operation as the truth has it: what it does, under which dot,
// and what its writer had heard.
type deed struct {
	op    *pb.Operation
	dot   crdt.Dot
	order int // in its request
	heard *crdt.Heard
}

// saw says whether the writer of d had heard another deed on a field.
func (d deed) saw(other deed, at crdt.Position) bool {
	return d.heard.At(at).Covers(other.dot) || d.dot == other.dot && d.order > other.order
}

// history is a random run of three replicas of one shard.
type history struct {
	t       *testing.T
	random  *rand.Rand
	wire    *wire
	members []*member
	deeds   []deed
	late    []func() // parts of answers that are joined later, if ever
}

// The keys of a history share a shard, and so do their objects of all types.
// They are enough for walks to go by several questions.
var (
	historyKeys  = []string{"{h}a", "{h}b", "{h}c", "{h}d", "{h}e", "{h}f", "{h}g", "{h}h"}
	historyShard = shardOf("{h}")
)

func newHistory(t *testing.T, random *rand.Rand) *history {
	h := &history{t: t, random: random, wire: &wire{members: map[string]*member{}}}
	c := &cluster{t: t}
	for _, name := range []string{"eu", "us", "ap"} {
		m := &member{cluster: c, options: testOptions(name), disk: &disk{Store: memstore.New()}}
		actors := rand.New(rand.NewPCG(random.Uint64(), 0)) // drawn from by one loop
		m.options.NewActor = func() crdt.Actor { return crdt.Actor(actors.Uint64()) }
		h.open(m)
		h.wire.members[transport.Sync(name)] = m
		h.members = append(h.members, m)
	}
	return h
}

// open opens a member so that nothing happens by itself: without Start.
func (h *history) open(m *member) {
	m.open()
	m.network.Store(&network{transport: h.wire})
}

func (h *history) restart(m *member) {
	m.stop()
	h.open(m)
}

func (h *history) close() {
	for _, m := range h.members {
		m.stop()
		audit(h.t, m.disk, m.options)
	}
	checkDots(h.t, h.members)
}

// step does one random thing.
func (h *history) step() {
	m, peer := h.members[h.random.IntN(3)], h.members[h.random.IntN(3)]
	switch n := h.random.IntN(20); {
	case n < 9:
		h.write(m)
	case n < 14:
		h.deliver(m)
	case peer == m:
	case n < 15:
		h.ask(m, 1, func() error {
			_, err := m.fetch(context.Background(), peer.options.Member, historyShard)
			return err
		})
	case n < 17:
		h.ask(m, h.random.IntN(4), func() error {
			return m.walk(context.Background(), peer.options.Member, historyShard)
		})
	case n < 19:
		h.walkInParts(m, peer)
	case len(h.late) > 0:
		i := h.random.IntN(len(h.late))
		h.late[i]()
		h.late = slices.Delete(h.late, i, i+1)
	}
}

// walkInParts walks a few questions far, and joins some of what is found at
// once, some later, and some never.
func (h *history) walkInParts(m, peer *member) {
	w := antientropy.NewWalk(m.State(historyShard).Root)
	for range 1 + h.random.IntN(4) {
		ask := w.Next()
		if ask == nil {
			return
		}
		answer, err := peer.serveWalk(&pb.Walk{Shard: uint32(historyShard), Ranges: encodeRanges(ask)})
		if err != nil {
			h.t.Fatal(err)
		}
		parts, err := decodeParts(historyShard, testShards, answer)
		if err != nil {
			h.t.Fatal(err)
		}
		snap := m.disk.Snapshot()
		found, err := w.Receive(parts, func(lo, hi crdt.Position) (merkle.Digest, error) {
			return rangeDigest(snap, m.hasher.Clone(), historyShard, lo, hi)
		})
		snap.Close()
		if err != nil {
			h.t.Fatal(err)
		}
		var now []antientropy.Part
		for _, part := range found {
			switch h.random.IntN(4) {
			case 0:
				h.late = append(h.late, func() { h.join(m, part) })
			case 1:
			default:
				now = append(now, part)
			}
		}
		h.join(m, now...)
	}
}

func (h *history) join(m *member, parts ...antientropy.Part) {
	j := &joins{parts: parts}
	if err := m.submitAndWait(context.Background(), task{shard: m.shards[historyShard], joins: j}); err != nil || j.diverged > 0 {
		h.t.Fatalf("joining %d parts: %v, %d of them diverged", len(parts), err, j.diverged)
	}
	m.idle()
}

// ask lets a member ask as many questions as the network bears.
func (h *history) ask(m *member, questions int, f func() error) {
	h.wire.allow(questions)
	if err := f(); err != nil && !errors.Is(err, errBroken) {
		h.t.Fatal(err)
	}
	m.idle()
}

// deliver brings a random event to a member, one that was sent lately as a rule.
func (h *history) deliver(m *member) {
	n := len(h.wire.deltas)
	if n == 0 {
		return
	}
	m.receiveDelta(h.wire.deltas[max(0, n-1-h.random.IntN(12))])
	m.idle()
}

func (h *history) write(m *member) {
	request := make([]*pb.Operation, 1+h.random.IntN(3))
	for i := range request {
		request[i] = h.operation()
	}
	heard, before := m.shards[historyShard].heard.Clone(), len(h.wire.deltas)
	m.do(request...)
	m.idle() // the answer comes before the event is sent
	var dot crdt.Dot
	for _, message := range h.wire.deltas[before:] {
		var delta pb.Delta
		if err := proto.Unmarshal(message.Data, &delta); err != nil {
			h.t.Fatal(err)
		}
		event, err := crdt.DecodeEvent(delta.Event)
		if err != nil {
			h.t.Fatal(err)
		}
		if dot.Actor != 0 {
			h.t.Fatalf("one request made the events %v and %v", dot, event.Dot)
		}
		dot = event.Dot
	}
	for i, op := range request {
		h.deeds = append(h.deeds, deed{op, dot, i, heard})
	}
}

func (h *history) operation() *pb.Operation {
	key := historyKeys[h.random.IntN(len(historyKeys))]
	element := func() string { return string(rune('a' + h.random.IntN(12))) }
	switch h.random.IntN(10) {
	case 0, 1:
		return incr(key, int64(h.random.IntN(20)-5))
	case 2:
		return reset(key)
	case 3, 4, 5:
		return add(key, element(), element())
	case 6:
		return remove(key, element())
	case 7, 8:
		return set(key, fmt.Sprint(h.random.Uint64()))
	default:
		return del(key, crdt.Type(h.random.IntN(4)))
	}
}

// takes says whether an operation takes away what its writer had seen of an
// object, or of one field of it.
func takes(op *pb.Operation, id crdt.FieldID) bool {
	if string(op.Key) != id.Key {
		return false
	}
	switch what := op.What.(type) {
	case *pb.Operation_CounterReset:
		return id.Type == crdt.TypeCounter
	case *pb.Operation_SetRemove:
		return id.Type == crdt.TypeSet && string(what.SetRemove.Elements[0]) == id.Name
	case *pb.Operation_RegisterSet:
		return id.Type == crdt.TypeRegister
	case *pb.Operation_Delete:
		return what.Delete.Type == 0 || crdt.Type(what.Delete.Type) == id.Type
	}
	return false
}

// lives says whether nobody who had seen what a deed brought took it away.
func (h *history) lives(d deed, id crdt.FieldID) bool {
	return !slices.ContainsFunc(h.deeds, func(other deed) bool {
		return takes(other.op, id) && other.saw(d, id.Position())
	})
}

// truth computes what a key must hold from the operations alone.
func (h *history) truth(key string) (counter int64, elements, values []string) {
	inSet := map[string]bool{}
	for _, d := range h.deeds {
		if string(d.op.Key) != key {
			continue
		}
		switch what := d.op.What.(type) {
		case *pb.Operation_CounterAdd:
			if h.lives(d, crdt.FieldID{Object: crdt.Object{Key: key, Type: crdt.TypeCounter}}) {
				counter += what.CounterAdd
			}
		case *pb.Operation_SetAdd:
			for _, e := range what.SetAdd.Elements {
				if h.lives(d, crdt.FieldID{Object: crdt.Object{Key: key, Type: crdt.TypeSet}, Name: string(e)}) {
					inSet[string(e)] = true
				}
			}
		case *pb.Operation_RegisterSet:
			if h.lives(d, crdt.FieldID{Object: crdt.Object{Key: key, Type: crdt.TypeRegister}}) {
				values = append(values, string(what.RegisterSet))
			}
		}
	}
	slices.Sort(values)
	return counter, slices.Sorted(maps.Keys(inSet)), values
}

// converge lets everybody ask everybody until all have heard the same.
func (h *history) converge() {
	for round := 0; !agree(historyShard, h.members); round++ {
		if round == 10 {
			h.t.Fatalf("no agreement: %+v, %+v, %+v", h.members[0].State(historyShard),
				h.members[1].State(historyShard), h.members[2].State(historyShard))
		}
		for _, m := range h.members {
			for _, peer := range h.members {
				if peer == m {
					continue
				}
				h.ask(m, 1000, func() error {
					ended, err := m.fetch(context.Background(), peer.options.Member, historyShard)
					if ended && err == nil {
						err = m.walk(context.Background(), peer.options.Member, historyShard)
					}
					return err
				})
			}
		}
	}
}

// check compares every member with the truth, and with a copy in memory that
// was given the same events.
func (h *history) check() {
	var first *audited
	events := map[crdt.Dot]string{}
	for _, m := range h.members {
		a := audit(h.t, m.disk, m.options)[historyShard]
		maps.Copy(events, a.log)
		if first == nil {
			first = a
		}
		for _, key := range historyKeys {
			counter, elements, values := h.truth(key)
			got := m.do(count(key), card(key))
			gotValues := m.values(key)
			slices.Sort(gotValues)
			if got[0].Number != counter || got[1].Number != int64(len(elements)) ||
				!slices.Equal(m.elements(key), elements) || !slices.Equal(gotValues, values) {
				h.t.Errorf("%s: %s is %d, %v, %v; in truth %d, %v, %v", m.options.Member, key,
					got[0].Number, m.elements(key), gotValues, counter, elements, values)
			}
		}
	}
	model := replayed(h.t, events)
	if v := first.heard.Vector(); model.Heard().Vector().Compare(v) != crdt.Equal {
		h.t.Errorf("the model heard %v, the replicas %v", model.Heard().Vector(), v)
	}
	if want := fieldsOf(model); !slices.Equal(want, printed(first.fields)) {
		h.t.Errorf("the model holds %v, the replicas %v", want, first.fields)
	}
}

// replayed returns a copy in memory to which all events were applied.
func replayed(t testing.TB, events map[crdt.Dot]string) *crdt.State {
	t.Helper()
	model := crdt.NewState()
	for len(events) > 0 {
		before := len(events)
		for dot, raw := range events {
			event, err := crdt.DecodeEvent([]byte(raw))
			if err != nil {
				t.Fatal(err)
			}
			switch err := model.Apply(event); {
			case err == nil:
				delete(events, dot)
			case !errors.Is(err, crdt.ErrNotReady):
				t.Fatal(err)
			}
		}
		if len(events) == before {
			t.Fatalf("%d events wait for others that nobody has", before)
		}
	}
	return model
}

// TestModel runs random operations under random delivery, where walks end
// half-way and events come late, twice and in any order.
func TestModel(t *testing.T) {
	seed := rand.Uint64()
	for run := range scaled(120, 30) {
		t.Run(fmt.Sprintf("seed %d/%d", seed, run), func(t *testing.T) {
			h := newHistory(t, rand.New(rand.NewPCG(seed, uint64(run))))
			defer h.close()
			for range 20 + h.random.IntN(250) {
				h.step()
			}
			h.converge()
			h.check()
			for _, key := range historyKeys {
				h.members[0].do(del(key, 0))
			}
			h.converge()
			h.settle()
			for _, m := range h.members {
				m.checkNothingAlive()
			}
		})
		if t.Failed() {
			return
		}
	}
}

// settle lets everybody tidy up, and hear of it.
func (h *history) settle() {
	for range 3 {
		h.converge()
	}
}

// checkNothingAlive checks that after all objects were deleted nothing is left
// but dead contributions of actors that have ended.
func (m *member) checkNothingAlive() {
	t := m.cluster.t
	t.Helper()
	snap := m.disk.Snapshot()
	defer snap.Close()
	actor := m.shards[historyShard].actor
	visit(t, snap, 'e', historyShard, func(key, value []byte) {
		id, _ := crdt.DecodePosition(crdt.Position(key))
		es, _ := crdt.DecodeEntries(id.Type, value)
		for _, e := range es {
			if c, ok := e.Payload.(crdt.Contribution); !ok || !c.Dead() || e.Dot.Actor == actor {
				t.Errorf("%s still holds %v: %v", m.options.Member, id, e)
			}
		}
	})
}

// Between comparing a range and joining it, an event may come the effect of
// which the peer has had and lost again: the digests were equal before, and the
// range must be compared anew.
func TestCompareAndJoinAreOne(t *testing.T) {
	h := newHistory(t, seeded(t))
	defer h.close()
	eu, us := h.members[0], h.members[1]
	us.do(add("{h}a", "x"))
	us.do(remove("{h}a", "x"))
	us.idle()
	answer, err := us.serveWalk(&pb.Walk{Shard: uint32(historyShard), Ranges: encodeRanges(antientropy.NewWalk(merkle.Digest{}).Next())})
	if err != nil {
		t.Fatal(err)
	}
	parts, err := decodeParts(historyShard, testShards, answer)
	if err != nil || len(parts) != 1 || parts[0].Complete || parts[0].Digest != (merkle.Digest{}) {
		t.Fatalf("two empty copies: %+v, %v", parts, err)
	}
	eu.receiveDelta(h.wire.deltas[0])
	eu.idle()
	if n := eu.number(card("{h}a")); n != 1 {
		t.Fatalf("%d elements", n)
	}
	j := &joins{parts: parts}
	if err := eu.submitAndWait(t.Context(), task{shard: eu.shards[historyShard], joins: j}); err != nil || len(j.again) != 1 {
		t.Errorf("%v, to compare again: %+v", err, j.again)
	}
	h.converge()
	if n := eu.number(card("{h}a")); n != 0 {
		t.Errorf("%d elements are back", n)
	}
}
