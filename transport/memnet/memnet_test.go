package memnet_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/bubble"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/memnet"
)

// exchange publishes count numbered messages from eu and returns what arrived
// in us, in order. It runs in a bubble of virtual time.
func exchange(t *testing.T, options memnet.Options, count int) (arrived []int, traffic memnet.Traffic) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		n := start(t, options)
		eu, us := join(t, n, "eu", "eu-1"), join(t, n, "us", "us-1")
		if _, err := us.Subscribe("delta.*", func(m transport.Message) {
			var i int
			if _, err := fmt.Sscan(string(m.Data), &i); err != nil {
				t.Error(err)
			}
			arrived = append(arrived, i)
		}); err != nil {
			t.Fatal(err)
		}
		for i := range count {
			publish(t, eu, "delta.1", fmt.Sprint(i))
		}
		time.Sleep(time.Minute)
		bubble.Wait()
		traffic = n.Traffic("")
	})
	return arrived, traffic
}

func publish(t *testing.T, from transport.Transport, subject, text string) {
	t.Helper()
	if err := from.Publish(subject, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestFaultsFollowTheSeed(t *testing.T) {
	link := memnet.Link{Delay: time.Millisecond, Jitter: 50 * time.Millisecond, Reorder: true, Loss: 0.3, Repeat: 0.2}
	first, _ := exchange(t, memnet.Options{Seed: 1, Link: link}, 500)
	again, _ := exchange(t, memnet.Options{Seed: 1, Link: link}, 500)
	other, _ := exchange(t, memnet.Options{Seed: 2, Link: link}, 500)
	if !slices.Equal(first, again) {
		t.Error("one seed gave two histories")
	}
	if slices.Equal(first, other) {
		t.Error("two seeds gave one history")
	}
}

func TestLossAndRepeat(t *testing.T) {
	const count = 10_000
	got, traffic := exchange(t, memnet.Options{Seed: 7, Link: memnet.Link{Loss: 0.2}}, count)
	if lost := count - len(got); lost < count*18/100 || lost > count*22/100 || traffic.Lost != uint64(lost) {
		t.Errorf("lost %d of %d, counted %d", lost, count, traffic.Lost)
	}
	got, traffic = exchange(t, memnet.Options{Seed: 7, Link: memnet.Link{Repeat: 0.2}}, count)
	if more := len(got) - count; more < count*18/100 || more > count*22/100 || traffic.CrossedMessages != uint64(len(got)) {
		t.Errorf("repeated %d of %d, counted %d crossings", more, count, traffic.CrossedMessages)
	}
}

func TestOrder(t *testing.T) {
	link := memnet.Link{Delay: time.Millisecond, Jitter: time.Second}
	got, _ := exchange(t, memnet.Options{Seed: 3, Link: link}, 1000)
	if len(got) != 1000 || !slices.IsSorted(got) {
		t.Error("order was not kept")
	}
	link.Reorder = true
	got, _ = exchange(t, memnet.Options{Seed: 3, Link: link}, 1000)
	if len(got) != 1000 || slices.IsSorted(got) {
		t.Error("nothing was overtaken")
	}
}

func TestDelay(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := start(t, memnet.Options{Link: memnet.Link{Delay: 40 * time.Millisecond}})
		eu, us := join(t, n, "eu", "eu-1"), join(t, n, "us", "us-1")
		if _, err := us.Serve("kv.1", "owners", echo); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := eu.Request(t.Context(), "kv.1", nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 80*time.Millisecond {
			t.Errorf("a round trip of 2 x 40 ms took %v", took)
		}
		if _, err := us.Request(t.Context(), "kv.1", nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 80*time.Millisecond {
			t.Errorf("a round trip inside a region took %v", took-80*time.Millisecond)
		}
	})
}

func echo(_ context.Context, m transport.Message) ([]byte, error) { return m.Data, nil }

func TestOneWayCut(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := start(t, memnet.Options{})
		eu, us, ap := join(t, n, "eu", "eu-1"), join(t, n, "us", "us-1"), join(t, n, "ap", "ap-1")
		served := 0
		if _, err := us.Serve("kv.1", "owners", func(context.Context, transport.Message) ([]byte, error) {
			served++
			return nil, nil
		}); err != nil {
			t.Fatal(err)
		}
		request := func(from transport.Transport) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := from.Request(ctx, "kv.1", nil)
			bubble.Wait()
			return err
		}

		n.Cut("eu", "us")
		if err := request(eu); !errors.Is(err, context.DeadlineExceeded) || served != 0 {
			t.Errorf("request into a one-way cut: %v, served %d times", err, served)
		}
		n.Restore("eu", "us")
		n.Cut("us", "eu")
		if err := request(eu); !errors.Is(err, context.DeadlineExceeded) || served != 1 {
			t.Errorf("answer into a one-way cut: %v, served %d times", err, served)
		}
		if err := request(ap); err != nil {
			t.Errorf("another region: %v", err)
		}
		n.Cut("eu", "us")
		if err := request(eu); !errors.Is(err, transport.ErrNoResponders) {
			t.Errorf("request over a link cut both ways: %v", err)
		}
		n.RestoreRegion("eu")
		if err := request(eu); err != nil {
			t.Errorf("after the cut: %v", err)
		}
	})
}

