package nats

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/atolldb/atoll/transport"
)

// handover is how long two services stand side by side when one takes over
// from the other. A server that has looked up who serves a request, and finds
// all of them gone when it delivers, drops it.
const handover = 5 * time.Millisecond

// What the services of all members are called, for nats micro ls and $SRV.
const (
	serviceName    = "atoll"
	serviceVersion = "1.0.0" // of the subjects and messages, not of the program
)

// service is the micro service of a Conn. It exists while something is served.
type service struct {
	mu        sync.Mutex
	current   micro.Service // nil if there are no endpoints
	endpoints []*endpoint

	leavingMu sync.Mutex
	leaving   map[*endpoint]bool // to be taken from it
}

// endpoint is one Serve.
type endpoint struct {
	conn    *Conn
	pattern string
	queue   string
	handle  transport.Handler
	ctx     context.Context // of handlers; ends at Close
	end     context.CancelFunc
	close   sync.Once

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // added to only under mu, while not closed

	failed, refused, handled atomic.Int64
	handling                 atomic.Int64 // nanoseconds in handlers
}

// endpointStats is what $SRV.STATS tells of an endpoint on top of what micro
// counts: micro only sees requests being handed off.
type endpointStats struct {
	Handled    int64   `json:"handled"`
	Failed     int64   `json:"failed"`
	Refused    int64   `json:"refused"`
	HandlingMs float64 `json:"handling_ms"`
}

// Serve implements transport.Transport.
func (c *Conn) Serve(pattern, group string, handle transport.Handler) (transport.Subscription, error) {
	e, err := c.serve(pattern, group, handle)
	if err != nil {
		return nil, fmt.Errorf("serve %q: %w", pattern, err)
	}
	return e, nil
}

func (c *Conn) serve(pattern, group string, handle transport.Handler) (*endpoint, error) {
	if err := transport.CheckPattern(pattern); err != nil {
		return nil, err
	}
	if group == "" {
		// A group of its own, not none: so the endpoint can move from one
		// micro service to the next without a request being served twice.
		group = "alone-" + rand.Text()
	} else if err := transport.CheckSubject(group); err != nil {
		return nil, fmt.Errorf("group: %w", err)
	}
	e := &endpoint{conn: c, pattern: pattern, queue: group, handle: handle}
	e.ctx, e.end = context.WithCancel(context.Background())

	c.service.mu.Lock()
	defer c.service.mu.Unlock()
	if c.ended.Err() != nil {
		return nil, transport.ErrClosed
	}
	if c.service.current == nil {
		current, err := c.newService([]*endpoint{e})
		if err != nil {
			return nil, err
		}
		c.service.current = current
	} else if err := addEndpoint(c.service.current, e); err != nil {
		return nil, c.meaning(err)
	}
	c.service.endpoints = append(c.service.endpoints, e)
	return e, nil
}

// newService starts a micro service with the endpoints given.
func (c *Conn) newService(endpoints []*endpoint) (micro.Service, error) {
	s, err := micro.AddService(c.requests, micro.Config{
		Name:         serviceName,
		Version:      serviceVersion,
		Description:  "geo-replicated state store",
		Metadata:     map[string]string{"member": c.name},
		StatsHandler: func(m *micro.Endpoint) any { return m.Handler.(*endpoint).stats() },
	})
	if err != nil {
		return nil, c.meaning(err)
	}
	for _, e := range endpoints {
		if err := addEndpoint(s, e); err != nil {
			_ = s.Stop()
			return nil, c.meaning(err)
		}
	}
	return s, nil
}

func addEndpoint(s micro.Service, e *endpoint) error {
	return s.AddEndpoint(endpointName(e.pattern), e,
		micro.WithEndpointSubject(e.pattern),
		micro.WithEndpointQueueGroup(e.queue),
		micro.WithEndpointPendingLimits(queueMessages, queueBytes))
}

// endpointName makes a name for tools of a pattern: kv.* becomes kv-all.
func endpointName(pattern string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-':
			return r
		case r == '.':
			return '-'
		}
		return '_'
	}, strings.ReplaceAll(pattern, "*", "all"))
}

// Handle implements micro.Handler. micro calls it for one request after the
// other, so it only decides and hands off.
func (e *endpoint) Handle(request micro.Request) {
	if request.Reply() == "" {
		return // published, not requested: nobody waits
	}
	if !e.enter() {
		e.refuse(request, codeClosed, transport.ErrNoResponders)
		return
	}
	select {
	case e.conn.inFlight <- struct{}{}:
	default:
		e.running.Done()
		e.refuse(request, codeBusy, transport.ErrBusy)
		return
	}
	go e.answer(request)
}

