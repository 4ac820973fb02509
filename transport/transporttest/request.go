package transporttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/transport"
)

func requestIsAnswered(t *testing.T, n Network) {
	eu, us := n.Join("eu", "eu-1"), n.Join("us", "us-1")
	serve(t, eu, "kv.*", "owners", func(_ context.Context, m transport.Message) ([]byte, error) {
		return []byte(m.Subject + " " + string(m.Data)), nil
	})
	serve(t, eu, "sync.eu-1", "", func(_ context.Context, m transport.Message) ([]byte, error) {
		return nil, nil
	})
	for _, from := range []transport.Transport{eu, us} {
		if got := ask(t, from, "kv.17", "hello"); got != "kv.17 hello" {
			t.Fatalf("answer %q", got)
		}
		if got := ask(t, from, "sync.eu-1", ""); got != "" {
			t.Fatalf("answer %q, want an empty one", got)
		}
	}
}

func requestConcurrently(t *testing.T, n Network) {
	eu, us := n.Join("eu", "eu-1"), n.Join("us", "us-1")
	// Each handler waits for the other: served one by one, they would time out.
	var meet sync.WaitGroup
	meet.Add(2)
	serve(t, eu, "kv.*", "owners", func(_ context.Context, m transport.Message) ([]byte, error) {
		if string(m.Data) == "meet" {
			meet.Done()
			meet.Wait()
		}
		return m.Data, nil
	})
	ask(t, us, "kv.1", "ready")
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if _, err := us.Request(ctx, "kv.1", []byte("meet")); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
}

func requestErrors(t *testing.T, n Network) {
	eu, us := n.Join("eu", "eu-1"), n.Join("us", "us-1")
	text := "disk full:\n  \"ü\" at 100 %"
	serve(t, eu, "kv.1", "owners", func(_ context.Context, m transport.Message) ([]byte, error) {
		switch string(m.Data) {
		case "fail":
			return []byte("ignored"), errors.New(text)
		case "fail silently":
			return nil, errors.New("")
		case "fail at length":
			return nil, errors.New(strings.Repeat("é", transport.MaxErrorBytes))
		}
		return m.Data, nil
	})
	ask(t, us, "kv.1", "ready")

	for _, from := range []transport.Transport{eu, us} {
		_, err := from.Request(t.Context(), "kv.1", []byte("fail"))
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Fatalf("err = %v, want it to say %q", err, text)
		}
		if _, err = from.Request(t.Context(), "kv.1", []byte("fail silently")); err == nil {
			t.Fatal("an error without text was lost")
		}
		_, err = from.Request(t.Context(), "kv.1", []byte("fail at length"))
		if err == nil || len(err.Error()) > transport.MaxErrorBytes+256 || !strings.Contains(err.Error(), "éé") {
			t.Fatalf("err = %.200v, want a shortened text", err)
		}
		start := time.Now()
		_, err = from.Request(t.Context(), "kv.2", nil)
		if !errors.Is(err, transport.ErrNoResponders) {
			t.Fatalf("err = %v, want ErrNoResponders", err)
		}
		if took := time.Since(start); took > patience/2 {
			t.Fatalf("ErrNoResponders took %v", took)
		}
	}
}

func requestContext(t *testing.T, n Network) {
	eu, us := n.Join("eu", "eu-1"), n.Join("us", "us-1")
	entered, release := make(chan struct{}, 10), make(chan struct{})
	serve(t, eu, "kv.1", "owners", func(_ context.Context, m transport.Message) ([]byte, error) {
		switch string(m.Data) {
		case "tell and wait":
			entered <- struct{}{}
			<-release
		case "wait":
			<-release
		}
		return nil, nil
	})
	defer close(release)
	ask(t, us, "kv.1", "ready")

	for _, from := range []transport.Transport{eu, us} {
		// On a busy machine the time is up before the handler is entered.
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := from.Request(ctx, "kv.1", []byte("wait"))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("err = %v, want DeadlineExceeded", err)
		}

		ctx, cancel = context.WithTimeout(t.Context(), patience)
		defer cancel()
		go func() { <-entered; cancel() }()
		if _, err = from.Request(ctx, "kv.1", []byte("tell and wait")); !errors.Is(err, context.Canceled) {
			t.Fatalf("err = %v, want Canceled", err)
		}
		if _, err = from.Request(ctx, "kv.1", nil); !errors.Is(err, context.Canceled) {
			t.Fatalf("err = %v of a context that had ended, want Canceled", err)
		}
	}
}

