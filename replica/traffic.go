package replica

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/atolldb/atoll/transport"
)

// The kinds of messages, by the first token of their subjects.
const (
	trafficEvents = iota
	trafficGossip
	trafficHeartbeats
	trafficRequests
	trafficSync
	trafficOther
	kindsOfTraffic
)

var trafficKinds = [kindsOfTraffic]string{
	trafficEvents: "events", trafficGossip: "gossip", trafficHeartbeats: "heartbeats",
	trafficRequests: "requests", trafficSync: "sync", trafficOther: "other",
}

// flow counts the bytes of one kind of messages.
type flow struct{ sent, received atomic.Uint64 }

// metered is a transport that counts the bytes of messages, without what the
// network adds to them.
type metered struct {
	transport.Transport
	member string
	flows  *[kindsOfTraffic]flow
}

func (m *metered) flow(subject string) *flow {
	first, _, _ := strings.Cut(subject, ".")
	switch first {
	case "delta":
		return &m.flows[trafficEvents]
	case transport.Gossip:
		return &m.flows[trafficGossip]
	case transport.Heartbeat:
		return &m.flows[trafficHeartbeats]
	case "kv", "fallback":
		return &m.flows[trafficRequests]
	case "sync":
		return &m.flows[trafficSync]
	}
	return &m.flows[trafficOther]
}

// Publish implements transport.Transport.
func (m *metered) Publish(subject string, data []byte) error {
	err := m.Transport.Publish(subject, data)
	if err == nil {
		m.flow(subject).sent.Add(uint64(len(data)))
	}
	return err
}

// Subscribe implements transport.Transport. What this member has published
// comes back to it, and is not counted.
func (m *metered) Subscribe(pattern string, handle func(transport.Message)) (transport.Subscription, error) {
	f := m.flow(pattern)
	return m.Transport.Subscribe(pattern, func(message transport.Message) {
		if sender(message.Data) != m.member {
			f.received.Add(uint64(len(message.Data)))
		}
		handle(message)
	})
}

// Request implements transport.Transport.
func (m *metered) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	ended := ctx.Err() != nil // before anything could be sent
	answer, err := m.Transport.Request(ctx, subject, data)
	f := m.flow(subject)
	if !ended && !wasKept(err) {
		f.sent.Add(uint64(len(data)))
	}
	f.received.Add(uint64(len(answer)))
	return answer, err
}

// wasKept says of a request that failed that it went nowhere.
func wasKept(err error) bool {
	for _, kept := range []error{transport.ErrUnreachable, transport.ErrTooLarge, transport.ErrNoResponders, transport.ErrClosed} {
		if errors.Is(err, kept) {
			return true
		}
	}
	return false
}

// Serve implements transport.Transport.
func (m *metered) Serve(pattern, group string, handle transport.Handler) (transport.Subscription, error) {
	f := m.flow(pattern)
	return m.Transport.Serve(pattern, group, func(ctx context.Context, request transport.Message) ([]byte, error) {
		f.received.Add(uint64(len(request.Data)))
		answer, err := handle(ctx, request)
		f.sent.Add(uint64(len(answer)))
		return answer, err
	})
}

// sender returns the member that a broadcast says to be of: the first field of
// all that is broadcast.
func sender(data []byte) string {
	number, kind, n := protowire.ConsumeTag(data)
	if n < 0 || number != 1 || kind != protowire.BytesType {
		return ""
	}
	name, n := protowire.ConsumeBytes(data[n:])
	if n < 0 {
		return ""
	}
	return string(name)
}
