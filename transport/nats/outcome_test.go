package nats

import (
	"errors"
	"fmt"
	"testing"

	natsgo "github.com/nats-io/nats.go"

	"github.com/atolldb/atoll/transport"
)

// What may have been sent must not pass for what was not: it would be sent
// again. When a client has found another server, requests under way end with
// ErrDisconnected, sometimes before the client is told.
func TestMeaning(t *testing.T) {
	for theirs, ours := range map[error]error{
		natsgo.ErrNoResponders:         transport.ErrNoResponders,
		natsgo.ErrMaxPayload:           transport.ErrTooLarge,
		natsgo.ErrReconnectBufExceeded: transport.ErrUnreachable,
		natsgo.ErrDisconnected:         transport.ErrInterrupted,
		natsgo.ErrConnectionClosed:     transport.ErrInterrupted,
		errors.ErrUnsupported:          errors.ErrUnsupported,
	} {
		if got := meaning(fmt.Errorf("wrapped: %w", theirs)); !errors.Is(got, ours) {
			t.Errorf("%v means %v; want %v", theirs, got, ours)
		}
	}
}
