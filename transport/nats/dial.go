package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/atolldb/atoll/transport"
)

const (
	dialTimeout         = 5 * time.Second
	leastDial           = time.Second // of several servers each, if there is as much
	remoteReconnectWait = 250 * time.Millisecond
)

// DialOptions configures Dial. The zero value is usable.
type DialOptions struct {
	// Name tells the connection apart in tools; "client" if empty.
	Name string
	// MaxInFlight, Logger and Lost are as in Options.
	MaxInFlight int
	Logger      *slog.Logger
	Lost        func(reason string)
}

// Dial connects to the first server that answers, in the order given, and to
// another one when that is gone. A URL is host:port or nats://host:port. With
// no server in reach it fails with transport.ErrUnreachable, after 5 s, shared
// among the servers, or when the context ends.
func Dial(ctx context.Context, urls []string, o DialOptions) (*Conn, error) {
	if err := checkURLs(urls); err != nil {
		return nil, err
	}
	if o.MaxInFlight < 0 {
		return nil, fmt.Errorf("nats: MaxInFlight: %d must not be negative", o.MaxInFlight)
	}
	if o.Name == "" {
		o.Name = "client"
	}
	defaults := Options{MaxInFlight: o.MaxInFlight, Logger: o.Logger, Lost: o.Lost}.withDefaults()

	timeout := dialTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	if n := len(urls); n > 1 { // one that says nothing must leave time for the others
		timeout = max(timeout/time.Duration(n+1), min(timeout/2, leastDial))
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("nats: connect: %w", err)
	}
	c := newConn(o.Name, defaults.MaxInFlight, defaults.Logger, defaults.Lost)
	done := make(chan error, 1)
	go func() {
		done <- c.connect(strings.Join(urls, ","), uses{events: true, requests: true},
			natsgo.DontRandomize(), natsgo.Timeout(timeout), natsgo.ReconnectWait(remoteReconnectWait))
	}()
	select {
	case err := <-done:
		if err != nil {
			return nil, fmt.Errorf("nats: %w: %s: %w", transport.ErrUnreachable, strings.Join(urls, ", "), err)
		}
		return c, nil
	case <-ctx.Done():
		go func() { // connect ends by its timeout
			if <-done == nil {
				_ = c.Close()
			}
		}()
		return nil, fmt.Errorf("nats: connect to %s: %w", strings.Join(urls, ", "), ctx.Err())
	}
}

func checkURLs(urls []string) error {
	if len(urls) == 0 {
		return errors.New("nats: no server to connect to: give at least one host:port")
	}
	for _, text := range urls {
		address := text
		if strings.Contains(text, "://") {
			u, err := url.Parse(text)
			if err != nil || u.Scheme != "nats" || u.Path != "" {
				return fmt.Errorf("nats: server %q is not host:port or nats://host:port", text)
			}
			address = u.Host
		}
		if _, _, err := splitAddress("server", address, 1); err != nil {
			return err
		}
	}
	return nil
}
