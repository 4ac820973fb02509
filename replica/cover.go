package replica

import (
	"errors"
	"sync"

	"github.com/atolldb/atoll/transport"
)

// coverage is what a member takes of a kind of subjects, of which each shard has
// its own: those of all shards by one pattern, or those of some by one each.
type coverage struct {
	all       string
	one       func(shard int) string
	subscribe func(pattern string) (transport.Subscription, error)

	mu     sync.Mutex
	whole  transport.Subscription
	each   map[int]transport.Subscription
	closed bool
}

// cover sees to it that the subjects of the wanted shards are taken and no
// others. What is taken in two ways for a moment is not taken twice.
func (c *coverage) cover(r *Replica, wanted func(*shard) bool) error {
	var some []int
	all := true
	for _, s := range r.shards {
		if wanted(s) {
			some = append(some, s.index)
		} else if s.index != r.System() {
			all = false
		}
	}
	closing, err := c.change(some, all)
	return errors.Join(err, closeAll(closing))
}

// change takes what is missing and returns what is to be closed.
func (c *coverage) change(some []int, all bool) (closing []transport.Subscription, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, transport.ErrClosed
	}
	if all {
		if c.whole == nil {
			if c.whole, err = c.subscribe(c.all); err != nil {
				c.whole = nil
				return nil, err
			}
		}
		return c.release(nil), nil
	}
	if c.each == nil {
		c.each = map[int]transport.Subscription{}
	}
	keep := map[int]bool{}
	for _, shard := range some {
		keep[shard] = true
		if c.each[shard] != nil {
			continue
		}
		s, err := c.subscribe(c.one(shard))
		if err != nil {
			return nil, err
		}
		c.each[shard] = s
	}
	closing = c.release(keep)
	if c.whole != nil {
		closing, c.whole = append(closing, c.whole), nil
	}
	return closing, nil
}

// release gives up the single subjects that are not to be kept.
func (c *coverage) release(keep map[int]bool) (closing []transport.Subscription) {
	for shard, s := range c.each {
		if !keep[shard] {
			closing = append(closing, s)
			delete(c.each, shard)
		}
	}
	return closing
}

// closeAll ends subscriptions, all at once. It waits for what they still handle.
func closeAll(subscriptions []transport.Subscription) error {
	errs := make([]error, len(subscriptions))
	var running sync.WaitGroup
	for i, s := range subscriptions {
		running.Go(func() { errs[i] = s.Close() })
	}
	running.Wait()
	return errors.Join(errs...)
}

// close ends all of it.
func (c *coverage) close() error {
	c.mu.Lock()
	c.closed = true
	closing := c.release(nil)
	if c.whole != nil {
		closing, c.whole = append(closing, c.whole), nil
	}
	c.mu.Unlock()
	return closeAll(closing)
}
