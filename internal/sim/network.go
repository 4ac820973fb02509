package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"sync"
	"time"

	"github.com/atolldb/atoll/transport"
)

// quality is how messages travel from one end to another.
type quality struct {
	delay, jitter time.Duration
	loss          int // of a thousand messages, as all numbers here
	twice         int // publications that arrive twice
	late          int // publications that others overtake
}

// way is a direction between two ends.
type way struct{ from, to string }

// network connects ends. Each message arrives at a moment of its own, an even
// number of nanoseconds: see world.
type network struct {
	chance      chance
	maxInFlight int
	labels      context.Context // of goroutines: see Run
	// panicked is told of a panic of whoever a message has reached.
	panicked func(what any, stack []byte)

	mu        sync.Mutex
	ends      []*end
	qualities map[way]quality
	ordinary  quality
	cuts      map[way]bool
	last      map[way]time.Time // arrival of the last publication in order
	hash      uint64            // of all arrivals
	tally     tally
}

// tally counts what a network did to messages.
type tally struct{ sent, lost, twice, late int }

func newNetwork(labels context.Context, c chance, ordinary quality) *network {
	return &network{
		labels: labels, chance: c, maxInFlight: 1024, ordinary: ordinary, qualities: map[way]quality{},
		cuts: map[way]bool{}, last: map[way]time.Time{},
	}
}

// end is one member's or client's transport.Transport.
type end struct {
	network      *network
	name, region string
	closed       chan struct{}
	// Guarded by network.mu.
	down          bool
	subscriptions []*subscription
	services      []*service
	inFlight      int
}

// join adds an end.
func (n *network) join(region, name string) *end {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := &end{network: n, name: name, region: region, closed: make(chan struct{})}
	n.ends = append(n.ends, e)
	return e
}

// kill takes an end off the network at once, as a crash does.
func (e *end) kill() {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	if !e.down {
		e.down = true
		close(e.closed)
		e.network.ends = slices.DeleteFunc(e.network.ends, func(o *end) bool { return o == e })
	}
}

// cut loses everything that is sent or under way from one end to another.
func (n *network) cut(w way, is bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[w] = is
}

// set changes how messages travel one way.
func (n *network) set(w way, q quality) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.qualities[w] = q
}

// heal ends all cuts, losses and disorder.
func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cuts)
	clear(n.qualities)
	n.ordinary.loss, n.ordinary.twice, n.ordinary.late = 0, 0, 0
}

func (n *network) quality(w way) quality {
	if q, ok := n.qualities[w]; ok {
		return q
	}
	return n.ordinary
}

// send brings a message to another end, or loses it. Publications keep their
// order but for those that are late. What happens to a message depends on what
// it is and when it is sent: the same twice at one moment fares the same twice,
// whichever of two goroutines is the first. n.mu is held.
func (n *network) send(from, to *end, m transport.Message, publication bool, arrive func()) {
	w := way{from.name, to.name}
	key := n.chance.draw(text(w.from), text(w.to), text(m.Subject), text(m.Data))
	c := chance(n.chance.draw(key, uint64(time.Now().UnixNano())))
	q := n.quality(w)
	if from == to {
		q = quality{}
	}
	n.tally.sent++
	if n.cuts[w] || c.happens(q.loss, 1) {
		n.tally.lost++
		return
	}
	at := time.Now().Add(q.delay + time.Duration(c.draw(2)%uint64(q.jitter+1)))
	switch {
	case !publication:
	case c.happens(q.late, 3):
		n.tally.late++
		at = at.Add(time.Duration(c.draw(4) % uint64(8*(q.delay+q.jitter)+1)))
	case at.Before(n.last[w]):
		at = n.last[w]
		fallthrough
	default:
		n.last[w] = at.Add(2)
	}
	n.arrive(at, w, to, mix(key), arrive)
	if publication && c.happens(q.twice, 5) {
		n.tally.twice++
		again := at.Add(time.Duration(c.draw(6) % uint64(4*(q.delay+q.jitter)+1)))
		n.arrive(again, w, to, mix(key+1), arrive)
	}
}

