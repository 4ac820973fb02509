package sim

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
)

// Some clients send an increment again, under the same id, whatever became of it
// before: to another region or the same, at once or after the first member has
// crashed. It counts once. Copies that have taken it without having heard of each
// other have all counted it, and all but the one of the least dot take it back,
// unless their actor has ended before they heard of it, or the record of the other
// was lost with a disk before they had pulled it.

// operations adds increments that are sent several times.
func (g *generator) operations() {
	epoch := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // where the bubble's clock starts
	for n := g.IntN(40); n > 0; n-- {
		at := g.upTo(g.span)
		s := Step{Kind: Ask, Shard: g.IntN(g.schedule.Shards)}
		for n := g.oneOf(1, 1, 2); n > 0; n-- {
			s.Operations = append(s.Operations, &pb.Operation{Key: g.key(s.Shard), What: &pb.Operation_CounterAdd{CounterAdd: int64(1 + g.IntN(1000))}})
		}
		var random [10]byte
		binary.BigEndian.PutUint64(random[:], g.Uint64())
		id := crdt.NewOperationID(epoch.Add(at).UnixMilli(), random)
		s.Operation = id[:]
		for n := g.oneOf(1, 2, 2, 3, 4); n > 0; n-- {
			s.At, s.Member = at, g.member()
			g.step(s)
			at += g.upTo([]time.Duration{5 * time.Millisecond, 200 * time.Millisecond, 2 * time.Second}[g.IntN(3)])
		}
	}
}

// recordOf returns the field in which copies record that they counted.
func recordOf(key, id string) crdt.FieldID {
	return crdt.FieldID{Object: crdt.Object{Key: key, Type: crdt.TypeOperation}, Name: id}
}

// countedBy says whether an event holds what the request adds. Of a request
// without an id that is known from the time at which it was taken.
func (r *request) countedBy(e *event) bool {
	if r.id == "" {
		return true
	}
	records := func(c crdt.Change) bool {
		return c.Field == recordOf(string(r.operations[0].Key), r.id) &&
			slices.ContainsFunc(c.Puts, func(put crdt.Entry) bool { return put.Dot == e.Dot })
	}
	return slices.ContainsFunc(e.Changes, records)
}

// counted says whether the member holds what any event has counted for the
// operation of a request. Where its disk has rotted it may have forgotten that
// since it found so. world.mu is held.
func (m *member) counted(r *request) bool {
	if r.id == "" {
		return false
	}
	for _, op := range r.operations {
		f := m.world.record.byID[recordOf(string(op.Key), r.id)]
		if f == nil {
			return false
		}
		at := crdt.FieldID{Object: crdt.Object{Key: string(op.Key), Type: crdt.TypeCounter}}.Position()
		heard := m.states[r.shard].at(at)
		if !slices.ContainsFunc(f.events, func(e *event) bool { return r.countedBy(e) && (m.hurt[r.shard] || covers(heard, e.Dot)) }) {
			return false
		}
	}
	return true
}

// surplus says of an increment whether another of its operation stands among
// those heard, and its writer had to take it back. w.mu is held.
func (w *world) surplus(f *field, heard crdt.VersionVector, a act, among []act) bool {
	if a.id == "" {
		return false
	}
	record := w.record.byID[recordOf(f.id.Key, a.id)]
	for _, m := range w.members {
		state := m.states[a.event.shard]
		stands := func(o act) bool {
			return o.id == a.id && o.event.Dot.Compare(a.event.Dot) < 0 && covers(state.at(record.at), o.event.Dot)
		}
		if state.actor == a.event.Dot.Actor && slices.ContainsFunc(among, stands) {
			return true
		}
	}
	takenBack := slices.ContainsFunc(record.events, func(e *event) bool {
		return covers(heard, e.Dot) && e.Dot.Actor == a.event.Dot.Actor && slices.ContainsFunc(e.Changes, func(c crdt.Change) bool {
			return c.Field == record.id && slices.Contains(c.Removes, a.event.Dot)
		})
	})
	if !takenBack && slices.ContainsFunc(among, func(o act) bool { return o.id == a.id && o.event.Dot.Compare(a.event.Dot) < 0 }) {
		w.outcome.Stats.Twice++
	}
	return takenBack
}

// corrections encodes what a contribution's owner has taken back and a reset has
// not seen.
func corrections(all []crdt.Correction, resetN uint64) string {
	var b strings.Builder
	for _, k := range all {
		fmt.Fprintf(&b, " %d>%d:%d", k.From, k.At, k.Amount)
	}
	return unseen(b.String(), resetN)
}

// unseen leaves out of encoded corrections what a reset has seen.
func unseen(fixed string, resetN uint64) string {
	var b strings.Builder
	for _, one := range strings.Fields(fixed) {
		var from, at uint64
		var amount int64
		if _, err := fmt.Sscanf(one, "%d>%d:%d", &from, &at, &amount); err == nil && at > resetN {
			b.WriteString(" " + one)
		}
	}
	return b.String()
}
