package nats_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
	"github.com/atolldb/atoll/transport/transporttest"
)

// A connection by Dial keeps the whole contract, too.
func TestDialConformance(t *testing.T) {
	transporttest.Run(t, func(t *testing.T) transporttest.Network {
		return &dialled{supercluster: newSupercluster(t), conns: map[string]*nats.Conn{}}
	})
}

// dialled is a supercluster whose members are clients, each of its own server.
type dialled struct {
	*supercluster
	conns map[string]*nats.Conn
}

func (d *dialled) Join(region, name string) transport.Transport {
	d.supercluster.Join(region, name)
	d.conns[name] = dial(d.t, nats.DialOptions{Name: name, MaxInFlight: transporttest.MaxInFlight}, d.members[name])
	return d.conns[name]
}

func (d *dialled) Leave(name string) {
	if err := d.conns[name].Close(); err != nil {
		d.t.Fatal(err)
	}
}

// dial connects to the first of servers, with the others to fall back on.
func dial(t *testing.T, o nats.DialOptions, servers ...*nats.Server) *nats.Conn {
	t.Helper()
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.Addresses().Client)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := nats.Dial(ctx, urls, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

func TestDialBadInput(t *testing.T) {
	for _, c := range []struct {
		urls []string
		want string
	}{
		{nil, "at least one"},
		{[]string{"here"}, "host:port"},
		{[]string{"http://127.0.0.1:80"}, "nats://"},
		{[]string{"127.0.0.1:4222", "127.0.0.1:0"}, "port"},
		{[]string{"nats://127.0.0.1:4222/path"}, "nats://host:port"},
		{[]string{"127.0.0.1:1,127.0.0.1:2"}, "127.0.0.1:1,127.0.0.1:2"},
	} {
		_, err := nats.Dial(t.Context(), c.urls, nats.DialOptions{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Dial(%q): %v, want it to say %q", c.urls, err, c.want)
		}
	}
	if _, err := nats.Dial(t.Context(), []string{"127.0.0.1:1"}, nats.DialOptions{}); !errors.Is(err, transport.ErrUnreachable) ||
		!strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("nobody there: %v, want ErrUnreachable and the address", err)
	}
	if _, err := nats.Dial(t.Context(), []string{"127.0.0.1:1"}, nats.DialOptions{MaxInFlight: -1}); err == nil {
		t.Error("MaxInFlight -1 was taken")
	}
}

// A client whose server goes away says so at once, and goes on with another.
func TestDialFailover(t *testing.T) {
	c := newSupercluster(t)
	c.Join("eu", "eu-1")
	us := c.Join("us", "us-1")
	entered := make(chan struct{}, 1)
	serve(t, us, "kv.1", "owners", func(ctx context.Context, m transport.Message) ([]byte, error) {
		if string(m.Data) == "wait" {
			entered <- struct{}{}
			<-ctx.Done()
		}
		return nil, nil
	})
	reasons := make(chan string, 10)
	client := dial(t, nats.DialOptions{Lost: func(reason string) { reasons <- reason }}, c.members["eu-1"], c.members["us-1"])
	in := make(chan string, 100)
	if _, err := client.Subscribe("gossip", func(m transport.Message) { in <- string(m.Data) }); err != nil {
		t.Fatal(err)
	}
	awaitAnswer(t, client, "kv.1")

	failed := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := client.Request(ctx, "kv.1", []byte("wait"))
		failed <- err
	}()
	<-entered
	c.Leave("eu-1")
	if err := <-failed; !errors.Is(err, transport.ErrInterrupted) {
		t.Errorf("a request under way: %v, want ErrInterrupted", err)
	}
	for _, want := range []string{"disconnected", "reconnected"} {
		select {
		case reason := <-reasons:
			if reason != want {
				t.Errorf("Lost(%q), want %q", reason, want)
			}
		case <-time.After(patience):
			t.Fatalf("Lost was not called for %q", want)
		}
	}
	awaitAnswer(t, client, "kv.1")
	eventually(t, "the subscription goes on", func() bool {
		if err := us.Publish("gossip", []byte("hello")); err != nil {
			t.Fatal(err)
		}
		select {
		case <-in:
			return true
		case <-time.After(10 * time.Millisecond):
			return false
		}
	})

	c.Leave("us-1")
	eventually(t, "sending fails at once", func() bool {
		_, err := request(t, client, "kv.1", "")
		return errors.Is(client.Publish("gossip", nil), transport.ErrUnreachable) && errors.Is(err, transport.ErrUnreachable)
	})
}