// arrive calls f at an even nanosecond not before at, unless the way is cut or
// the end gone by then.
func (n *network) arrive(at time.Time, w way, to *end, hash uint64, f func()) {
	at = at.Add(1 + time.Duration(at.Nanosecond()+1)%2)
	if !at.After(time.Now()) {
		at = at.Add(2)
	}
	time.AfterFunc(time.Until(at), func() {
		n.mu.Lock()
		gone := n.cuts[w] || to.down
		if gone {
			n.tally.lost++
		} else {
			n.hash += mix(hash ^ uint64(at.UnixNano()))
		}
		n.mu.Unlock()
		if !gone {
			n.reach(f)
		}
	})
}

// reach has a message reach its receiver. A timer's goroutine has no labels of its
// own.
func (n *network) reach(f func()) {
	pprof.SetGoroutineLabels(n.labels)
	defer func() {
		if what := recover(); what != nil {
			n.panicked(what, debug.Stack())
		}
	}()
	f()
}

// Publish implements transport.Transport.
func (e *end) Publish(subject string, data []byte) error {
	if err := check(subject, data); err != nil {
		return err
	}
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.down {
		return transport.ErrClosed
	}
	m := transport.Message{Subject: subject, Data: bytes.Clone(data)}
	for _, to := range n.ends {
		wanted := slices.ContainsFunc(to.subscriptions, func(s *subscription) bool { return transport.Match(s.pattern, subject) })
		if wanted {
			n.send(e, to, m, true, func() { to.receive(m) })
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

// subscription is one call of Subscribe.
type subscription struct {
	end     *end
	pattern string
	handle  func(transport.Message)
	mu      sync.Mutex // one message at a time
	closed  bool       // guarded by mu
}

func (e *end) receive(m transport.Message) {
	e.network.mu.Lock()
	subscriptions := slices.Clone(e.subscriptions)
	e.network.mu.Unlock()
	for _, s := range subscriptions {
		if !transport.Match(s.pattern, m.Subject) {
			continue
		}
		s.mu.Lock()
		if !s.closed {
			s.handle(transport.Message{Subject: m.Subject, Data: bytes.Clone(m.Data)})
		}
		s.mu.Unlock()
	}
}

// Subscribe implements transport.Transport.
func (e *end) Subscribe(pattern string, handle func(transport.Message)) (transport.Subscription, error) {
	if err := transport.CheckPattern(pattern); err != nil {
		return nil, err
	}
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	if e.down {
		return nil, transport.ErrClosed
	}
	s := &subscription{end: e, pattern: pattern, handle: handle}
	e.subscriptions = append(e.subscriptions, s)
	return s, nil
}

// Close implements transport.Subscription.
func (s *subscription) Close() error {
	s.end.network.mu.Lock()
	s.end.subscriptions = slices.DeleteFunc(s.end.subscriptions, func(o *subscription) bool { return o == s })
	s.end.network.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// service is one call of Serve.
type service struct {
	end            *end
	pattern, group string
	handle         transport.Handler
	ctx            context.Context
	stop           context.CancelFunc
	running        sync.WaitGroup // added to under network.mu while not closed
	closed         bool           // guarded by network.mu
}

// Serve implements transport.Transport.
func (e *end) Serve(pattern, group string, handle transport.Handler) (transport.Subscription, error) {
	if err := transport.CheckPattern(pattern); err != nil {
		return nil, err
	}
	if group != "" && transport.CheckSubject(group) != nil {
		return nil, transport.CheckSubject(group)
	}
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	if e.down {
		return nil, transport.ErrClosed
	}
	s := &service{end: e, pattern: pattern, group: group, handle: handle}
	s.ctx, s.stop = context.WithCancel(context.Background())
	e.services = append(e.services, s)
	return s, nil
}

// Close implements transport.Subscription.
func (s *service) Close() error {
	s.end.network.mu.Lock()
	s.closed = true
	s.end.services = slices.DeleteFunc(s.end.services, func(o *service) bool { return o == s })
	s.end.network.mu.Unlock()
	s.stop()
	s.running.Wait()
	return nil
}

// answer is what comes back to a requester.
type answer struct {
	data []byte
	err  error
}

// Request implements transport.Transport.
func (e *end) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	if err := errors.Join(check(subject, data), ctx.Err()); err != nil {
		return nil, err
	}
	answers, err := e.ask(transport.Message{Subject: subject, Data: bytes.Clone(data)})
	if err != nil {
		return nil, fmt.Errorf("request %q: %w", subject, err)
	}
	select {
	case a := <-answers:
		return a.data, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("request %q: %w", subject, ctx.Err())
	case <-e.closed:
		return nil, fmt.Errorf("request %q: %w", subject, transport.ErrClosed)
	}
}

func (e *end) ask(m transport.Message) (<-chan answer, error) {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.down {
		return nil, transport.ErrClosed
	}
	chosen := n.choose(e, m)
	if len(chosen) == 0 {
		return nil, transport.ErrNoResponders
	}
	answers := make(chan answer, 1)
	for _, s := range chosen {
		n.send(e, s.end, m, false, func() { s.serve(e, m, answers) })
	}
	return answers, nil
}

// choose returns a service of each group that serves the subject: one in the
// region if there is one. n.mu is held.
func (n *network) choose(from *end, m transport.Message) []*service {
	groups := map[string][]*service{}
	var names []string
	for _, e := range n.ends {
		for i, s := range e.services {
			if !transport.Match(s.pattern, m.Subject) {
				continue
			}
			group := s.group
			if group == "" {
				group = fmt.Sprint(e.name, i)
			}
			if groups[group] == nil {
				names = append(names, group)
			}
			groups[group] = append(groups[group], s)
		}
	}
	var chosen []*service
	for _, group := range names {
		near := slices.DeleteFunc(slices.Clone(groups[group]), func(s *service) bool { return s.end.region != from.region })
		if len(near) == 0 {
			near = groups[group]
		}
		chosen = append(chosen, near[n.chance.draw(text(from.name), text(m.Data), text(group), uint64(time.Now().UnixNano()))%uint64(len(near))])
	}
	return chosen
}

// serve runs the handler of a request that has arrived.
func (s *service) serve(from *end, m transport.Message, answers chan<- answer) {
	n := s.end.network
	n.mu.Lock()
	if s.closed {
		n.mu.Unlock()
		return
	}
	if s.end.inFlight >= n.maxInFlight {
		s.reply(from, m.Subject, answer{err: transport.ErrBusy}, answers)
		n.mu.Unlock()
		return
	}
	s.end.inFlight++
	s.running.Add(1)
	n.mu.Unlock()
	defer s.running.Done()
	data, err := s.handle(s.ctx, transport.Message{Subject: m.Subject, Data: bytes.Clone(m.Data)})
	switch {
	case err != nil:
		text := err.Error()
		err = errors.New(text[:min(len(text), transport.MaxErrorBytes)])
	case len(data) > transport.MaxMessageBytes:
		data, err = nil, fmt.Errorf("%w: an answer of %d bytes", transport.ErrTooLarge, len(data))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s.end.inFlight--
	s.reply(from, m.Subject, answer{data, err}, answers)
}

// reply sends an answer back. n.mu is held.
func (s *service) reply(to *end, subject string, a answer, answers chan<- answer) {
	if s.end.down {
		return
	}
	s.end.network.send(s.end, to, transport.Message{Subject: subject, Data: a.data}, false, func() {
		select {
		case answers <- a:
		default: // another one was first
		}
	})
}
