package sim

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/ring"
	pb "github.com/atolldb/atoll/proto"
)

// An exact history has clients write and read one register linearizably while all
// else goes on and goes wrong. What they saw is kept, to be compared with one
// register that nothing happens to. A quorum forgets if more of it lose what they
// had than it can bear, so faults begin new ages: see Outcome.Ages.

// Access is one linearizable write or read of the register.
type Access struct {
	Write    bool
	Value    string // written or seen; "": there was none
	Called   time.Duration
	Returned time.Duration // of a write that may yet take effect: never
}

// never is later than everything.
const never = time.Duration(1<<63 - 1)

// maxAccesses is how much there is to be put in an order.
const maxAccesses = 24

// exactShard is the shard of the register.
const exactShard = 0

// AddExact adds linearizable writes and reads of one register to a history.
func AddExact(s Schedule) Schedule {
	r := rand.New(rand.NewPCG(s.Seed, 4))
	s.Steps = slices.Clone(s.Steps)
	var span time.Duration
	for _, step := range s.Steps {
		span = max(span, step.At)
	}
	key := "exact"
	for n := 0; ring.Shard(key, s.Shards) != exactShard; n++ {
		key = fmt.Sprint("exact", n)
	}
	var at time.Duration
	for n := range maxAccesses {
		if n%8 == 0 { // several at about the same time, now and then
			at = time.Duration(r.Int64N(int64(span) + 1))
		}
		at += time.Duration(r.Int64N(int64(400 * time.Millisecond)))
		op := &pb.Operation{Key: []byte(key), What: &pb.Operation_RegisterGet{RegisterGet: &pb.Empty{}}}
		if r.IntN(2) == 0 {
			op.What = &pb.Operation_RegisterSet{RegisterSet: fmt.Append(nil, "x", n)}
		}
		s.Steps = append(s.Steps, Step{
			At: at, Kind: Ask, Member: r.IntN(len(s.Members)),
			Operations: []*pb.Operation{op}, Level: pb.Consistency_LINEARIZABLE,
		})
	}
	slices.SortStableFunc(s.Steps, func(a, b Step) int { return int(a.At - b.At) })
	return s
}

// isExact says of a request that it is one of the linearizable ones.
func isExact(r *pb.Request) bool { return r.GetConsistency() == pb.Consistency_LINEARIZABLE }

// called notes that a client asks, and returns what is to be told of the answer.
func (w *world) called(request *pb.Request) (returned func(answer []byte, err error)) {
	if !isExact(request) {
		return func([]byte, error) {}
	}
	op, at := request.GetOperations()[0], w.now()
	a := Access{Called: at, Returned: never, Value: string(op.GetRegisterSet())}
	_, a.Write = op.GetWhat().(*pb.Operation_RegisterSet)
	return func(answer []byte, err error) {
		var said pb.Answer
		done := err == nil && proto.Unmarshal(answer, &said) == nil && said.GetError() == nil
		if done {
			a.Returned = w.now()
		}
		if done && !a.Write {
			if all := said.GetResults()[0].GetSiblings(); len(all) > 0 {
				a.Value = string(all[0].GetValue())
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if done || a.Write { // a read that fails says nothing
			w.outcome.Accesses = append(w.outcome.Accesses, a)
		}
	}
}

// findExact finds the request that has written an exact value: no two write the
// same. w.mu is held.
func (m *member) findExact(e *event) {
	for _, r := range m.world.requests {
		if !r.exact || r.member != m || r.event != nil || reads(r.operations) {
			continue
		}
		value := r.operations[0].GetRegisterSet()
		puts := func(put crdt.Entry) bool {
			sibling, ok := put.Payload.(crdt.Sibling)
			return ok && bytes.Equal(sibling.Value, value)
		}
		if slices.ContainsFunc(e.Changes, func(c crdt.Change) bool {
			return c.Field.Key == string(r.operations[0].Key) && slices.ContainsFunc(c.Puts, puts)
		}) {
			r.event = e
		}
	}
}

// age begins a new one: what was agreed on before may be forgotten. w.mu is held.
func (w *world) age() {
	w.outcome.Ages = append(w.outcome.Ages, w.now())
	w.borne = false
}

// bears says whether an age goes on when a member loses all it had: owners by a
// table bear that once, if there are two at least. Whoever died before may leave
// only one. w.mu is held.
func (w *world) bears(m *member) bool {
	regions := map[string]bool{}
	for _, o := range w.members {
		if !o.Late {
			regions[o.Region] = true
		}
		if o != m && o.dead {
			return false
		}
	}
	if !w.schedule.Placed || !w.formed || w.borne || len(regions) < 2 {
		return false
	}
	w.borne = true
	return true
}