// enter counts a handler as running, unless the endpoint is closed.
func (e *endpoint) enter() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.running.Add(1)
	}
	return !e.closed
}

func (e *endpoint) refuse(request micro.Request, code string, err error) {
	e.refused.Add(1)
	e.conn.refused.Add(1)
	e.reply(request, failure(code, err))
}

func (e *endpoint) answer(request micro.Request) {
	defer e.running.Done()
	began := time.Now()
	data, err := e.handle(e.ctx, transport.Message{Subject: request.Subject(), Data: request.Data()})
	e.handling.Add(int64(time.Since(began)))
	e.handled.Add(1)

	reply := &natsgo.Msg{Data: data}
	switch {
	case err != nil:
		e.failed.Add(1)
		reply = failure(codeFailed, err)
	case len(data) > transport.MaxMessageBytes:
		e.failed.Add(1)
		reply = failure(codeTooLarge, fmt.Errorf("%w: the answer has %d bytes", transport.ErrTooLarge, len(data)))
	}
	// The place is free before the requester knows, so that it may go on.
	<-e.conn.inFlight
	e.reply(request, reply)
}

// reply sends m to the requester. It passes by micro.Request.Error, which
// may not be called once Handle has returned.
func (e *endpoint) reply(request micro.Request, m *natsgo.Msg) {
	m.Subject = request.Reply()
	if err := e.conn.requests.PublishMsg(m); err != nil {
		e.conn.log.Debug("answer lost", "subject", request.Subject(), "err", err)
	}
}

func (e *endpoint) stats() endpointStats {
	return endpointStats{
		Handled:    e.handled.Load(),
		Failed:     e.failed.Load(),
		Refused:    e.refused.Load(),
		HandlingMs: float64(e.handling.Load()) / float64(time.Millisecond),
	}
}

// Close implements transport.Subscription.
func (e *endpoint) Close() (err error) {
	e.close.Do(func() { err = e.conn.withdraw(e) })
	e.finish()
	if err != nil {
		return fmt.Errorf("close service of %q: %w", e.pattern, err)
	}
	return nil
}

// finish takes no more requests and waits for those under way.
func (e *endpoint) finish() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.end()
	e.running.Wait()
}

// withdraw takes one endpoint from the service. A micro service can only stop
// as a whole: so a new one takes over the others first. Endpoints that are
// withdrawn at the same time go together.
func (c *Conn) withdraw(e *endpoint) error {
	c.service.leave(e)
	c.service.mu.Lock()
	defer c.service.mu.Unlock()
	leaving := c.service.left()
	leaving[e] = true
	if c.ended.Err() != nil || !slices.Contains(c.service.endpoints, e) {
		return nil // stopServing does it, or somebody else has done it
	}
	old, rest := c.service.current, slices.DeleteFunc(slices.Clone(c.service.endpoints), func(o *endpoint) bool { return leaving[o] })
	var next micro.Service
	if len(rest) > 0 {
		var err error
		if next, err = c.newService(rest); err != nil {
			return err
		}
		c.flushRequests()
		time.Sleep(handover)
	}
	c.service.current, c.service.endpoints = next, rest
	err := old.Stop()
	c.flushRequests()
	return c.meaning(err)
}

// leave notes that an endpoint is to be taken from the service.
func (s *service) leave(e *endpoint) {
	s.leavingMu.Lock()
	defer s.leavingMu.Unlock()
	if s.leaving == nil {
		s.leaving = map[*endpoint]bool{}
	}
	s.leaving[e] = true
}

// left returns those that are to be taken from the service now.
func (s *service) left() map[*endpoint]bool {
	s.leavingMu.Lock()
	defer s.leavingMu.Unlock()
	leaving := s.leaving
	s.leaving = nil
	if leaving == nil {
		leaving = map[*endpoint]bool{}
	}
	return leaving
}

// stopServing ends all endpoints.
func (c *Conn) stopServing() {
	c.service.mu.Lock()
	current, endpoints := c.service.current, c.service.endpoints
	c.service.current, c.service.endpoints = nil, nil
	c.service.mu.Unlock()
	if current != nil {
		_ = current.Stop()
		c.flushRequests()
		time.Sleep(handover)
	}
	for _, e := range endpoints {
		e.finish()
	}
}

// flushRequests waits until the server knows that endpoints have stopped, so
// that it sends no more requests that would have to be refused.
func (c *Conn) flushRequests() {
	if c.requests.IsConnected() {
		_ = c.requests.FlushTimeout(flushTimeout)
	}
}
