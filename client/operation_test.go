package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/internal/bubble"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

// tape is a script that keeps what it was asked.
type tape struct {
	script
	mu       sync.Mutex
	t        *testing.T
	subjects []string
	ids      []string
}

func (w *tape) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	var request pb.Request
	if err := proto.Unmarshal(data, &request); err != nil {
		w.t.Error(err)
	}
	w.mu.Lock()
	w.subjects, w.ids = append(w.subjects, subject), append(w.ids, string(request.GetOperation()))
	w.mu.Unlock()
	return w.script.Request(ctx, subject, data)
}

func refuses(code pb.Error_Code) func(context.Context) ([]byte, error) {
	return says(&pb.Answer{Error: &pb.Error{Code: code, Text: "no"}})
}

// after answers when a time is over.
func after(d time.Duration, answer func(context.Context) ([]byte, error)) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		select {
		case <-time.After(d):
			return answer(ctx)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// atQuorum returns a client that knows the regions as long as a call lasts.
func (w *tape) atQuorum(timeout time.Duration) *Client {
	r := &remote{transport: w, user: transport.Trusted}
	r.known.Store(&survey{regions: []string{"eu", "us"}, when: time.Now().Add(timeout)})
	c, err := New(r, 1, timeout).At(Quorum)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// An increment is sent again under one id until an answer comes. A refusal says that
// nothing was done only if all attempts were refused.
func TestAddInsists(t *testing.T) {
	type answers = []func(context.Context) ([]byte, error)
	interrupted := fails(transport.ErrInterrupted)
	for name, test := range map[string]struct {
		answers answers
		asked   int
		kind    error
	}{
		"at once":                      {answers{seven}, 1, nil},
		"silence, then one":            {answers{silence, silence, silence, seven}, 4, nil},
		"connection lost":              {answers{interrupted, seven}, 2, nil},
		"connection lost, nobody":      {answers{interrupted, fails(transport.ErrNoResponders), seven}, 3, nil},
		"disk on fire":                 {answers{refuses(pb.Error_UNAVAILABLE), seven}, 2, nil},
		"closing":                      {answers{refuses(pb.Error_UNKNOWN), seven}, 2, nil},
		"busy after silence":           {answers{silence, refuses(pb.Error_BUSY), seven}, 3, nil},
		"disk on fire for good":        {answers{refuses(pb.Error_UNAVAILABLE)}, 7, ErrUnavailable},
		"busy":                         {answers{refuses(pb.Error_BUSY)}, 1, ErrBusy},
		"overflow":                     {answers{refuses(pb.Error_OVERFLOW)}, 1, ErrOverflow},
		"overflow after silence":       {answers{silence, refuses(pb.Error_OVERFLOW)}, 2, ErrOutcomeUnknown},
		"not remembered after silence": {answers{silence, refuses(pb.Error_NOT_REMEMBERED)}, 2, ErrOutcomeUnknown},
		"silence":                      {answers{silence}, 11, ErrOutcomeUnknown},
		"closed after silence":         {answers{silence, fails(transport.ErrClosed)}, 2, ErrOutcomeUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := &tape{script: script{answers: test.answers}, t: t}
				r := &remote{transport: w, user: transport.Trusted}
				r.known.Store(&survey{regions: []string{"eu", "us"}, when: time.Now()})
				n, err := New(r, 1, 10500*time.Millisecond).Counter("k").Add(context.Background(), 7)
				if !errors.Is(err, test.kind) || test.kind == nil && (err != nil || n != 7) {
					t.Errorf("%d, %v; want %v", n, err, test.kind)
				}
				if len(w.ids) != test.asked || w.ids[0] == "" || slices.ContainsFunc(w.ids, func(id string) bool { return id != w.ids[0] }) {
					t.Errorf("asked under the ids %x; want one, %d times", w.ids, test.asked)
				}
			})
		})
	}
}

