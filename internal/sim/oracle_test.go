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
