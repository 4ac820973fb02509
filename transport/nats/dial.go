package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
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
	// User is who asks, if there are users: answers come on subjects of its own.
	User string
	// Login, TLS and Credentials, a file as in AttachOptions, are how to log in,
	// where that is asked for. Login takes TLS: what it signs for one server, that
	// one could show another.
	Login       *Login
	TLS         *tls.Config
	Credentials string
	// MaxInFlight, Logger and Lost are as in Options.
	MaxInFlight int
	Logger      *slog.Logger
	Lost        func(reason string)
}

// options returns what the client library is told, after it has read what it
// would read when it connects.
func (o DialOptions) options() ([]natsgo.Option, error) {
	var options []natsgo.Option
	if o.User != "" {
		options = append(options, natsgo.CustomInboxPrefix(inbox(o.User)))
	}
	if o.Login != nil && o.TLS == nil {
		return nil, errors.New("nats: a login without TLS would be given to whoever answers")
	}
	if o.Login != nil {
		options = append(options, o.Login.option())
	}
	if o.TLS != nil {
		options = append(options, natsgo.Secure(o.TLS))
	}
	if o.Credentials != "" {
		option, err := fromFile("credentials", o.Credentials, credentials)
		if err != nil {
			return nil, err
		}
		options = append(options, option)
	}
	return options, nil
}

// Dial connects to the first server that answers, in the order given, and to
// another one when that is gone. A URL is host:port or nats://host:port. With
// no server in reach it fails with transport.ErrUnreachable, after 5 s, shared
// among the servers, or when the context ends; with ErrRefused, if one is there
// that does not let it in.
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

	options, err := o.options()
	if err != nil {
		return nil, err
	}
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
		done <- c.connect(listed(urls), uses{events: true, requests: true},
			append(options, natsgo.DontRandomize(), natsgo.Timeout(timeout), natsgo.ReconnectWait(remoteReconnectWait))...)
	}()
	select {
	case err := <-done:
		switch {
		case err == nil:
			return c, nil
		case refusal(err) != "":
			return nil, fmt.Errorf("nats: %s: %w: %s", hosts(urls), ErrRefused, refusal(err))
		}
		return nil, fmt.Errorf("nats: %w: %s: %w", transport.ErrUnreachable, hosts(urls), err)
	case <-ctx.Done():
		go func() { // connect ends by its timeout
			if <-done == nil {
				_ = c.Close()
			}
		}()
		return nil, fmt.Errorf("nats: connect to %s: %w", hosts(urls), ctx.Err())
	}
}

// refusal says of an error of connecting why a server that was met did not let
// this end in, or was not the one it should be; "" of other errors.
func refusal(err error) string {
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return "is not vouched for by an authority that this end knows: " + certificate.Err.Error()
	case errors.Is(err, natsgo.ErrSecureConnWanted):
		return "does not speak TLS"
	case errors.Is(err, natsgo.ErrAuthorization):
		return "does not know who logs in, or not by this key"
	}
	return ""
}

func checkURLs(urls []string) error {
	if len(urls) == 0 {
		return errors.New("nats: no server to connect to: give at least one host:port")
	}
	for _, text := range urls {
		if _, err := serverURL(text); err != nil {
			return err
		}
	}
	return nil
}
