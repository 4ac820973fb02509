package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/atolldb/atoll/transport"
)

const (
	// queueMessages and queueBytes bound what waits at one subscription; the
	// newest are dropped beyond, and Lost is called.
	queueMessages = 1 << 17
	queueBytes    = 128 << 20
	// flushTimeout bounds how long closing waits for the server.
	flushTimeout = 2 * time.Second
	// lastAnswers is how long after a connection broke its requests end: answers
	// that came just before may be on their way to those who wait.
	lastAnswers = 50 * time.Millisecond
	// reconnectJitter keeps clients from coming back all at once.
	reconnectJitter = 10 * time.Millisecond
)

// Conn is an end of the network over one or two NATS connections; it
// implements transport.Transport.
type Conn struct {
	name string // of the member or client, for tools
	log  *slog.Logger
	lost func(reason string)

	// Deltas and requests travel apart where they are many, so that neither
	// waits behind the other.
	events, requests *natsgo.Conn
	closed           []<-chan struct{} // one per connection

	ended context.Context // ends with ErrClosed when Close begins
	end   context.CancelCauseFunc
	close sync.Once

	mu            sync.Mutex
	connected     context.Context // ends with ErrInterrupted soon after requests disconnects
	disconnect    context.CancelCauseFunc
	subscriptions map[*subscription]struct{}

	service  service
	inFlight chan struct{} // a place for each request under way
	refused  atomic.Uint64
}

var _ transport.Transport = (*Conn)(nil)

// newConn returns a Conn that is yet to be connected.
func newConn(name string, maxInFlight int, log *slog.Logger, lost func(reason string)) *Conn {
	c := &Conn{
		name:          name,
		log:           log,
		lost:          lost,
		subscriptions: map[*subscription]struct{}{},
		inFlight:      make(chan struct{}, maxInFlight),
	}
	c.ended, c.end = context.WithCancelCause(context.Background())
	c.connected, c.disconnect = context.WithCancelCause(c.ended)
	return c
}

// uses says what a connection carries.
type uses struct{ events, requests bool }

// connect opens one connection. The options given come on top of those that
// every connection has.
func (c *Conn) connect(url string, uses uses, options ...natsgo.Option) error {
	closed := make(chan struct{})
	nc, err := natsgo.Connect(url, append([]natsgo.Option{
		natsgo.Name(c.name),
		natsgo.MaxReconnects(-1),
		natsgo.IgnoreAuthErrorAbort(),
		natsgo.ReconnectJitter(reconnectJitter, reconnectJitter),
		natsgo.ReconnectBufSize(-1), // or publications come late and all at once
		natsgo.PingInterval(pingInterval),
		natsgo.DisconnectErrHandler(func(_ *natsgo.Conn, err error) { c.disconnected(uses, err) }),
		natsgo.ReconnectHandler(func(*natsgo.Conn) { c.reconnected(uses) }),
		natsgo.ErrorHandler(func(_ *natsgo.Conn, sub *natsgo.Subscription, err error) { c.failed(uses, sub, err) }),
		natsgo.ClosedHandler(func(*natsgo.Conn) { close(closed) }),
	}, options...)...)
	if err != nil {
		return err
	}
	c.closed = append(c.closed, closed)
	if uses.events {
		c.events = nc
	}
	if uses.requests {
		c.requests = nc
	}
	return nil
}

func (c *Conn) disconnected(uses uses, err error) {
	if c.ended.Err() != nil {
		return
	}
	c.log.Warn("disconnected from NATS server", "events", uses.events, "requests", uses.requests, "err", err)
	if uses.requests {
		c.mu.Lock()
		interrupt := c.disconnect
		c.connected, c.disconnect = context.WithCancelCause(c.ended)
		c.mu.Unlock()
		time.AfterFunc(lastAnswers, func() { interrupt(transport.ErrInterrupted) })
	}
	if uses.events {
		c.lost("disconnected")
	}
}

func (c *Conn) reconnected(uses uses) {
	c.log.Info("reconnected to NATS server", "events", uses.events, "requests", uses.requests)
	if uses.events {
		c.lost("reconnected")
	}
}

func (c *Conn) failed(uses uses, sub *natsgo.Subscription, err error) {
	if c.ended.Err() != nil {
		return
	}
	if !errors.Is(err, natsgo.ErrSlowConsumer) || sub == nil {
		c.log.Warn("NATS connection", "err", err)
		return
	}
	dropped, _ := sub.Dropped()
	c.log.Warn("messages dropped: their handler is slow", "subject", sub.Subject, "dropped", dropped)
	if uses.events {
		c.lost("slow subscriber of " + sub.Subject)
	}
}

