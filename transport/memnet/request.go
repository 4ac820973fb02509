package memnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/atolldb/atoll/transport"
)

// service is one Serve.
type service struct {
	member         *Member
	pattern, group string
	handle         transport.Handler
	ctx            context.Context // of handlers; ends at Close
	end            context.CancelFunc
	running        sync.WaitGroup // added to only under network.mu, while not closed
	closed         bool           // guarded by network.mu
}

// call is one request under way. The first answer is taken, others are lost.
type call struct {
	from    *Member
	subject string
	count   *Traffic
	answers chan answer // of capacity 1
}

type answer struct {
	data []byte
	err  error
}

// Request implements transport.Transport.
func (m *Member) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	reply, err := m.request(ctx, subject, data)
	if err != nil {
		return nil, fmt.Errorf("request %q: %w", subject, err)
	}
	return reply, nil
}

func (m *Member) request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	if err := check(subject, data); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := m.ask(transport.Message{Subject: subject, Data: bytes.Clone(data)})
	if err != nil {
		return nil, err
	}
	select {
	case a := <-c.answers:
		return a.data, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-m.closed:
		return nil, transport.ErrClosed
	}
}

// ask sends a request on its way.
func (m *Member) ask(message transport.Message) (*call, error) {
	n := m.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := m.usable(); err != nil {
		return nil, err
	}
	chosen := n.choose(m.region, message.Subject)
	if len(chosen) == 0 {
		return nil, transport.ErrNoResponders
	}
	c := &call{from: m, subject: message.Subject, count: n.count(message.Subject), answers: make(chan answer, 1)}
	c.count.sent(len(message.Data))
	for _, s := range chosen {
		arrive := func() { s.take(c, message) }
		if s.member.region == m.region {
			arrive()
		} else {
			n.path(m, s.member.region).send(crossing{c.count, len(message.Data), arrive}, false)
		}
	}
	return c, nil
}

// choose returns one service per group that serves subject: in the region if
// there is one, else in the region with the shortest delay. n.mu is held.
func (n *Network) choose(region, subject string) []*service {
	var groups []string
	candidates := map[string][]*service{}
	for _, m := range n.members {
		if m.detached || n.cuts[pair{region, m.region}] && n.cuts[pair{m.region, region}] {
			continue
		}
		for _, s := range m.services {
			if !transport.Match(s.pattern, subject) {
				continue
			}
			group := s.group
			if group == "" {
				group = fmt.Sprintf("alone %p", s)
			}
			if candidates[group] == nil {
				groups = append(groups, group)
			}
			candidates[group] = append(candidates[group], s)
		}
	}
	var chosen []*service
	for _, group := range groups {
		near := n.nearest(region, candidates[group])
		chosen = append(chosen, near[n.choices.IntN(len(near))])
	}
	return chosen
}

// nearest returns those of services that are in the nearest region. n.mu is held.
func (n *Network) nearest(region string, services []*service) []*service {
	best := services[0].member.region
	for _, s := range services {
		there := s.member.region
		if there == region || best != region && n.link(pair{region, there}).Delay < n.link(pair{region, best}).Delay {
			best = there
		}
	}
	var near []*service
	for _, s := range services {
		if s.member.region == best {
			near = append(near, s)
		}
	}
	return near
}

// Serve implements transport.Transport.
func (m *Member) Serve(pattern, group string, handle transport.Handler) (transport.Subscription, error) {
	if err := transport.CheckPattern(pattern); err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	if group != "" {
		if err := transport.CheckSubject(group); err != nil {
			return nil, fmt.Errorf("serve %q: group: %w", pattern, err)
		}
	}
	n := m.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if m.left {
		return nil, fmt.Errorf("serve %q: %w", pattern, transport.ErrClosed)
	}
	ctx, end := context.WithCancel(context.Background())
	s := &service{member: m, pattern: pattern, group: group, handle: handle, ctx: ctx, end: end}
	m.services = append(m.services, s)
	return s, nil
}

// take starts the handler of a request that has arrived. network.mu is held.
func (s *service) take(c *call, message transport.Message) {
	m := s.member
	if s.closed || m.detached {
		c.count.Lost++
		return
	}
	if m.inFlight >= m.network.options.MaxInFlight {
		c.count.Refused++
		s.answer(c, answer{err: transport.ErrBusy})
		return
	}
	m.inFlight++
	s.running.Add(1)
	message.Data = bytes.Clone(message.Data)
	go func() {
		defer s.running.Done()
		data, err := s.handle(s.ctx, message)
		m.network.mu.Lock()
		defer m.network.mu.Unlock()
		m.inFlight--
		s.answer(c, outcome(data, err))
	}()
}

// outcome is what the requester gets of a handler's results.
func outcome(data []byte, err error) answer {
	switch {
	case err != nil:
		text := err.Error()
		if len(text) > transport.MaxErrorBytes {
			text = strings.ToValidUTF8(text[:transport.MaxErrorBytes], "")
		}
		return answer{err: errors.New(text)}
	case len(data) > transport.MaxMessageBytes:
		return answer{err: fmt.Errorf("%w: the answer has %d bytes", transport.ErrTooLarge, len(data))}
	}
	return answer{data: data}
}

// answer sends a on its way back. network.mu is held.
func (s *service) answer(c *call, a answer) {
	n := s.member.network
	if s.member.detached {
		c.count.Lost++
		return
	}
	c.count.sent(len(a.data))
	arrive := func() {
		if c.from.detached {
			c.count.Lost++
			return
		}
		select {
		case c.answers <- a:
		default: // another answer was first
		}
	}
	if s.member.region == c.from.region {
		arrive()
	} else {
		n.path(s.member, c.from.region).send(crossing{c.count, len(a.data), arrive}, false)
	}
}

// Close implements transport.Subscription.
func (s *service) Close() error {
	m := s.member
	m.network.mu.Lock()
	s.closed = true
	m.services = without(m.services, s)
	m.network.mu.Unlock()
	s.end()
	s.running.Wait()
	return nil
}
