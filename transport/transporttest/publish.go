package transporttest

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolldb/atoll/transport"
)

func publishReachesAll(t *testing.T, n Network) {
	eu1, eu2, us1 := n.Join("eu", "eu-1"), n.Join("eu", "eu-2"), n.Join("us", "us-1")
	inboxes := []*inbox{
		subscribe(t, eu1, "delta.1"), subscribe(t, eu1, "delta.1"),
		subscribe(t, eu2, "delta.1"), subscribe(t, us1, "delta.1"),
	}
	other := subscribe(t, eu1, "delta.2")
	link(t, eu1, "delta.1", inboxes...)
	link(t, eu1, "delta.2", other)

	publish(t, eu1, "delta.1", "one", "", "three")
	for _, in := range inboxes {
		in.expect(t, "one", "", "three")
	}
	publish(t, eu1, "delta.2", "other")
	if m := other.next(t); m.Subject != "delta.2" || string(m.Data) != "other" {
		t.Fatalf("subscriber of delta.2 received %q on %q", m.Data, m.Subject)
	}
}

func publishKeepsOrder(t *testing.T, n Network) {
	const count = 500
	ends := map[string]transport.Transport{
		"eu-1": n.Join("eu", "eu-1"), "eu-2": n.Join("eu", "eu-2"), "us-1": n.Join("us", "us-1"),
	}
	var inboxes []*inbox
	for _, end := range ends {
		inboxes = append(inboxes, subscribe(t, end, "delta.*"))
	}
	for _, end := range ends {
		link(t, end, "delta.0", inboxes...)
	}

	var publishers sync.WaitGroup
	for name, end := range ends {
		publishers.Go(func() {
			for i := range count {
				// Subjects alternate: order holds across them.
				if err := end.Publish(transport.Delta(i%3), []byte(fmt.Sprintf("%s %d", name, i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	publishers.Wait()
	for _, in := range inboxes {
		next := map[string]int{}
		for range count * len(ends) {
			var name string
			var i int
			if m := in.next(t); func() error { _, err := fmt.Sscan(string(m.Data), &name, &i); return err }() != nil {
				t.Fatalf("received %q", m.Data)
			}
			if i != next[name] {
				t.Fatalf("message %d of %s arrived where %d was next", i, name, next[name])
			}
			next[name]++
		}
	}
}

func publishLeavesData(t *testing.T, n Network) {
	end := n.Join("eu", "eu-1")
	first, second := subscribe(t, end, "gossip"), subscribe(t, end, "gossip")
	far := subscribe(t, n.Join("us", "us-1"), "gossip")
	link(t, end, "gossip", first, second, far)

	data := []byte("mine")
	if err := end.Publish("gossip", data); err != nil {
		t.Fatal(err)
	}
	copy(data, "none")
	m := first.next(t)
	for _, m := range []transport.Message{m, far.next(t)} {
		if string(m.Data) != "mine" {
			t.Fatalf("received %q: it changed with the publisher's buffer", m.Data)
		}
	}
	copy(m.Data, "none")
	if m := second.next(t); string(m.Data) != "mine" {
		t.Fatalf("received %q: it changed with another receiver's copy", m.Data)
	}
}

func subscribeWildcard(t *testing.T, n Network) {
	eu, us := n.Join("eu", "eu-1"), n.Join("us", "us-1")
	in := subscribe(t, eu, "delta.*")
	all := subscribe(t, eu, "*.*")
	link(t, us, "delta.9", in, all)

	subjects := []string{"delta.1", "kv.1", "delta.1.2", "delta", "delta.200"}
	for _, subject := range subjects {
		publish(t, us, subject, subject)
	}
	for in, want := range map[*inbox][]string{
		in:  {"delta.1", "delta.200"},
		all: {"delta.1", "kv.1", "delta.200"},
	} {
		var got []string
		for range want {
			got = append(got, in.next(t).Subject)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("received on %q, want %q", got, want)
		}
	}
}

func subscribeOneAtATime(t *testing.T, n Network) {
	end := n.Join("eu", "eu-1")
	var inside atomic.Int32
	done := make(chan struct{})
	_, err := end.Subscribe("delta.*", func(m transport.Message) {
		if inside.Add(1) != 1 {
			t.Error("two messages handled at once")
		}
		time.Sleep(10 * time.Microsecond) // gives a second call the chance to overlap
		inside.Add(-1)
		if string(m.Data) == "last" {
			close(done)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		publish(t, end, transport.Delta(i), "x")
	}
	publish(t, end, "delta.0", "last")
	wait(t, "the last message is handled", done)
}

func subscriptionClose(t *testing.T, n Network) {
	end := n.Join("eu", "eu-1")
	var received atomic.Int32
	entered, release := make(chan struct{}), make(chan struct{})
	finished := false
	sub, err := end.Subscribe("delta.1", func(transport.Message) {
		if received.Add(1) == 1 {
			close(entered)
			<-release
			finished = true
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	fence := subscribe(t, end, "delta.1")
	for range 3 {
		publish(t, end, "delta.1", "before")
	}
	wait(t, "the handler runs", entered)

	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if err := sub.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}()
	select {
	case <-closed:
		t.Fatal("Close returned while the handler was running")
	case <-time.After(settleFor):
	}
	close(release)
	wait(t, "Close returns", closed)
	if !finished {
		t.Fatal("Close did not wait for the handler")
	}

	count := received.Load()
	publish(t, end, "delta.1", "after")
	fence.expect(t, "before", "before", "before", "after")
	if received.Load() != count {
		t.Fatal("a message was delivered after Close")
	}
	if err := sub.Close(); err != nil {
		t.Fatalf("second Close: %v", err)
	}
}