// tally is a handler that counts the requests by text: one that was given up may be
// served late, among others.
type tally struct {
	mu    sync.Mutex
	times map[string]int
}

func (s *tally) handle(_ context.Context, m transport.Message) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times[string(m.Data)]++
	return nil, nil
}

func (s *tally) of(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.times[text]
}

func serveGroupShares(t *testing.T, n Network) {
	const count = 200
	eu1, eu2, us := n.Join("eu", "eu-1"), n.Join("eu", "eu-2"), n.Join("us", "us-1")
	first, second := &tally{times: map[string]int{}}, &tally{times: map[string]int{}}
	serve(t, eu1, "kv.1", "owners", first.handle)
	serve(t, eu2, "kv.1", "owners", second.handle)
	eventually(t, "both members of the group are asked", func() bool {
		ask(t, us, "kv.1", "ready")
		return first.of("ready") > 0 && second.of("ready") > 0
	})
	shares := [2]int{}
	for i := range count {
		text := fmt.Sprint(i)
		askOnce(t, us, "kv.1", text)
		f, s := first.of(text), second.of(text)
		if f+s != 1 {
			t.Fatalf("request %s was served %d + %d times", text, f, s)
		}
		shares[0] += f
		shares[1] += s
	}
	if slices.Contains(shares[:], 0) {
		t.Fatalf("%d requests were served %v times", count, shares)
	}
}

func serveEachGroup(t *testing.T, n Network) {
	eu1, eu2 := n.Join("eu", "eu-1"), n.Join("eu", "eu-2")
	var served []*tally
	for _, group := range []string{"owners", "others", "", ""} { // the empty ones are two
		served = append(served, &tally{times: map[string]int{}})
		serve(t, eu2, "kv.1", group, served[len(served)-1].handle)
	}
	eventually(t, "each group is asked", func() bool {
		ask(t, eu1, "kv.1", "ready")
		return !slices.ContainsFunc(served, func(s *tally) bool { return s.of("ready") == 0 })
	})
	askOnce(t, eu1, "kv.1", "count")
	eventually(t, "each group got the request once", func() bool {
		return !slices.ContainsFunc(served, func(s *tally) bool { return s.of("count") != 1 })
	})
}

func serveBusy(t *testing.T, n Network) {
	eu, us := n.Join("eu", "eu-1"), n.Join("us", "us-1")
	entered, release := make(chan struct{}, MaxInFlight), make(chan struct{})
	handle := func(_ context.Context, m transport.Message) ([]byte, error) {
		if string(m.Data) == "wait" {
			entered <- struct{}{}
			<-release
		}
		return m.Data, nil
	}
	serve(t, eu, "kv.1", "owners", handle)
	serve(t, eu, "sync.eu-1", "", handle)
	ask(t, us, "kv.1", "ready")
	ask(t, us, "sync.eu-1", "ready")

	var waiting sync.WaitGroup
	for range MaxInFlight {
		waiting.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if answer, err := us.Request(ctx, "kv.1", []byte("wait")); err != nil || string(answer) != "wait" {
				t.Errorf("answer %q, %v", answer, err)
			}
		})
	}
	for range MaxInFlight {
		select {
		case <-entered:
		case <-time.After(patience):
			t.Fatal("not all requests were taken")
		}
	}
	for _, subject := range []string{"kv.1", "sync.eu-1"} { // the bound is the member's
		if _, err := us.Request(t.Context(), subject, nil); !errors.Is(err, transport.ErrBusy) {
			t.Errorf("Request(%q) over the bound: %v, want ErrBusy", subject, err)
		}
	}
	close(release)
	waiting.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for { // a place is free a moment after its answer arrives
		_, err := us.Request(ctx, "kv.1", nil)
		if err == nil {
			return
		}
		if !errors.Is(err, transport.ErrBusy) {
			t.Fatal(err)
		}
		time.Sleep(retryEvery)
	}
}

