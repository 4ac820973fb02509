package memnet

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Link is how messages travel from one region to another.
type Link struct {
	// Delay is the least time a message takes, Jitter what chance adds to it.
	Delay, Jitter time.Duration
	// Reorder lets a message with little jitter overtake one with more of the
	// same publisher. Without it each publisher's order is kept, as by NATS.
	Reorder bool
	// Loss is the probability, 0 to 1, that a message or an answer is lost,
	// Repeat that a publication arrives twice.
	Loss, Repeat float64
}

func (l Link) validate() error {
	if l.Delay < 0 || l.Jitter < 0 {
		return fmt.Errorf("memnet: delay %v and jitter %v must not be negative", l.Delay, l.Jitter)
	}
	if !(l.Loss >= 0 && l.Loss <= 1 && l.Repeat >= 0 && l.Repeat <= 1) {
		return fmt.Errorf("memnet: loss %v and repeat %v must be between 0 and 1", l.Loss, l.Repeat)
	}
	return nil
}

// path is the way of one member's messages into one other region. It is
// guarded by network.mu.
type path struct {
	network *Network
	regions pair
	faults  *rand.Rand
	ordered []crossing // under way, oldest first; without those that may overtake
}

// crossing is one message on a path.
type crossing struct {
	count  *Traffic
	bytes  int
	arrive func() // called with network.mu held
}

// send lets c arrive once, twice or never. network.mu is held.
func (p *path) send(c crossing, repeatable bool) {
	link := p.network.link(p.regions)
	// Every message draws the same number of times, whatever the link is set
	// to, so that a change of one setting leaves the other fates alone.
	lost := p.faults.Float64() < link.Loss
	repeated := p.faults.Float64() < link.Repeat && repeatable
	first, second := p.faults.Float64(), p.faults.Float64()
	if lost || p.network.cuts[p.regions] {
		c.count.Lost++
		return
	}
	p.schedule(link, first, c)
	if repeated {
		p.schedule(link, second, c)
	}
}

func (p *path) schedule(link Link, chance float64, c crossing) {
	delay := link.Delay + time.Duration(chance*float64(link.Jitter))
	switch {
	case delay == 0 && len(p.ordered) == 0:
		p.arrive(c)
	case link.Reorder:
		p.network.options.AfterFunc(delay, func() {
			p.network.mu.Lock()
			defer p.network.mu.Unlock()
			p.arrive(c)
		})
	default:
		// Each timer brings the oldest message, whichever message set it. So
		// order holds without a clock, and no message is early: the timer of a
		// later one ends after the delay of an earlier one.
		p.ordered = append(p.ordered, c)
		p.network.options.AfterFunc(delay, func() {
			p.network.mu.Lock()
			defer p.network.mu.Unlock()
			oldest := p.ordered[0]
			p.ordered = p.ordered[1:]
			p.arrive(oldest)
		})
	}
}

func (p *path) arrive(c crossing) {
	if p.network.cuts[p.regions] { // cut while under way
		c.count.Lost++
		return
	}
	c.count.CrossedMessages++
	c.count.CrossedBytes += uint64(c.bytes)
	c.arrive()
}