// Publish implements transport.Transport.
func (c *Conn) Publish(subject string, data []byte) error {
	err := c.check(subject, data)
	if err == nil {
		err = c.meaning(c.events.Publish(subject, data))
	}
	if err != nil {
		return fmt.Errorf("publish %q: %w", subject, err)
	}
	return nil
}

// Request implements transport.Transport.
func (c *Conn) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	answer, err := c.request(ctx, subject, data)
	if err != nil {
		return nil, fmt.Errorf("request %q: %w", subject, err)
	}
	return answer, nil
}

func (c *Conn) request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	if err := c.check(subject, data); err != nil {
		return nil, err
	}
	c.mu.Lock()
	connected := c.connected
	c.mu.Unlock()

	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(connected, func() { cancel(context.Cause(connected)) })
	defer stop()

	reply, err := c.requests.RequestWithContext(waiting, subject, data)
	switch {
	case err == nil:
		return outcome(reply)
	case waiting.Err() != nil && ctx.Err() == nil:
		return nil, context.Cause(waiting)
	}
	return nil, c.meaning(err)
}

// check says what is wrong with a message before it is sent.
func (c *Conn) check(subject string, data []byte) error {
	if c.ended.Err() != nil {
		return transport.ErrClosed
	}
	if err := transport.CheckSubject(subject); err != nil {
		return err
	}
	if len(data) > transport.MaxMessageBytes {
		return fmt.Errorf("%w: %d bytes", transport.ErrTooLarge, len(data))
	}
	return nil
}

func (c *Conn) meaning(err error) error {
	if err != nil && c.ended.Err() != nil {
		return transport.ErrClosed
	}
	return meaning(err)
}

// subscription is one Subscribe.
type subscription struct {
	conn   *Conn
	theirs *natsgo.Subscription

	mu     sync.Mutex // held while the handler runs
	closed bool
}

// Subscribe implements transport.Transport.
func (c *Conn) Subscribe(pattern string, handle func(transport.Message)) (transport.Subscription, error) {
	s, err := c.subscribe(pattern, handle)
	if err != nil {
		return nil, fmt.Errorf("subscribe %q: %w", pattern, err)
	}
	return s, nil
}

func (c *Conn) subscribe(pattern string, handle func(transport.Message)) (*subscription, error) {
	if err := transport.CheckPattern(pattern); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended.Err() != nil {
		return nil, transport.ErrClosed
	}
	s := &subscription{conn: c}
	theirs, err := c.events.Subscribe(pattern, func(m *natsgo.Msg) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.closed {
			handle(transport.Message{Subject: m.Subject, Data: m.Data})
		}
	})
	if err != nil {
		return nil, c.meaning(err)
	}
	if err := theirs.SetPendingLimits(queueMessages, queueBytes); err != nil {
		return nil, c.meaning(err)
	}
	s.theirs = theirs
	c.subscriptions[s] = struct{}{}
	return s, nil
}

// Close implements transport.Subscription.
func (s *subscription) Close() error {
	s.conn.mu.Lock()
	delete(s.conn.subscriptions, s)
	s.conn.mu.Unlock()

	err := s.theirs.Unsubscribe()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.conn.ended.Err() != nil {
		err = nil // the server knows, or will
	}
	s.closed = true
	if err != nil {
		return fmt.Errorf("close subscription of %q: %w", s.theirs.Subject, meaning(err))
	}
	return nil
}

// Close ends all subscriptions and requests, waits for running handlers, and
// disconnects. It must not be called from a handler; it may be called more
// than once.
func (c *Conn) Close() error {
	c.close.Do(func() {
		c.end(transport.ErrClosed)
		c.stopServing()
		c.mu.Lock()
		open := c.subscriptions
		c.subscriptions = map[*subscription]struct{}{}
		c.mu.Unlock()
		for s := range open {
			_ = s.Close()
		}
		for _, nc := range []*natsgo.Conn{c.events, c.requests} {
			if nc != nil && nc.IsConnected() {
				_ = nc.FlushTimeout(flushTimeout) // the last answers
			}
			if nc != nil {
				nc.Close()
			}
		}
		for _, closed := range c.closed {
			<-closed
		}
	})
	return nil
}