func serveClose(t *testing.T, n Network) {
	eu, us := n.Join("eu", "eu-1"), n.Join("us", "us-1")
	ended, release := make(chan struct{}), make(chan struct{})
	entered := make(chan struct{})
	finished := false
	sub := serve(t, eu, "kv.1", "owners", func(ctx context.Context, m transport.Message) ([]byte, error) {
		if string(m.Data) != "wait" {
			return nil, nil
		}
		close(entered)
		<-ctx.Done()
		close(ended)
		<-release
		finished = true
		return []byte("late"), nil
	})
	serve(t, eu, "kv.2", "owners", says("stays"))
	ask(t, us, "kv.1", "ready")
	ask(t, us, "kv.2", "ready")

	answered := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		answer, err := us.Request(ctx, "kv.1", []byte("wait"))
		if err == nil && string(answer) != "late" {
			err = fmt.Errorf("answer %q", answer)
		}
		answered <- err
	}()
	wait(t, "the handler runs", entered)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if err := sub.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}()
	wait(t, "the handler's context ends", ended)
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
	if err := <-answered; err != nil {
		t.Fatalf("the request under way when Close was called: %v", err)
	}

	askUntilNobody(t, eu, "kv.1")
	askUntilNobody(t, us, "kv.1")
	for _, from := range []transport.Transport{eu, us} {
		if got := ask(t, from, "kv.2", ""); got != "stays" {
			t.Fatalf("answer %q", got)
		}
	}
	if err := sub.Close(); err != nil {
		t.Fatalf("second Close: %v", err)
	}
	serve(t, eu, "kv.1", "owners", says("again"))
	if got := ask(t, us, "kv.1", ""); got != "again" {
		t.Fatalf("answer %q", got)
	}
}