// What waits for other owners is sent again, too, if it can be repeated: who serves it
// may be gone. The answer to any attempt counts, also to the first, so that who serves
// it has the time to say that too few answered; it stays in the region, which the
// level is one of.
func TestQuorumsAreAskedAgain(t *testing.T) {
	type answers = []func(context.Context) ([]byte, error)
	few := refuses(pb.Error_NOT_ENOUGH)
	add := func(c *Client) error { _, err := c.Counter("k").Add(context.Background(), 7); return err }
	get := func(c *Client) error { _, err := c.Counter("k").Value(context.Background()); return err }
	put := func(c *Client) error { return c.Register("k").Set(context.Background(), nil) }
	for name, test := range map[string]struct {
		call    func(*Client) error
		answers answers
		asked   int
		took    time.Duration
		kind    error
	}{
		"increment, one away": {add, answers{silence, seven}, 2, time.Second, nil},
		"read, one away":      {get, answers{silence, seven}, 2, time.Second, nil},
		"write, one away":     {put, answers{silence, seven}, 1, 5 * time.Second, ErrOutcomeUnknown},
		"increment, slow":     {add, answers{after(1900*time.Millisecond, seven)}, 2, 1900 * time.Millisecond, nil},
		"read, slow":          {get, answers{after(1900*time.Millisecond, seven)}, 2, 1900 * time.Millisecond, nil},
		"increment, twice":    {add, answers{silence, silence, seven}, 3, 3 * time.Second, nil},
		"increment, silence":  {add, answers{silence}, 3, 5 * time.Second, ErrOutcomeUnknown},
		"read, silence":       {get, answers{silence}, 3, 5 * time.Second, ErrUnreachable},
		"increment, too few":  {add, answers{few}, 1, 0, ErrNotEnough},
		"read, too few":       {get, answers{few}, 1, 0, ErrNotEnough},
		"increment, at last":  {add, answers{silence, few}, 2, time.Second, ErrNotEnough},
		"read, at last":       {get, answers{silence, few}, 2, time.Second, ErrNotEnough},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := &tape{script: script{answers: test.answers}, t: t}
				c := w.atQuorum(0)
				began := time.Now()
				err := test.call(c)
				if took := time.Since(began); !errors.Is(err, test.kind) || test.kind == nil && err != nil || took != test.took {
					t.Errorf("%v after %v; want %v after %v", err, took, test.kind, test.took)
				}
				bubble.Wait() // for attempts that are of no use any more
				if len(w.subjects) != test.asked || slices.ContainsFunc(w.subjects, func(s string) bool { return s != "kv.eu.0.-" }) {
					t.Errorf("asked %q; want eu %d times", w.subjects, test.asked)
				}
				var last pb.Request
				want := []uint32{4000, 3200, 1600}[test.asked-1] // four fifths of what is left
				if err := proto.Unmarshal(w.last, &last); err != nil || last.GetPatienceMs() != want {
					t.Errorf("the last attempt leaves %d ms, want %d (%v)", last.GetPatienceMs(), want, err)
				}
				if doubt := strings.Contains(fmt.Sprint(err), "may have been done"); doubt != (name == "increment, at last") {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// However long the caller waits, there is one more attempt; few are under way, and
// those that were refused make way.
func TestQuorumsAreAskedUntilTheEnd(t *testing.T) {
	for name, test := range map[string]struct {
		answers []func(context.Context) ([]byte, error)
		asked   int
		took    time.Duration
		kind    error
	}{
		"a link is given up": {[]func(context.Context) ([]byte, error){silence, silence, silence, seven}, 4, 7 * time.Second, nil},
		"silence":            {[]func(context.Context) ([]byte, error){silence}, 6, time.Minute, ErrUnreachable},
		"refusals":           {[]func(context.Context) ([]byte, error){silence, refuses(pb.Error_NO_SPACE)}, 31, time.Minute, ErrNoSpace},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := &tape{script: script{answers: test.answers}, t: t}
				c := w.atQuorum(time.Minute)
				began := time.Now()
				_, err := c.Counter("k").Value(context.Background())
				if took := time.Since(began); !errors.Is(err, test.kind) || took != test.took {
					t.Errorf("%v after %v; want %v after %v", err, took, test.kind, test.took)
				}
				bubble.Wait() // for attempts that are of no use any more
				if len(w.subjects) != test.asked {
					t.Errorf("asked %d times; want %d", len(w.subjects), test.asked)
				}
			})
		})
	}
}

