package replica

import (
	"fmt"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/proto"
)

// draft runs the writes that wait for a shard, in order, into as few events
// as their size allows, and applies each event as a peer will. A request is
// in one event as a whole or, if it fails, not at all. Before all it removes
// what resets have left of this actor's contributions, and the siblings that are
// too many, and takes back what was counted twice.
func (g *group) draft(c *change, tasks []task) {
	g.writer(c)
	d := g.newDraft(c)
	dead, crowded := c.dead, c.crowded
	c.dead, c.crowded = nil, nil
	tidy := func(keys []string, one func(*crdt.Draft, string) error) {
		for _, key := range keys {
			if d.Bytes() > maxEventBytes {
				d = g.finish(c, d)
			}
			if c.err == nil {
				c.err = one(d, key)
			}
		}
	}
	tidy(dead, (*crdt.Draft).CollectCounter)
	tidy(crowded, func(d *crdt.Draft, key string) error {
		removed, err := d.TrimRegister(key)
		g.loop.replica.crowded(c.shard.index, key, removed)
		return err
	})
	d = g.correct(c, d)
	for _, t := range tasks {
		mark := d.Mark()
		results, err := g.execute(t.shard, d, t.write)
		if err == nil && mark > 0 && d.Bytes() > maxEventBytes {
			d.Rollback(mark)
			d, mark = g.finish(c, d), 0
			results, err = g.execute(t.shard, d, t.write)
		}
		if err != nil {
			d.Rollback(mark)
		}
		c.answers = append(c.answers, answer{t.done, results, err})
	}
	g.finish(c, d)
}

// crowded tells that siblings of a register were removed, as they do not fit
// together.
func (r *Replica) crowded(shard int, key string, removed int) {
	if removed == 0 {
		return
	}
	r.counters.crowded.Add(uint64(removed))
	if repeated, due := r.crowds.Due(key, r.options.Now()); due {
		r.log.Warn("a register has more concurrent values than fit together; the earliest are removed",
			"shard", shard, "key", key, "removed", removed, "repeated", repeated)
	}
}

func (g *group) newDraft(c *change) *crdt.Draft {
	dot := crdt.Dot{Actor: c.actor, Seq: c.heard.Vector()[c.actor] + 1}
	return crdt.NewDraft(dot, c.heard, c)
}

// finish applies what was drafted, and starts the next draft.
func (g *group) finish(c *change, d *crdt.Draft) *crdt.Draft {
	event, changed := d.Event(g.loop.replica.options.Now().UnixMilli())
	if changed && c.err == nil {
		raw := event.AppendTo(make([]byte, 0, 64+20*len(event.Deps)+d.Bytes()))
		c.apply(delivered{event, raw}, "", crdt.End)
		c.events = append(c.events, raw)
	}
	return g.newDraft(c)
}

// execute runs the writes of a request and returns a result for each operation.
// Reads among them are answered later, from what is on disk then.
func (g *group) execute(s *shard, d *crdt.Draft, request *proto.Request) ([]*proto.Result, error) {
	before := d.Bytes()
	operation, err := g.begin(s, d, request)
	if err != nil {
		return nil, unavailable(err)
	}
	results := make([]*proto.Result, len(request.GetOperations()))
	for i, op := range request.GetOperations() {
		result, err := g.operate(d, op, operation)
		if err != nil {
			return nil, unavailable(err)
		}
		results[i] = result
	}
	if n := d.Bytes() - before; n > maxRequestEvent {
		return nil, fmt.Errorf("%w: this copy is catching up, and what the request takes away would make an event of %d bytes, more than %d; ask again later", ErrBusy, n, maxRequestEvent)
	}
	return results, nil
}

func (g *group) operate(d *crdt.Draft, op *proto.Operation, operation *operation) (*proto.Result, error) {
	key := string(op.GetKey())
	switch what := op.GetWhat().(type) {
	case *proto.Operation_CounterAdd:
		return g.add(d, key, what.CounterAdd, operation)
	case *proto.Operation_CounterReset:
		return &proto.Result{}, d.ResetCounter(key)
	case *proto.Operation_SetAdd:
		return forEach(what.SetAdd, key, d.AddElement)
	case *proto.Operation_SetRemove:
		return forEach(what.SetRemove, key, d.RemoveElement)
	case *proto.Operation_RegisterSet:
		now := g.loop.replica.clock.Now()
		return &proto.Result{}, d.WriteRegister(key, uint64(now), what.RegisterSet)
	case *proto.Operation_Delete:
		return g.remove(d, key, crdt.Type(what.Delete.GetType()))
	}
	return nil, nil
}

// remove deletes the object of one type, or of all types, and counts those
// that were there.
func (g *group) remove(d *crdt.Draft, key string, only crdt.Type) (*proto.Result, error) {
	var n int64
	for _, t := range crdt.Types {
		if only != 0 && t != only {
			continue
		}
		o := crdt.Object{Key: key, Type: t}
		live, err := d.Exists(o)
		if err != nil {
			return nil, err
		}
		if !live {
			continue
		}
		n++
		if err := d.Delete(o); err != nil {
			return nil, err
		}
	}
	return &proto.Result{Number: n}, nil
}

// forEach applies f to each element and counts for how many it said true.
func forEach(elements *proto.Elements, key string, f func(key, element string) (bool, error)) (*proto.Result, error) {
	var n int64
	for _, e := range elements.GetElements() {
		yes, err := f(key, string(e))
		if err != nil {
			return nil, err
		}
		if yes {
			n++
		}
	}
	return &proto.Result{Number: n}, nil
}

// isWrite says whether the operation changes anything, or an error if there
// is no such operation.
func isWrite(op *proto.Operation) (bool, error) {
	switch op.GetWhat().(type) {
	case *proto.Operation_CounterAdd, *proto.Operation_CounterReset, *proto.Operation_SetAdd,
		*proto.Operation_SetRemove, *proto.Operation_RegisterSet, *proto.Operation_Delete:
		return true, nil
	case *proto.Operation_CounterGet, *proto.Operation_SetHas, *proto.Operation_SetCard,
		*proto.Operation_SetMembers, *proto.Operation_RegisterGet, *proto.Operation_Scan:
		return false, nil
	}
	return false, fmt.Errorf("%w: an operation that this member does not know", crdt.ErrInvalid)
}