func bounds(t *testing.T, n Network) {
	eu, us := n.Join("eu", "eu-1"), n.Join("us", "us-1")
	largest := make([]byte, transport.MaxMessageBytes)
	tooLarge := make([]byte, transport.MaxMessageBytes+1)
	in := subscribe(t, eu, "gossip")
	link(t, us, "gossip", in)
	serve(t, eu, "kv.1", "owners", func(_ context.Context, m transport.Message) ([]byte, error) {
		if string(m.Data) == "too much" {
			return tooLarge, nil
		}
		return m.Data, nil
	})
	ask(t, us, "kv.1", "ready")

	if err := us.Publish("gossip", tooLarge); !errors.Is(err, transport.ErrTooLarge) {
		t.Errorf("Publish: %v, want ErrTooLarge", err)
	}
	if err := us.Publish("gossip", largest); err != nil {
		t.Errorf("Publish of %d bytes: %v", len(largest), err)
	}
	if m := in.next(t); len(m.Data) != len(largest) {
		t.Errorf("received %d bytes, want %d", len(m.Data), len(largest))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := us.Request(ctx, "kv.1", tooLarge); !errors.Is(err, transport.ErrTooLarge) {
		t.Errorf("Request: %v, want ErrTooLarge", err)
	}
	if answer, err := us.Request(ctx, "kv.1", largest); err != nil || len(answer) != len(largest) {
		t.Errorf("Request of %d bytes: %d bytes, %v", len(largest), len(answer), err)
	}
	if _, err := us.Request(ctx, "kv.1", []byte("too much")); !errors.Is(err, transport.ErrTooLarge) {
		t.Errorf("an answer too large: %v, want ErrTooLarge", err)
	}

	for _, subject := range []string{"", "a..b", "a b", "delta.*", "a.>"} {
		if err := us.Publish(subject, nil); !errors.Is(err, transport.ErrBadSubject) {
			t.Errorf("Publish(%q): %v, want ErrBadSubject", subject, err)
		}
		if _, err := us.Request(ctx, subject, nil); !errors.Is(err, transport.ErrBadSubject) {
			t.Errorf("Request(%q): %v, want ErrBadSubject", subject, err)
		}
		if subject == "delta.*" {
			continue
		}
		if _, err := us.Subscribe(subject, func(transport.Message) {}); !errors.Is(err, transport.ErrBadSubject) {
			t.Errorf("Subscribe(%q): %v, want ErrBadSubject", subject, err)
		}
		if _, err := us.Serve(subject, "", says("")); !errors.Is(err, transport.ErrBadSubject) {
			t.Errorf("Serve(%q): %v, want ErrBadSubject", subject, err)
		}
		if subject == "" {
			continue
		}
		if _, err := us.Serve("kv.2", subject, says("")); !errors.Is(err, transport.ErrBadSubject) {
			t.Errorf("Serve in group %q: %v, want ErrBadSubject", subject, err)
		}
	}
}

func leave(t *testing.T, n Network) {
	eu, us := n.Join("eu", "eu-1"), n.Join("us", "us-1")
	left := subscribe(t, us, "gossip")
	fence := subscribe(t, eu, "gossip")
	link(t, eu, "gossip", left, fence)
	entered := make(chan struct{})
	finished := false
	serve(t, us, "sync.us-1", "", func(ctx context.Context, m transport.Message) ([]byte, error) {
		if string(m.Data) == "wait" {
			close(entered)
			<-ctx.Done()
			finished = true
		}
		return nil, nil
	})
	serve(t, eu, "sync.eu-1", "", func(ctx context.Context, m transport.Message) ([]byte, error) {
		<-ctx.Done()
		return nil, nil
	})
	ask(t, eu, "sync.us-1", "ready")

	asked, answered := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() { // the answer is lost with the member, or just makes it
		_, _ = eu.Request(ctx, "sync.us-1", []byte("wait"))
		close(asked)
	}()
	wait(t, "the handler runs", entered)
	go func() { // an own request under way ends with the member
		_, err := us.Request(t.Context(), "sync.eu-1", nil)
		answered <- err
	}()
	n.Leave("us-1")
	if !finished {
		t.Fatal("the member left while a handler was running")
	}
	select {
	case err := <-answered:
		if !errors.Is(err, transport.ErrClosed) && !errors.Is(err, transport.ErrNoResponders) {
			t.Errorf("a request under way when the member left: %v, want ErrClosed", err)
		}
	case <-time.After(patience):
		t.Error("a request under way did not end with the member")
	}
	cancel()
	wait(t, "the request to the member that left ends", asked)

	publish(t, eu, "gossip", "after")
	fence.expect(t, "after")
	select {
	case m := <-left.messages:
		t.Errorf("%q was delivered to a member that had left", m.Data)
	default:
	}
	askUntilNobody(t, eu, "sync.us-1")
	if err := left.Close(); err != nil {
		t.Errorf("Close of a subscription that ended with its member: %v", err)
	}
	refusesAll(t, us)
}

// refusesAll checks that an end is closed.
func refusesAll(t *testing.T, end transport.Transport) {
	t.Helper()
	if err := end.Publish("gossip", nil); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("Publish: %v, want ErrClosed", err)
	}
	if _, err := end.Request(t.Context(), "kv.1", nil); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("Request: %v, want ErrClosed", err)
	}
	if _, err := end.Subscribe("gossip", func(transport.Message) {}); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("Subscribe: %v, want ErrClosed", err)
	}
	if _, err := end.Serve("kv.1", "", says("")); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("Serve: %v, want ErrClosed", err)
	}
}
