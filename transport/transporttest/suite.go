package transporttest

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/transport"
)

// MaxInFlight is the number of requests that a member of a Network must be
// set to handle at once, before it answers transport.ErrBusy.
const MaxInFlight = 8

// Network is what the suite needs of an adapter. Its methods end the test when
// they fail. What it starts, it stops when the test ends.
type Network interface {
	// Join adds a member and returns its end. The name is unique.
	Join(region, name string) transport.Transport
	// Leave closes the end of a member.
	Leave(name string)
	// Cut severs a region from all others. What was published before and has
	// not arrived may still arrive; nothing sent after Cut returned does.
	Cut(region string)
	// Heal ends the cut of a region.
	Heal(region string)
}

// Run checks the contract of package transport. It calls start for a new
// network in each test.
func Run(t *testing.T, start func(t *testing.T) Network) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Network)
	}{
		{"PublishReachesAll", publishReachesAll},
		{"PublishKeepsOrderPerPublisher", publishKeepsOrder},
		{"PublishLeavesDataToCaller", publishLeavesData},
		{"SubscribeWildcard", subscribeWildcard},
		{"SubscribeOneMessageAtATime", subscribeOneAtATime},
		{"SubscriptionClose", subscriptionClose},
		{"RequestIsAnswered", requestIsAnswered},
		{"RequestConcurrently", requestConcurrently},
		{"RequestErrors", requestErrors},
		{"RequestContext", requestContext},
		{"ServeGroupShares", serveGroupShares},
		{"ServeEachGroup", serveEachGroup},
		{"ServeBusy", serveBusy},
		{"ServeClose", serveClose},
		{"Bounds", bounds},
		{"Leave", leave},
		{"RegionAffinity", regionAffinity},
		{"CutLosesSilently", cutLosesSilently},
		{"CutLeavesRequestsInside", cutLeavesRequestsInside},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, start(t)) })
	}
}

// patience bounds every wait; a healthy network needs a small part of it.
const patience = 20 * time.Second

// retryEvery is the pace at which a test sends again until something arrives.
const retryEvery = 5 * time.Millisecond

// settleFor is how long a test watches for something that must not happen,
// where no later event could prove that it did not.
const settleFor = 30 * time.Millisecond

// probePrefix begins the messages that only show that a path is open.
const probePrefix = "probe "

// inbox keeps what one subscription received, probes apart.
type inbox struct {
	transport.Subscription
	messages chan transport.Message

	mu     sync.Mutex
	probes map[string]bool // by text
}

func subscribe(t *testing.T, on transport.Transport, pattern string) *inbox {
	t.Helper()
	in := &inbox{messages: make(chan transport.Message, 10_000), probes: map[string]bool{}}
	sub, err := on.Subscribe(pattern, func(m transport.Message) {
		if !strings.HasPrefix(string(m.Data), probePrefix) {
			in.messages <- m
			return
		}
		in.mu.Lock()
		in.probes[string(m.Data)] = true
		in.mu.Unlock()
	})
	if err != nil {
		t.Fatalf("Subscribe(%q): %v", pattern, err)
	}
	in.Subscription = sub
	return in
}

func (in *inbox) saw(probe string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.probes[probe]
}

func (in *inbox) next(t *testing.T) transport.Message {
	t.Helper()
	select {
	case m := <-in.messages:
		return m
	case <-time.After(patience):
		t.Fatal("no message arrived")
		panic("unreachable")
	}
}

// expect takes len(want) messages and compares their data.
func (in *inbox) expect(t *testing.T, want ...string) {
	t.Helper()
	got := make([]string, 0, len(want))
	for range want {
		got = append(got, string(in.next(t).Data))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("received %q, want %q", got, want)
	}
}

// link publishes probes until one arrives in each of the inboxes.
func link(t *testing.T, from transport.Transport, subject string, to ...*inbox) {
	t.Helper()
	probe := probePrefix + rand.Text()
	eventually(t, "a probe on "+subject+" arrives", func() bool {
		publish(t, from, subject, probe)
		return !slices.ContainsFunc(to, func(in *inbox) bool { return !in.saw(probe) })
	})
}

func publish(t *testing.T, from transport.Transport, subject string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err := from.Publish(subject, []byte(text)); err != nil {
			t.Fatalf("Publish(%q): %v", subject, err)
		}
	}
}

func serve(t *testing.T, on transport.Transport, pattern, group string, handle transport.Handler) transport.Subscription {
	t.Helper()
	sub, err := on.Serve(pattern, group, handle)
	if err != nil {
		t.Fatalf("Serve(%q, %q): %v", pattern, group, err)
	}
	return sub
}

// says is a handler that answers the same whatever it is asked.
func says(text string) transport.Handler {
	return func(context.Context, transport.Message) ([]byte, error) { return []byte(text), nil }
}

// tryFor bounds one attempt of a request that is repeated: while links come up,
// a request or its answer may vanish.
const tryFor = time.Second

// ask requests until there is an answer; it must not be an error's.
func ask(t *testing.T, from transport.Transport, subject, text string) string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(retryEvery) {
		ctx, cancel := context.WithTimeout(t.Context(), tryFor)
		answer, err := from.Request(ctx, subject, []byte(text))
		cancel()
		if err == nil {
			return string(answer)
		}
		again := errors.Is(err, transport.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded)
		if !again || time.Now().After(deadline) {
			t.Fatalf("Request(%q): %v", subject, err)
		}
	}
}

// askOnce requests a single time, of somebody who is known to answer.
func askOnce(t *testing.T, from transport.Transport, subject, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := from.Request(ctx, subject, []byte(text)); err != nil {
		t.Fatalf("Request(%q): %v", subject, err)
	}
}

// askUntil requests until the answer is want.
func askUntil(t *testing.T, from transport.Transport, subject, want string) {
	t.Helper()
	eventually(t, "the answer on "+subject+" is "+want, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), tryFor)
		defer cancel()
		answer, err := from.Request(ctx, subject, nil)
		return err == nil && string(answer) == want
	})
}

// askUntilNobody requests until nobody serves the subject.
func askUntilNobody(t *testing.T, from transport.Transport, subject string) {
	t.Helper()
	eventually(t, "nobody serves "+subject, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), tryFor)
		defer cancel()
		_, err := from.Request(ctx, subject, nil)
		return errors.Is(err, transport.ErrNoResponders)
	})
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(retryEvery) {
		if time.Now().After(deadline) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

func wait(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("not in %v: %s", patience, what)
	}
}