// A refusal does not count while another attempt is under way that may succeed. When
// none does, an increment is not said to be undone, nor made once more without an id.
func TestQuorumsWaitForEveryAttempt(t *testing.T) {
	type answers = []func(context.Context) ([]byte, error)
	const late, end = 1900 * time.Millisecond, 4500 * time.Millisecond
	lost := after(1100*time.Millisecond, fails(transport.ErrInterrupted))
	add := func(c *Client) error { _, err := c.Counter("k").Add(context.Background(), 7); return err }
	get := func(c *Client) error { _, err := c.Counter("k").Value(context.Background()); return err }
	check := func(name string, call func(*Client) error, given answers, kind error, took time.Duration) {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := &tape{script: script{answers: given}, t: t}
				c := w.atQuorum(end)
				began := time.Now()
				if err := call(c); !errors.Is(err, kind) || time.Since(began) != took {
					t.Errorf("%v after %v; want %v after %v", err, time.Since(began), kind, took)
				}
				bubble.Wait() // for attempts that are of no use any more
				if slices.ContainsFunc(w.ids, func(id string) bool { return id != w.ids[0] }) {
					t.Errorf("asked under the ids %x", w.ids)
				}
			})
		})
	}
	for code, lasts := range map[pb.Error_Code]bool{
		pb.Error_NOT_REMEMBERED: true, pb.Error_OVERFLOW: true, pb.Error_FORBIDDEN: true, pb.Error_PROTOCOL: true, pb.Error_INVALID: true,
		pb.Error_NO_SPACE: false, pb.Error_UNAVAILABLE: false, pb.Error_UNKNOWN: false, pb.Error_BUSY: false, pb.Error_BEHIND: false,
	} {
		no := refuses(code)
		check(code.String()+", increment, late", add, answers{after(late, seven), no}, nil, late)
		check(code.String()+", read, late", get, answers{after(late, seven), no}, nil, late)
		check(code.String()+", increment, silence", add, answers{silence, no}, ErrOutcomeUnknown, end)
		if lasts {
			check(code.String()+", increment, lost", add, answers{lost, after(late, no), seven}, ErrOutcomeUnknown, time.Second+late)
		} else {
			check(code.String()+", increment, lost", add, answers{lost, after(late, no), seven}, nil, time.Second+late+retryPause)
		}
	}
	check("unreachable, increment, lost", add, answers{lost, fails(transport.ErrUnreachable)}, ErrOutcomeUnknown, end)
	check("closed, increment, lost", add, answers{lost, after(late, fails(transport.ErrClosed))}, ErrOutcomeUnknown, time.Second+late)
}

// Whenever the time is up: what may have been done is not said to be undone,
// because nobody was there in the end.
func TestAddInDoubt(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		for timeout := 10 * time.Millisecond; timeout < 5*time.Second; timeout += 7 * time.Millisecond {
			for _, nobody := range []error{transport.ErrNoResponders, transport.ErrUnreachable} {
				w := &tape{script: script{answers: []func(context.Context) ([]byte, error){fails(transport.ErrInterrupted), fails(nobody)}}, t: t}
				r := &remote{transport: w, user: transport.Trusted}
				r.known.Store(&survey{regions: []string{"eu", "us"}, when: time.Now()})
				if _, err := New(r, 1, timeout).Counter("k").Add(context.Background(), 7); !errors.Is(err, ErrOutcomeUnknown) {
					t.Errorf("within %v, and then %v: %v", timeout, nobody, err)
				}
			}
		}
	})
}

// After two attempts in the nearest region the others are asked.
func TestAddGoesElsewhere(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := &tape{script: script{answers: []func(context.Context) ([]byte, error){silence, silence, silence, silence, silence, seven}}, t: t}
		r := &remote{transport: w, user: transport.Trusted}
		r.known.Store(&survey{regions: []string{"eu", "us"}, when: time.Now()})
		if _, err := New(r, 1, time.Minute).Counter("k").Add(context.Background(), 7); err != nil {
			t.Error(err)
		}
		want := []string{"kv.eu.0.-", "kv.eu.0.-", "kv.us.0.-", "kv.us.0.-", "kv.eu.0.-", "kv.eu.0.-"}
		if !slices.Equal(w.subjects, want) {
			t.Errorf("asked %q, want %q", w.subjects, want)
		}
	})
}

// Where ids are not remembered an increment goes without one, and is not repeated.
// Under an id of the caller's it fails.
func TestAddWithoutMemory(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		refused := refuses(pb.Error_NOT_REMEMBERED)
		w := &tape{script: script{answers: []func(context.Context) ([]byte, error){refused, silence}}, t: t}
		r := &remote{transport: w, user: transport.Trusted}
		r.known.Store(&survey{regions: []string{"eu"}, when: time.Now()})
		if _, err := New(r, 1, 0).Counter("k").Add(context.Background(), 7); !errors.Is(err, ErrOutcomeUnknown) {
			t.Error(err)
		}
		if len(w.ids) != 2 || w.ids[1] != "" {
			t.Errorf("asked under the ids %x", w.ids)
		}
		w.asked = 0
		if _, err := New(r, 1, 0).Counter("k").AddOnce(context.Background(), NewOperationID(), 7); !errors.Is(err, ErrNotRemembered) {
			t.Error(err)
		}
	})
}

func TestOperationID(t *testing.T) {
	id := NewOperationID()
	if again, err := ParseOperationID(id.String()); err != nil || again != id {
		t.Errorf("%v comes back as %v: %v", id, again, err)
	}
	if age := time.Since(id.Time()); age < 0 || age > time.Minute {
		t.Errorf("made %v ago", age)
	}
	for _, text := range []string{"", "12", id.String() + "00", "z" + id.String()[1:]} {
		if _, err := ParseOperationID(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseOperationID(f *testing.F) {
	f.Add(NewOperationID().String())
	f.Add("x")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseOperationID(text)
		if again, parsed := ParseOperationID(id.String()); err == nil && (parsed != nil || again != id) {
			t.Errorf("%q is %v, which is %v", text, id, again)
		}
	})
}
