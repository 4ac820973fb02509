package sim

import (
	"fmt"
	"slices"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
)

// checkResults compares what a read is answered with what clients have asked for,
// as far as the copy had heard of it: at that moment, not just in the end.
func (m *member) checkResults(r *request, a *pb.Answer) {
	if a.GetError() != nil || r.hinted || r.exact || !reads(r.operations) {
		return
	}
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if m.rotten[r.shard] {
		return // it may show what is left of a damaged leaf
	}
	for i, op := range r.operations {
		if err := m.checkResult(r.shard, op, a.GetResults()[i]); err != nil {
			w.failLocked("%s answers a reader: %v", m.Name, err)
		}
		w.outcome.Stats.Read++
	}
}

// checkResult checks the answer to one read. w.mu is held.
func (m *member) checkResult(shard int, op *pb.Operation, got *pb.Result) error {
	o := crdt.Object{Key: string(op.Key), Type: crdt.TypeSet}
	switch op.What.(type) {
	case *pb.Operation_CounterGet:
		o.Type = crdt.TypeCounter
	case *pb.Operation_RegisterGet:
		o.Type = crdt.TypeRegister
	}
	var left []act
	fields := 0
	for _, f := range m.world.record.fields[shard] {
		if f.id.Object != o {
			continue
		}
		if slices.ContainsFunc(f.events, func(e *event) bool { return e.onRot }) {
			return nil // what was written there may be built on a value that had rotted
		}
		if m.world.doubles(f, m.states[shard].at(f.at)) {
			return nil // what is counted twice shows so until it is taken back
		}
		if remain := m.world.truth(f, m.states[shard].at(f.at)); len(remain) > 0 {
			left = append(left, remain...)
			fields++
		}
	}
	switch o.Type {
	case crdt.TypeCounter:
		return countedAs(o, left, got)
	case crdt.TypeRegister:
		return writtenAs(o, left, got)
	}
	if int(got.Number) != fields {
		return fmt.Errorf("%s has %d elements; of %d there are adds that no removal has seen", o, got.Number, fields)
	}
	return nil
}

// countedAs compares what a counter reads with the increments that no reset has
// seen.
func countedAs(o crdt.Object, left []act, got *pb.Result) error {
	var want int64
	for _, a := range left {
		want += a.k
	}
	if got.Number != want {
		return fmt.Errorf("%s reads %d; the increments that no reset has seen make %d", o, got.Number, want)
	}
	return nil
}

// writtenAs compares what a register reads with the writes that no other has seen.
func writtenAs(o crdt.Object, left []act, got *pb.Result) error {
	var values, want []string
	for i, s := range got.Siblings {
		values = append(values, string(s.Value))
		if i > 0 && s.Time > got.Siblings[i-1].Time {
			return fmt.Errorf("%s reads %q after an earlier one", o, s.Value)
		}
	}
	for _, a := range left {
		want = append(want, a.value)
	}
	slices.Sort(values)
	slices.Sort(want)
	if !slices.Equal(values, want) {
		return fmt.Errorf("%s reads %q; the writes that no other has seen are %q", o, values, want)
	}
	return nil
}
