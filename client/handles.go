package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/hlc"
	pb "github.com/atolldb/atoll/proto"
)

// Counter counts up and down. Concurrent increments in all regions add up;
// a reset takes away the increments that it has seen and no others.
type Counter struct {
	client *Client
	key    string
}

// Counter returns the handle of a counter.
func (c *Client) Counter(key string) *Counter { return &Counter{c, key} }

// Add adds k, which may be negative, and returns the value after, as the
// region sees it. Where an answer does not come it is sent again under the same id,
// to other members, too, and counts once. If ctx ends first the outcome is unknown:
// who wants to go on trying takes AddOnce. Where ids cannot be remembered it is sent
// without one, once.
func (c *Counter) Add(ctx context.Context, k int64) (int64, error) {
	ctx, cancel := c.client.bound(ctx)
	defer cancel()
	n, err := c.AddOnce(ctx, NewOperationID(), k)
	if !errors.Is(err, ErrNotRemembered) {
		return n, err
	}
	return c.AddUnnamed(ctx, k)
}

// AddUnnamed adds k under no id: also where no owner can be reached, and nobody
// could remember one. After ErrOutcomeUnknown, it may have been done or not.
func (c *Counter) AddUnnamed(ctx context.Context, k int64) (int64, error) {
	r, err := c.client.one(ctx, c.key, &pb.Operation{What: &pb.Operation_CounterAdd{CounterAdd: k}})
	return r.GetNumber(), err
}

// Value returns the value as the region sees it; a counter never written is 0.
func (c *Counter) Value(ctx context.Context) (int64, error) {
	r, err := c.client.one(ctx, c.key, &pb.Operation{What: &pb.Operation_CounterGet{CounterGet: &pb.Empty{}}})
	return r.GetNumber(), err
}

// Reset takes away the increments that the region has seen.
func (c *Counter) Reset(ctx context.Context) error {
	_, err := c.client.one(ctx, c.key, &pb.Operation{What: &pb.Operation_CounterReset{CounterReset: &pb.Empty{}}})
	return err
}

// Set is a set of strings of any bytes. Adding wins over removing at the same
// time: a removal takes what it has seen added.
type Set struct {
	client *Client
	key    string
}

// Set returns the handle of a set.
func (c *Client) Set(key string) *Set { return &Set{c, key} }

// Add puts elements into the set, all at once, and returns how many were new.
func (s *Set) Add(ctx context.Context, elements ...string) (int, error) {
	r, err := s.client.one(ctx, s.key, &pb.Operation{What: &pb.Operation_SetAdd{SetAdd: encodeElements(elements)}})
	return int(r.GetNumber()), err
}

// Remove takes elements out, all at once, and returns how many were there.
func (s *Set) Remove(ctx context.Context, elements ...string) (int, error) {
	r, err := s.client.one(ctx, s.key, &pb.Operation{What: &pb.Operation_SetRemove{SetRemove: encodeElements(elements)}})
	return int(r.GetNumber()), err
}

// Has says whether an element is in the set.
func (s *Set) Has(ctx context.Context, element string) (bool, error) {
	r, err := s.client.one(ctx, s.key, &pb.Operation{What: &pb.Operation_SetHas{SetHas: []byte(element)}})
	return r.GetFlag(), err
}

// Len returns the number of elements. It costs the same for every size.
func (s *Set) Len(ctx context.Context) (int, error) {
	r, err := s.client.one(ctx, s.key, &pb.Operation{What: &pb.Operation_SetCard{SetCard: &pb.Empty{}}})
	return int(r.GetNumber()), err
}

// Members yields the elements in no meaningful order, page by page. Elements
// that come or go meanwhile may be seen or not; each is seen once. An error is
// the last thing yielded.
func (s *Set) Members(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		var after []byte
		for {
			r, err := s.client.one(ctx, s.key, &pb.Operation{What: &pb.Operation_SetMembers{SetMembers: &pb.Page{After: after}}})
			if err != nil {
				yield("", err)
				return
			}
			for _, element := range r.GetValues() {
				if !yield(string(element), nil) {
					return
				}
			}
			more := r.GetMore()
			switch {
			case len(more) == 0:
				return
			case len(r.GetValues()) == 0 || bytes.Equal(more, after): // it would go on for ever
				yield("", fmt.Errorf("%w: a page of %d elements that leads nowhere", ErrUnavailable, len(r.GetValues())))
				return
			}
			after = more
		}
	}
}

func encodeElements(elements []string) *pb.Elements {
	encoded := &pb.Elements{Elements: make([][]byte, len(elements))}
	for i, e := range elements {
		encoded.Elements[i] = []byte(e)
	}
	return encoded
}

// Register holds one value, the last written. Values written at the same time
// in several regions stay readable as siblings until somebody who has seen
// them writes again.
type Register struct {
	client *Client
	key    string
}

// Sibling is one of the concurrent values of a register.
type Sibling struct {
	Value []byte
	// Time is when it was written, by the clock of the member that took it.
	Time time.Time
	// Actor is which copy took it.
	Actor crdt.Actor
}

// Register returns the handle of a register.
func (c *Client) Register(key string) *Register { return &Register{c, key} }

// Set writes a value of up to 1 MiB.
func (r *Register) Set(ctx context.Context, value []byte) error {
	_, err := r.client.one(ctx, r.key, &pb.Operation{What: &pb.Operation_RegisterSet{RegisterSet: value}})
	return err
}

// Get returns the latest value, or ErrNotFound.
func (r *Register) Get(ctx context.Context) ([]byte, error) {
	siblings, err := r.Siblings(ctx)
	if err != nil {
		return nil, err
	}
	return siblings[0].Value, nil
}

// Siblings returns all concurrent values, that of Get first, the others from
// latest to earliest, or ErrNotFound.
func (r *Register) Siblings(ctx context.Context) ([]Sibling, error) {
	result, err := r.client.one(ctx, r.key, &pb.Operation{What: &pb.Operation_RegisterGet{RegisterGet: &pb.Empty{}}})
	if err != nil {
		return nil, err
	}
	siblings := make([]Sibling, len(result.GetSiblings()))
	for i, s := range result.GetSiblings() {
		siblings[i] = Sibling{s.GetValue(), hlc.Timestamp(s.GetTime()).Time(), crdt.Actor(s.GetActor())}
	}
	if len(siblings) == 0 {
		return nil, fmt.Errorf("%w: no register %q%s", ErrNotFound, r.key, hint(result.GetOtherTypes()))
	}
	return siblings, nil
}

// hint names the other types that a key has.
func hint(types []uint32) string {
	if len(types) == 0 {
		return ""
	}
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = crdt.Type(t).String()
	}
	return "; the key holds a " + strings.Join(names, " and a ")
}
