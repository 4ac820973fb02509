package replica

import (
	"fmt"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/proto"
)

// draft runs the writes that wait for a shard, in order, into as few events
// as their size allows, and applies each event as a peer will. A request is
// in one event as a whole or, if it fails, not at all.
func (g *group) draft(c *change, tasks []task) {
	g.writer(c)
	d := g.newDraft(c)
	for _, t := range tasks {
		if d.Bytes()+t.bytes > maxEventBytes && d.Bytes() > 0 {
			g.finish(c, d)
			d = g.newDraft(c)
		}
		mark := d.Mark()
		results, err := g.execute(d, t)
		if err != nil {
			d.Rollback(mark)
			c.answers = append(c.answers, func(error) { t.done(nil, err) })
			continue
		}
		c.answers = append(c.answers, func(err error) { t.done(results, err) })
	}
	g.finish(c, d)
}

func (g *group) newDraft(c *change) *crdt.Draft {
	dot := crdt.Dot{Actor: c.actor, Seq: c.heard.Vector()[c.actor] + 1}
	return crdt.NewDraft(dot, c.heard, c)
}

// finish applies what was drafted.
func (g *group) finish(c *change, d *crdt.Draft) {
	event, changed := d.Event(g.loop.replica.options.Now().UnixMilli())
	if !changed || c.failed != nil {
		return
	}
	raw := event.AppendTo(nil)
	if err := c.apply(delivered{event, raw}, "", crdt.End); err != nil {
		c.failed = fmt.Errorf("applying event %s: %w", event.Dot, err)
		return
	}
	c.broadcast = append(c.broadcast, raw)
}

// execute runs the writes of one task and returns a result for each operation.
// Reads among them are answered later, from what is on disk then.
func (g *group) execute(d *crdt.Draft, t task) ([]*proto.Result, error) {
	if t.collect != "" {
		return nil, d.CollectCounter(t.collect)
	}
	results := make([]*proto.Result, len(t.write.GetOperations()))
	for i, op := range t.write.GetOperations() {
		result, err := g.operate(d, op)
		if err != nil {
			return nil, err
		}
		results[i] = result
	}
	return results, nil
}

func (g *group) operate(d *crdt.Draft, op *proto.Operation) (*proto.Result, error) {
	key := string(op.GetKey())
	switch what := op.GetWhat().(type) {
	case *proto.Operation_CounterAdd:
		n, err := d.AddToCounter(key, what.CounterAdd)
		return &proto.Result{Number: n}, err
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
		*proto.Operation_SetMembers, *proto.Operation_RegisterGet:
		return false, nil
	}
	return false, fmt.Errorf("%w: an operation that this member does not know", crdt.ErrInvalid)
}