func TestCutLosesWhatIsUnderWay(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := start(t, memnet.Options{Link: memnet.Link{Delay: time.Second}})
		eu, us := join(t, n, "eu", "eu-1"), join(t, n, "us", "us-1")
		var got []string
		if _, err := us.Subscribe("gossip", func(m transport.Message) { got = append(got, string(m.Data)) }); err != nil {
			t.Fatal(err)
		}
		publish(t, eu, "gossip", "before")
		n.Cut("eu", "us")
		publish(t, eu, "gossip", "during")
		time.Sleep(2 * time.Second)
		n.Restore("eu", "us")
		publish(t, eu, "gossip", "after")
		time.Sleep(2 * time.Second)
		bubble.Wait()
		if !slices.Equal(got, []string{"after"}) {
			t.Errorf("received %q", got)
		}
		if lost := n.Traffic("gossip").Lost; lost != 2 {
			t.Errorf("counted %d lost", lost)
		}
	})
}

func TestRequestToServiceThatEnds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := start(t, memnet.Options{Link: memnet.Link{Delay: time.Second}})
		eu, us := join(t, n, "eu", "eu-1"), join(t, n, "us", "us-1")
		served := false
		sub, err := us.Serve("kv.1", "owners", func(context.Context, transport.Message) ([]byte, error) {
			served = true
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Second / 2) // the request is under way
			if err := sub.Close(); err != nil {
				t.Error(err)
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := eu.Request(ctx, "kv.1", nil); !errors.Is(err, context.DeadlineExceeded) || served {
			t.Errorf("err = %v, served: %v", err, served)
		}
		if lost := n.Traffic("").Lost; lost != 1 {
			t.Errorf("counted %d lost", lost)
		}
	})
}

func TestQueueDrops(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := start(t, memnet.Options{QueueMessages: 3})
		eu := join(t, n, "eu", "eu-1")
		release := make(chan struct{})
		var got []string
		if _, err := eu.Subscribe("gossip", func(m transport.Message) {
			<-release
			got = append(got, string(m.Data))
		}); err != nil {
			t.Fatal(err)
		}
		publish(t, eu, "gossip", "handled")
		bubble.Wait()
		for i := range 5 {
			publish(t, eu, "gossip", fmt.Sprint(i))
		}
		close(release)
		bubble.Wait()
		if !slices.Equal(got, []string{"handled", "0", "1", "2"}) {
			t.Errorf("received %q, want the oldest", got)
		}
		if dropped := n.Traffic("").Dropped; dropped != 2 {
			t.Errorf("counted %d dropped", dropped)
		}
	})
}

func TestTraffic(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := start(t, memnet.Options{MaxInFlight: 1})
		eu := join(t, n, "eu", "eu-1")
		for _, name := range []string{"us-1", "us-2"} {
			us := join(t, n, "us", name)
			if _, err := us.Subscribe("delta.*", func(transport.Message) {}); err != nil {
				t.Fatal(err)
			}
			if _, err := us.Serve(transport.Sync(name), "", echo); err != nil {
				t.Fatal(err)
			}
		}
		join(t, n, "ap", "ap-1") // subscribes to nothing, so nothing crosses to it

		publish(t, eu, "delta.1", strings.Repeat("x", 100))
		publish(t, eu, "gossip", "nobody listens")
		if _, err := eu.Request(t.Context(), "sync.us-1", []byte("0123456789")); err != nil {
			t.Fatal(err)
		}
		for prefix, want := range map[string]memnet.Traffic{
			"delta.": {Messages: 1, Bytes: 100, CrossedMessages: 1, CrossedBytes: 100},
			"sync.":  {Messages: 2, Bytes: 20, CrossedMessages: 2, CrossedBytes: 20},
			"":       {Messages: 4, Bytes: 134, CrossedMessages: 3, CrossedBytes: 120},
			"kv.":    {},
		} {
			if got := n.Traffic(prefix); got != want {
				t.Errorf("Traffic(%q) = %+v, want %+v", prefix, got, want)
			}
		}
	})
}

func TestDetach(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := start(t, memnet.Options{})
		eu1, eu2 := join(t, n, "eu", "eu-1"), join(t, n, "eu", "eu-2")
		received := 0
		if _, err := eu1.Subscribe("gossip", func(transport.Message) { received++ }); err != nil {
			t.Fatal(err)
		}
		if _, err := eu1.Serve("kv.1", "owners", echo); err != nil {
			t.Fatal(err)
		}
		eu1.Detach()
		if err := eu1.Publish("gossip", nil); !errors.Is(err, transport.ErrUnreachable) {
			t.Errorf("Publish: %v", err)
		}
		if _, err := eu1.Request(t.Context(), "kv.1", nil); !errors.Is(err, transport.ErrUnreachable) {
			t.Errorf("Request: %v", err)
		}
		publish(t, eu2, "gossip", "missed")
		if _, err := eu2.Request(t.Context(), "kv.1", nil); !errors.Is(err, transport.ErrNoResponders) {
			t.Errorf("Request to a detached member: %v", err)
		}
		eu1.Attach()
		publish(t, eu2, "gossip", "heard")
		bubble.Wait()
		if received != 1 {
			t.Errorf("received %d messages", received)
		}
		if _, err := eu2.Request(t.Context(), "kv.1", nil); err != nil {
			t.Error(err)
		}
	})
}

func TestBadInput(t *testing.T) {
	for _, options := range []memnet.Options{
		{MaxInFlight: -1}, {QueueMessages: -1}, {Link: memnet.Link{Delay: -1}}, {Link: memnet.Link{Loss: 1.1}},
	} {
		if _, err := memnet.New(options); err == nil {
			t.Errorf("New(%+v) did not fail", options)
		}
	}
	n := start(t, memnet.Options{})
	join(t, n, "eu", "eu-1")
	for _, name := range []string{"", "eu-1"} {
		if _, err := n.Join("eu", name); err == nil {
			t.Errorf("Join(%q) did not fail", name)
		}
	}
	if err := n.SetLink("eu", "us", memnet.Link{Repeat: -1}); err == nil {
		t.Error("SetLink did not fail")
	}
}
