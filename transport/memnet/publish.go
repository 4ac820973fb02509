package memnet

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/atolldb/atoll/transport"
)

// Publish implements transport.Transport.
func (m *Member) Publish(subject string, data []byte) error {
	if err := m.publish(subject, data); err != nil {
		return fmt.Errorf("publish %q: %w", subject, err)
	}
	return nil
}

func (m *Member) publish(subject string, data []byte) error {
	if err := check(subject, data); err != nil {
		return err
	}
	n := m.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := m.usable(); err != nil {
		return err
	}
	message := transport.Message{Subject: subject, Data: bytes.Clone(data)}
	count := n.count(subject)
	count.sent(len(data))
	n.deliver(m.region, message)

	visited := []string{m.region}
	for _, other := range n.members {
		region := other.region
		if slices.Contains(visited, region) {
			continue
		}
		visited = append(visited, region)
		if n.wanted(region, subject) {
			n.path(m, region).send(crossing{
				count:  count,
				bytes:  len(data),
				arrive: func() { n.deliver(region, message) },
			}, true)
		}
	}
	return nil
}

func check(subject string, data []byte) error {
	if err := transport.CheckSubject(subject); err != nil {
		return err
	}
	if len(data) > transport.MaxMessageBytes {
		return fmt.Errorf("%w: %d bytes", transport.ErrTooLarge, len(data))
	}
	return nil
}

// wanted says whether anybody in a region subscribes to subject. n.mu is held.
func (n *Network) wanted(region, subject string) bool {
	for _, m := range n.members {
		if m.region == region && slices.ContainsFunc(m.subscriptions, func(s *subscription) bool {
			return transport.Match(s.pattern, subject)
		}) {
			return true
		}
	}
	return false
}

// deliver queues message for all who subscribe to it in a region. n.mu is held.
func (n *Network) deliver(region string, message transport.Message) {
	for _, m := range n.members {
		if m.region != region || m.detached {
			continue
		}
		for _, s := range m.subscriptions {
			if transport.Match(s.pattern, message.Subject) {
				s.push(message)
			}
		}
	}
}

// subscription is a queue and the goroutine that empties it.
type subscription struct {
	member  *Member
	pattern string
	handle  func(transport.Message)
	wake    *sync.Cond    // on network.mu: queue or closed changed
	stopped chan struct{} // closed when the goroutine ends

	// Guarded by network.mu.
	queue  []transport.Message
	closed bool
}

// Subscribe implements transport.Transport.
func (m *Member) Subscribe(pattern string, handle func(transport.Message)) (transport.Subscription, error) {
	if err := transport.CheckPattern(pattern); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	n := m.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if m.left {
		return nil, fmt.Errorf("subscribe %q: %w", pattern, transport.ErrClosed)
	}
	s := &subscription{
		member: m, pattern: pattern, handle: handle,
		wake: sync.NewCond(&n.mu), stopped: make(chan struct{}),
	}
	m.subscriptions = append(m.subscriptions, s)
	go s.run()
	return s, nil
}

// push queues a copy of message. network.mu is held.
func (s *subscription) push(message transport.Message) {
	if len(s.queue) >= s.member.network.options.QueueMessages {
		s.member.network.count(message.Subject).Dropped++
		return
	}
	message.Data = bytes.Clone(message.Data)
	s.queue = append(s.queue, message)
	s.wake.Signal()
}

func (s *subscription) run() {
	defer close(s.stopped)
	for {
		message, ok := s.pop()
		if !ok {
			return
		}
		s.handle(message)
	}
}

func (s *subscription) pop() (transport.Message, bool) {
	s.wake.L.Lock()
	defer s.wake.L.Unlock()
	for len(s.queue) == 0 && !s.closed {
		s.wake.Wait()
	}
	if s.closed {
		return transport.Message{}, false
	}
	message := s.queue[0]
	s.queue = s.queue[1:]
	return message, true
}

// Close implements transport.Subscription.
func (s *subscription) Close() error {
	m := s.member
	m.network.mu.Lock()
	s.closed = true
	m.subscriptions = without(m.subscriptions, s)
	s.wake.Signal()
	m.network.mu.Unlock()
	<-s.stopped
	return nil
}

// without returns a new slice, so that one being ranged over stays as it is.
func without[T comparable](all []T, gone T) []T {
	return slices.DeleteFunc(slices.Clone(all), func(one T) bool { return one == gone })
}
