package sim

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
)

// act is what an operation does to one field, as its client meant it.
type act struct {
	event *event
	order [2]int // request and operation, in the event
	id    string // of the operation, if it has one
	adds  bool
	k     int64  // to a counter
	value string // to a register
}

// acts returns what the operations on disk do to a field.
func (w *world) acts(id crdt.FieldID) []act {
	var acts []act
	counted := map[string]bool{}
	for _, r := range w.requests {
		if r.event == nil || r.id != "" && counted[r.id+brief(r.event.Dot)] {
			continue
		}
		counted[r.id+brief(r.event.Dot)] = r.id != ""
		for i, op := range r.operations {
			if string(op.Key) != id.Key {
				continue
			}
			a := act{event: r.event, order: [2]int{r.number, i}, id: r.id}
			if a.read(id, op) {
				acts = append(acts, a)
			}
		}
	}
	return acts
}

// read takes in an operation, or returns false if it does nothing to the field.
func (a *act) read(id crdt.FieldID, op *pb.Operation) bool {
	named := func(es *pb.Elements) bool {
		return slices.ContainsFunc(es.GetElements(), func(e []byte) bool { return string(e) == id.Name })
	}
	switch what := op.What.(type) {
	case *pb.Operation_CounterAdd:
		a.adds, a.k = true, what.CounterAdd
		return id.Type == crdt.TypeCounter
	case *pb.Operation_CounterReset:
		return id.Type == crdt.TypeCounter
	case *pb.Operation_SetAdd:
		a.adds = true
		return id.Type == crdt.TypeSet && named(what.SetAdd)
	case *pb.Operation_SetRemove:
		return id.Type == crdt.TypeSet && named(what.SetRemove)
	case *pb.Operation_RegisterSet:
		a.adds, a.value = true, string(what.RegisterSet)
		return id.Type == crdt.TypeRegister
	case *pb.Operation_Delete:
		return what.Delete.Type == 0 || crdt.Type(what.Delete.Type) == id.Type
	}
	return false
}

// takes says whether an act takes away what another one added.
func (a act) takes(o act, id crdt.FieldID, at crdt.Position) bool {
	switch {
	case a.adds && id.Type != crdt.TypeRegister:
		return false
	case a.event == o.event:
		return slices.Compare(a.order[:], o.order[:]) > 0
	}
	touches := slices.ContainsFunc(a.event.Changes, func(c crdt.Change) bool { return c.Field == id }) ||
		slices.ContainsFunc(a.event.Clears, func(c crdt.Clear) bool { return c.Object == id.Object })
	return touches && a.event.saw(o.event, at)
}

// truth returns the acts that add something to a field which no other act has
// taken away, among those that were heard.
func (w *world) truth(f *field, heard crdt.VersionVector) []act {
	acts := slices.DeleteFunc(w.acts(f.id), func(a act) bool { return !covers(heard, a.event.Dot) })
	acts = slices.DeleteFunc(acts, func(a act) bool { return w.surplus(f, heard, a, acts) })
	return slices.DeleteFunc(slices.Clone(acts), func(a act) bool {
		return !a.adds || slices.ContainsFunc(acts, func(o act) bool { return o.takes(a, f.id, f.at) })
	})
}

// doubles says whether an operation was counted more than once, as far as was
// heard.
func (w *world) doubles(f *field, heard crdt.VersionVector) bool {
	counted := map[string]bool{}
	return slices.ContainsFunc(w.acts(f.id), func(a act) bool {
		if a.id == "" || !covers(heard, a.event.Dot) {
			return false
		}
		again := counted[a.id]
		counted[a.id] = true
		return again
	})
}

// checkTruth compares what a member answers to readers with what clients have
// asked for.
func (w *world) checkTruth(m *member) error {
	sets := map[crdt.Object]map[string]bool{}
	for shard, state := range m.states {
		if w.schedule.Placed && !m.owns[shard] {
			continue
		}
		for _, f := range w.record.fields[shard] {
			if f.id.Type != crdt.TypeSet && slices.ContainsFunc(f.events, func(e *event) bool { return e.onRot }) {
				continue // what was written there may be built on a value that had rotted
			}
			left := w.truth(f, state.at(f.at))
			var err error
			switch f.id.Type {
			case crdt.TypeCounter:
				err = m.checkCounter(shard, f, left)
			case crdt.TypeRegister:
				err = m.checkRegister(shard, f, left)
			case crdt.TypeSet:
				if sets[f.id.Object] == nil {
					sets[f.id.Object] = map[string]bool{}
				}
				if len(left) > 0 {
					sets[f.id.Object][f.id.Name] = true
				}
			}
			if err != nil {
				return err
			}
		}
		for _, f := range w.record.fields[shard] {
			if want, ok := sets[f.id.Object]; ok {
				delete(sets, f.id.Object)
				if err := m.checkSet(shard, f.id.Object, want); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// read asks the member itself.
func (m *member) read(shard int, op *pb.Operation) (*pb.Result, error) {
	a, err := m.replica.Do(m.world.background(), shard, &pb.Request{Operations: []*pb.Operation{op}})
	if err != nil {
		return nil, err
	}
	return a.Results[0], nil
}

func (m *member) checkCounter(shard int, f *field, left []act) error {
	got, err := m.read(shard, &pb.Operation{Key: []byte(f.id.Key), What: &pb.Operation_CounterGet{}})
	if err != nil {
		return err
	}
	return countedAs(f.id.Object, left, got)
}

func (m *member) checkRegister(shard int, f *field, left []act) error {
	got, err := m.read(shard, &pb.Operation{Key: []byte(f.id.Key), What: &pb.Operation_RegisterGet{}})
	if err != nil {
		return err
	}
	return writtenAs(f.id.Object, left, got)
}

func (m *member) checkSet(shard int, o crdt.Object, want map[string]bool) error {
	card, err := m.read(shard, &pb.Operation{Key: []byte(o.Key), What: &pb.Operation_SetCard{}})
	if err != nil {
		return err
	}
	got := map[string]bool{}
	for page := (&pb.Page{Limit: 7}); ; {
		r, err := m.read(shard, &pb.Operation{Key: []byte(o.Key), What: &pb.Operation_SetMembers{SetMembers: page}})
		if err != nil {
			return err
		}
		for _, v := range r.Values {
			got[string(v)] = true
		}
		if len(r.More) == 0 {
			break
		}
		page = &pb.Page{Limit: 7, After: bytes.Clone(r.More)}
	}
	if !maps.Equal(got, want) || int(card.Number) != len(want) {
		return fmt.Errorf("%s reads %d: %q; the adds that no removal has seen are %q", o, card.Number,
			slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	return nil
}
