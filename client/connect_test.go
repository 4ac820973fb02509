package client_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/transport/nats"
)

// nobody returns an address where nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// mute returns an address where somebody listens who never says a word.
func mute(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().String()
}

// stranger returns the address of a NATS server without a member.
func stranger(t *testing.T) string {
	t.Helper()
	s, err := nats.Start(t.Context(), nats.Options{Region: "eu", Name: "stranger"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.Addresses().Client
}

func TestConnectFails(t *testing.T) {
	for name, test := range map[string]struct {
		options client.Options
		kind    error
		text    string
	}{
		"no servers":       {client.Options{}, client.ErrInvalid, "it takes the host:port of a member"},
		"no port":          {client.Options{Servers: []string{"localhost"}}, client.ErrInvalid, `"localhost" is not host:port`},
		"negative timeout": {client.Options{Servers: []string{"a:1"}, Timeout: -1}, client.ErrInvalid, "timeout"},
		"nobody there":     {client.Options{Servers: []string{nobody(t)}}, client.ErrUnreachable, "unreachable: no member answers at 127.0.0.1:"},
		"nobody answers":   {client.Options{Servers: []string{mute(t)}, Timeout: 50 * time.Millisecond}, client.ErrUnreachable, "127.0.0.1:"},
		"not a member":     {client.Options{Servers: []string{stranger(t)}}, client.ErrUnreachable, "listens there has no member"},
		"a password":       {client.Options{Servers: []string{"u:secret@" + nobody(t)}}, client.ErrUnreachable, "no member answers at 127.0.0.1:"},
		"a token":          {client.Options{Servers: []string{"nats://secret@" + nobody(t)}}, client.ErrUnreachable, "no member answers at 127.0.0.1:"},
		"a token and more": {client.Options{Servers: []string{"nats://secret@127.0.0.1:1/"}}, client.ErrInvalid, `"127.0.0.1:1" is not`},
		"no user's name":   {client.Options{Servers: []string{"a*b:secret@127.0.0.1:1"}}, client.ErrInvalid, `the name of a user, "a*b"`},
		"no such name":     {client.Options{Servers: []string{"no..name:4222"}}, client.ErrUnreachable, `; the name "no..name" cannot be resolved`},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := client.Connect(t.Context(), test.options)
			if c != nil || !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v; want %v: %s, and no password", err, test.kind, test.text)
			}
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Connect(ended, client.Options{Servers: []string{mute(t)}}); !errors.Is(err, client.ErrUnreachable) || !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

// The first server that answers serves.
func TestConnectTriesAllServers(t *testing.T) {
	member := startMember(t)
	c, err := client.Connect(t.Context(), client.Options{
		Servers: []string{nobody(t), mute(t), member.Addresses().Client}, Timeout: 4 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Counter("k").Add(t.Context(), 1); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Counter("k").Add(t.Context(), 1); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("after Close: %v; want ErrUnreachable", err)
	}
}

// TestClosed: a client that is closed is of no use, with its sessions and levels, also
// within a member; that goes on, and so do its other clients.
func TestClosed(t *testing.T) {
	member := startMember(t)
	other := member.Client()
	remote, err := client.Connect(t.Context(), client.Options{Servers: []string{member.Addresses().Client}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*client.Client{"embedded": member.Client(), "remote": remote} {
		session := c.Session()
		quorum, err := c.At(client.Quorum)
		if err != nil {
			t.Fatal(err)
		}
		if err := session.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for what, call := range map[string]func(ctx context.Context) error{
			"read":     func(ctx context.Context) error { _, err := c.Counter("k").Value(ctx); return err },
			"write":    func(ctx context.Context) error { _, err := c.Counter("k").Add(ctx, 1); return err },
			"session":  func(ctx context.Context) error { _, err := session.Set("k").Add(ctx, "x"); return err },
			"quorum":   func(ctx context.Context) error { return quorum.Register("k").Set(ctx, nil) },
			"question": func(ctx context.Context) error { _, err := c.Status(ctx, "", false); return err },
			"setting":  func(ctx context.Context) error { _, err := c.SetOwners(ctx, 2); return err },
		} {
			err := call(t.Context())
			if !errors.Is(err, client.ErrUnreachable) || !strings.Contains(err.Error(), "the client is closed") {
				t.Errorf("%s, %s: %v; want ErrUnreachable, as it is closed", name, what, err)
			}
		}
	}
	if n, err := other.Counter("k").Add(t.Context(), 1); n != 1 || err != nil {
		t.Errorf("another client of the member: %d, %v", n, err)
	}
}
