package sim

import (
	"strings"
	"testing"
	"unicode"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
)

// That a group of another member has the same number excuses nobody who
// acknowledges what is not on disk.
func TestAcknowledgedIsCommitted(t *testing.T) {
	add := []*pb.Operation{{Key: []byte("k"), What: &pb.Operation_CounterAdd{CounterAdd: 1}}}
	reset := []*pb.Operation{{Key: []byte("k"), What: &pb.Operation_CounterReset{CounterReset: &pb.Empty{}}}}
	for _, own := range []bool{false, true} {
		w := &world{record: newRecord([32]byte{})}
		m, other := &member{Member: Member{Name: "eu1"}, world: w}, &member{Member: Member{Name: "us1"}, world: w}
		if own {
			other = m // then the reset may have taken the increment
		}
		r := &request{member: m, operations: add, group: 3}
		w.requests = []*request{r, {member: other, operations: reset, group: 3}}
		m.answered(r, &pb.Answer{})
		if failed := w.outcome.Failure != ""; failed == own {
			t.Errorf("with a reset in the group of %s: %q", other.Name, w.outcome.Failure)
		}
	}
}

// A copy that has counted an operation may be removed while the request waits for
// other owners.
func TestCountedByARemovedCopy(t *testing.T) {
	id := crdt.NewOperationID(1, [10]byte{1})
	dot := crdt.Dot{Actor: 1001, Seq: 1}
	counted := &event{lost: true, Event: &crdt.Event{Dot: dot, Changes: []crdt.Change{
		{Field: recordOf("k", string(id[:])), Puts: []crdt.Entry{{Dot: dot, Payload: crdt.Record{Into: 1, Amount: 5}}}},
	}}}
	for _, heard := range []bool{false, true} {
		w := &world{record: newRecord([32]byte{}), schedule: Schedule{Placed: true}}
		w.record.byID[recordOf("k", string(id[:]))] = &field{events: []*event{counted}}
		m := &member{Member: Member{Name: "eu1"}, world: w, states: []*copyState{emptyState()}}
		if heard {
			m.states[0].spans[0].Vector[dot.Actor] = dot.Seq
		}
		r := &request{member: m, id: string(id[:]), operations: []*pb.Operation{
			{Key: []byte("k"), What: &pb.Operation_CounterAdd{CounterAdd: 5}},
		}}
		m.waiting = []*request{r}
		m.removed(0)
		m.answered(r, &pb.Answer{})
		if failed := w.outcome.Failure != ""; failed == heard {
			t.Errorf("counted is %v: %q", heard, w.outcome.Failure)
		}
	}
}

// What happened can be read: ids of operations are bytes, and shown as the steps
// show them.
func TestEventTextIsReadable(t *testing.T) {
	id := crdt.NewOperationID(1, [10]byte{0xd5, 0x56, 0x7f, 0x0a})
	e := &crdt.Event{Dot: crdt.Dot{Actor: 1001, Seq: 1}, Changes: []crdt.Change{{
		Field: recordOf("k", string(id[:])), Puts: []crdt.Entry{{Dot: crdt.Dot{Actor: 1001, Seq: 1}, Payload: crdt.Record{Into: 1, Amount: 5}}},
	}}}
	text := eventText(e)
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || !strings.Contains(text, "k.d5567f0a000000000000") {
		t.Errorf("%q", text)
	}
}
