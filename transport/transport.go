package transport

import (
	"context"
	"errors"
)

var (
	// ErrNoResponders says that nobody serves the subject right now. It comes
	// back at once, without waiting for the context to end.
	ErrNoResponders = errors.New("transport: nobody serves this subject")

	// ErrUnreachable says that this end has no connection to the network: the
	// message was not sent.
	ErrUnreachable = errors.New("transport: not connected")

	// ErrInterrupted says that the connection was lost while a request was
	// under way: whether it was served is not known.
	ErrInterrupted = errors.New("transport: connection lost before the answer")

	// ErrTooLarge says that a message exceeds MaxMessageBytes: it was not sent.
	ErrTooLarge = errors.New("transport: message too large")

	// ErrBusy says that the server of the subject had too many requests under
	// way to take this one. The request was not served; it may be sent again.
	ErrBusy = errors.New("transport: server is busy")

	// ErrBadSubject says that a subject is malformed: see CheckSubject and
	// CheckPattern.
	ErrBadSubject = errors.New("transport: malformed subject")

	// ErrClosed says that this end was closed by its owner. A request that was
	// under way then may have been served.
	ErrClosed = errors.New("transport: closed")
)

// MaxMessageBytes bounds the payload of one message in either direction.
const MaxMessageBytes = 4 << 20

// MaxErrorBytes bounds the text of a handler's error that a requester gets.
const MaxErrorBytes = 4 << 10

// Message is one message as received. Data belongs to the receiver.
type Message struct {
	Subject string
	Data    []byte
}

// Handler answers one request. The returned bytes belong to the transport
// afterwards. An error reaches the requester as an opaque error carrying its
// text (the first MaxErrorBytes of it); outcomes that a requester must tell
// apart belong into the answer. An answer over MaxMessageBytes reaches the
// requester as ErrTooLarge.
type Handler func(ctx context.Context, request Message) ([]byte, error)

// Transport is one member's end of the network. Its methods may be called
// concurrently. A subject is for publications or for requests, never for both.
// A malformed call fails with ErrBadSubject or ErrTooLarge before anything is
// sent, one on a closed end with ErrClosed.
type Transport interface {
	// Publish sends data to every subscriber of subject, this end included,
	// at most once, without waiting for any. Data may be reused once it
	// returns. While disconnected it fails with ErrUnreachable and keeps
	// nothing for later.
	Publish(subject string, data []byte) error

	// Subscribe calls handle, one message at a time and in the order received,
	// for every message published on subject, which may contain "*". The
	// handler must hand off quickly: a slow one loses messages.
	Subscribe(subject string, handle func(Message)) (Subscription, error)

	// Request sends data to one server of subject and waits for its answer. It
	// fails with ErrNoResponders, ErrUnreachable, ErrInterrupted, ErrTooLarge,
	// ErrBusy, the handler's error, or the context's; wrapped. A server that cannot be
	// reached silently shows only by the end of the context.
	Request(ctx context.Context, subject string, data []byte) ([]byte, error)

	// Serve answers requests on subject, which may contain "*". Servers of one
	// group share the requests, those in the requester's region before all
	// others; an empty group stands alone. Where several groups serve one
	// subject, each gets the request and the first answer counts. While regions
	// link up, a group that stands in several of them may serve a request once
	// in each: what must not be done twice needs a subject per region. Requests are
	// handled concurrently, up to a bound of the member beyond which they are
	// refused with ErrBusy. The context of a handler ends when the subscription
	// is closed.
	Serve(subject, group string, handle Handler) (Subscription, error)
}

// Subscription is what Subscribe and Serve return.
type Subscription interface {
	// Close ends the subscription and waits for running handlers, so it must
	// not be called from one. Nothing is delivered once it returns. It may be
	// called more than once.
	Close() error
}
