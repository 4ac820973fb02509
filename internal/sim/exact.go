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

// An exact history has clients write and read one register linearizably, and a
// counter, while all else goes on and goes wrong. What they saw is kept, to be
// compared with a register and a counter that nothing happens to. A quorum forgets if more of it lose what they
// had than it can bear, so faults begin new ages: see Outcome.Ages.

// Access is one linearizable write or read of the register.
type Access struct {
	Write    bool
	Value    string // written or seen; "": there was none
	Called   time.Duration
	Returned time.Duration // of a write that may yet take effect: never
}

// Count is one increment of the counter, acknowledged by a quorum, or one
// linearizable read of it.
type Count struct {
	Add      bool
	N        int64 // added or seen
	Called   time.Duration
	Returned time.Duration // of an increment that may yet take effect: never
}

// never is later than everything.
const never = time.Duration(1<<63 - 1)

// maxAccesses is how much there is to be put in an order.
const maxAccesses = 24

// exactShard is the shard of the register and of the counter.
const exactShard = 0

const registerPrefix, counterPrefix = "exact", "tally"

// exactKey returns a key in the shard of what is exact.
func exactKey(prefix string, shards int) []byte {
	key := prefix
	for n := 0; ring.Shard(key, shards) != exactShard; n++ {
		key = fmt.Sprint(prefix, n)
	}
	return []byte(key)
}

// AddExact adds linearizable writes and reads of one register to a history, and
// increments and linearizable reads of one counter.
func AddExact(s Schedule) Schedule {
	r := rand.New(rand.NewPCG(s.Seed, 4))
	s.Steps = slices.Clone(s.Steps)
	var span time.Duration
	for _, step := range s.Steps {
		span = max(span, step.At)
	}
	some := func(prefix string, read, write func(op *pb.Operation, n int) pb.Consistency) {
		var at time.Duration
		for n := range maxAccesses {
			if n%8 == 0 { // several at about the same time, now and then
				at = time.Duration(r.Int64N(int64(span) + 1))
			}
			at += time.Duration(r.Int64N(int64(400 * time.Millisecond)))
			op, do := &pb.Operation{Key: exactKey(prefix, s.Shards)}, read
			if r.IntN(2) == 0 {
				do = write
			}
			level := do(op, n)
			s.Steps = append(s.Steps, Step{At: at, Kind: Ask, Member: r.IntN(len(s.Members)), Shard: exactShard, Operations: []*pb.Operation{op}, Level: level})
		}
	}
	some(registerPrefix, func(op *pb.Operation, _ int) pb.Consistency {
		op.What = &pb.Operation_RegisterGet{RegisterGet: &pb.Empty{}}
		return pb.Consistency_LINEARIZABLE
	}, func(op *pb.Operation, n int) pb.Consistency {
		op.What = &pb.Operation_RegisterSet{RegisterSet: fmt.Append(nil, "x", n)}
		return pb.Consistency_LINEARIZABLE
	})
	some(counterPrefix, func(op *pb.Operation, _ int) pb.Consistency {
		op.What = &pb.Operation_CounterGet{CounterGet: &pb.Empty{}}
		return pb.Consistency_LINEARIZABLE
	}, func(op *pb.Operation, n int) pb.Consistency {
		op.What = &pb.Operation_CounterAdd{CounterAdd: 1 << n} // so that a sum tells of what
		return pb.Consistency_QUORUM
	})
	slices.SortStableFunc(s.Steps, func(a, b Step) int { return int(a.At - b.At) })
	return s
}

// isCounted says of an operation that it is about the counter.
func isCounted(op *pb.Operation) bool { return bytes.HasPrefix(op.GetKey(), []byte(counterPrefix)) }

// isExact says of a request that it is one of the linearizable ones.
func isExact(r *pb.Request) bool { return r.GetConsistency() == pb.Consistency_LINEARIZABLE }

// called notes that a client asks, and returns what is to be told of the answer.
func (w *world) called(request *pb.Request) (returned func(answer []byte, err error)) {
	op, called := request.GetOperations()[0], w.now()
	note := w.accessed
	switch {
	case isCounted(op):
		note = w.tallied
	case !isExact(request):
		return func([]byte, error) {}
	}
	return func(answer []byte, err error) {
		var said pb.Answer
		var result *pb.Result
		returned := never
		if err == nil && proto.Unmarshal(answer, &said) == nil && said.GetError() == nil {
			result, returned = said.GetResults()[0], w.now()
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.split {
			result, returned = nil, never
		}
		note(op, result, called, returned)
	}
}

// accessed takes in what came of an access of the register, no result if that is not
// known. w.mu is held.
func (w *world) accessed(op *pb.Operation, result *pb.Result, called, returned time.Duration) {
	a := Access{Called: called, Returned: returned, Value: string(op.GetRegisterSet())}
	_, a.Write = op.GetWhat().(*pb.Operation_RegisterSet)
	if all := result.GetSiblings(); !a.Write && len(all) > 0 {
		a.Value = string(all[0].GetValue())
	}
	if result != nil || a.Write { // a read that fails says nothing
		w.outcome.Accesses = append(w.outcome.Accesses, a)
	}
}

// tallied does the same for the counter. w.mu is held.
func (w *world) tallied(op *pb.Operation, result *pb.Result, called, returned time.Duration) {
	c := Count{Called: called, Returned: returned, N: op.GetCounterAdd()}
	if c.Add = c.N > 0; !c.Add {
		c.N = result.GetNumber()
	}
	if result != nil || c.Add {
		w.outcome.Counts = append(w.outcome.Counts, c)
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
