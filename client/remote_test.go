package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/internal/bubble"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

// script is a transport that answers requests as it is told, one after the
// other; the last answer is repeated.
type script struct {
	transport.Transport
	answers []func(ctx context.Context) ([]byte, error)
	asking  sync.Mutex
	asked   int
	last    []byte   // question
	sent    []string // to where, and whether it is for members that see no owner
}

func (s *script) Request(ctx context.Context, subject string, question []byte) ([]byte, error) {
	s.asking.Lock()
	s.last = question
	var r pb.Request
	if proto.Unmarshal(question, &r) == nil && r.GetIfAbsent() {
		subject += " if absent"
	}
	s.sent = append(s.sent, subject)
	answer := s.answers[min(s.asked, len(s.answers)-1)]
	s.asked++
	s.asking.Unlock()
	return answer(ctx)
}

func fails(err error) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return nil, fmt.Errorf("request: %w", err) }
}

func says(m proto.Message) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return proto.Marshal(m) }
}

func silence(ctx context.Context) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (s *script) client(timeout time.Duration) *Client {
	r := &remote{transport: s, user: transport.Trusted}
	r.known.Store(&survey{regions: []string{"eu"}, when: time.Now()})
	return New(r, 8, timeout)
}

var seven = says(&pb.Answer{Results: []*pb.Result{{Number: 7}}})

// What surely was not served is sent again, at growing distances, but not for
// ever; what may have been served is not.
func TestRequestIsSentAgain(t *testing.T) {
	for name, test := range map[string]struct {
		answers []func(context.Context) ([]byte, error)
		asked   int
		took    time.Duration
		kind    error
	}{
		"at once":          {[]func(context.Context) ([]byte, error){seven}, 1, 0, nil},
		"busy, then one":   {[]func(context.Context) ([]byte, error){fails(transport.ErrBusy), fails(transport.ErrBusy), seven}, 3, 30 * time.Millisecond, nil},
		"busy, then not":   {[]func(context.Context) ([]byte, error){fails(transport.ErrBusy), seven}, 2, 10 * time.Millisecond, nil},
		"nobody":           {[]func(context.Context) ([]byte, error){fails(transport.ErrNoResponders)}, 9, 630 * time.Millisecond, ErrUnreachable},
		"busy":             {[]func(context.Context) ([]byte, error){fails(transport.ErrBusy)}, 7, 630 * time.Millisecond, ErrBusy},
		"not connected":    {[]func(context.Context) ([]byte, error){fails(transport.ErrUnreachable)}, 7, 630 * time.Millisecond, ErrUnreachable},
		"connection lost":  {[]func(context.Context) ([]byte, error){fails(transport.ErrInterrupted)}, 1, 0, ErrOutcomeUnknown},
		"closed meanwhile": {[]func(context.Context) ([]byte, error){fails(transport.ErrClosed)}, 1, 0, ErrOutcomeUnknown},
		"too large":        {[]func(context.Context) ([]byte, error){fails(transport.ErrTooLarge)}, 1, 0, ErrInvalid},
		"handler failed":   {[]func(context.Context) ([]byte, error){fails(errors.New("who knows"))}, 1, 0, ErrUnavailable},
		"silence":          {[]func(context.Context) ([]byte, error){silence}, 1, 3 * time.Second, ErrOutcomeUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				s := &script{answers: test.answers}
				began := time.Now()
				if err := s.client(3*time.Second).Register("k").Set(context.Background(), nil); !errors.Is(err, test.kind) {
					t.Errorf("%v; want %v", err, test.kind)
				}
				if took := time.Since(began); s.asked != test.asked || took != test.took {
					t.Errorf("asked %d times in %v; want %d in %v", s.asked, took, test.asked, test.took)
				}
			})
		})
	}
}

// When nobody serves a shard, a member that knows that no owner is there takes a
// write in their place at once; one that does not know it only when nobody was there
// for a while.
func TestHintsWhereNobodyIs(t *testing.T) {
	kv, instead := transport.Requests("eu", 0, transport.Trusted), transport.Fallback("eu", 0, transport.Trusted)
	refused := says(&pb.Answer{Error: &pb.Error{Code: pb.Error_NOT_OWNER, Text: "eu-2 is there"}})
	nobody := fails(transport.ErrNoResponders)
	for name, test := range map[string]struct {
		answers []func(context.Context) ([]byte, error)
		sent    []string
		took    time.Duration
	}{
		"known":              {[]func(context.Context) ([]byte, error){nobody, seven}, []string{kv, instead + " if absent"}, 0},
		"not known, one yet": {[]func(context.Context) ([]byte, error){nobody, refused, seven}, []string{kv, instead + " if absent", kv}, 10 * time.Millisecond},
		"not known, nobody": {
			[]func(context.Context) ([]byte, error){nobody, refused, nobody, nobody, nobody, nobody, nobody, nobody, seven},
			[]string{kv, instead + " if absent", kv, kv, kv, kv, kv, kv, instead}, 630 * time.Millisecond,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				s := &script{answers: test.answers}
				r := &remote{transport: s, user: transport.Trusted}
				r.known.Store(&survey{regions: []string{"eu"}, when: time.Now()})
				began := time.Now()
				_, err := New(r, 1, 3*time.Second).Counter("k").AddUnnamed(t.Context(), 1)
				if took := time.Since(began); err != nil || took != test.took || !slices.Equal(s.sent, test.sent) {
					t.Errorf("%v after %v, sent to %q; want %q after %v", err, took, s.sent, test.sent, test.took)
				}
			})
		})
	}
}

// What only reads is asked again after a second of silence, what writes is not.
func TestLostQuestion(t *testing.T) {
	for name, test := range map[string]struct {
		call  func(*Client) error
		asked int
		took  time.Duration
		kind  error
	}{
		"read": {func(c *Client) error { _, err := c.Counter("k").Value(context.Background()); return err }, 3, 2 * time.Second, nil},
		"write": {
			func(c *Client) error { return c.Register("k").Set(context.Background(), nil) },
			1, 5 * time.Second, ErrOutcomeUnknown,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				s := &script{answers: []func(context.Context) ([]byte, error){silence, silence, seven}}
				began := time.Now()
				err := test.call(s.client(0))
				if took := time.Since(began); !errors.Is(err, test.kind) || s.asked != test.asked || took != test.took {
					t.Errorf("%v, asked %d times in %v; want %v, %d in %v", err, s.asked, took, test.kind, test.asked, test.took)
				}
			})
		})
	}
}

// A deadline of the context goes before Options.Timeout, in the pauses, too.
func TestDeadline(t *testing.T) {
	for name, test := range map[string]struct {
		answer func(context.Context) ([]byte, error)
		kind   error
	}{
		"silence": {silence, context.DeadlineExceeded},
		"nobody":  {fails(transport.ErrNoResponders), ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 25*time.Millisecond)
				defer cancel()
				began := time.Now()
				s := &script{answers: []func(context.Context) ([]byte, error){test.answer}}
				if _, err := s.client(time.Hour).Counter("k").Add(ctx, 1); !errors.Is(err, test.kind) {
					t.Errorf("%v; want %v", err, test.kind)
				}
				if took := time.Since(began); took != 25*time.Millisecond {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// inProcess answers as a member in the same process does: with an error in
// the answer, when the context ends.
type inProcess struct{ Asker }

func (inProcess) Do(ctx context.Context, _ int, _ *pb.Request) (*pb.Answer, error) {
	<-ctx.Done()
	return &pb.Answer{Error: &pb.Error{Text: ctx.Err().Error()}}, nil
}

func TestTimeoutInProcess(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := New(inProcess{}, 8, 0).Counter("k").Add(context.Background(), 1)
		if took := time.Since(began); !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) || took != 5*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// Whatever comes back is an answer or an error that can be matched.
func TestAnswers(t *testing.T) {
	refuses := func(code pb.Error_Code) func(context.Context) ([]byte, error) {
		return says(&pb.Answer{Error: &pb.Error{Code: code, Text: "because"}})
	}
	for name, test := range map[string]struct {
		answer func(context.Context) ([]byte, error)
		kind   error
	}{
		"invalid":         {refuses(pb.Error_INVALID), ErrInvalid},
		"wrong shard":     {refuses(pb.Error_WRONG_SHARD), ErrInvalid},
		"overflow":        {refuses(pb.Error_OVERFLOW), ErrOverflow},
		"busy":            {refuses(pb.Error_BUSY), ErrBusy},
		"full":            {refuses(pb.Error_NO_SPACE), ErrNoSpace},
		"unavailable":     {refuses(pb.Error_UNAVAILABLE), ErrUnavailable},
		"protocol":        {refuses(pb.Error_PROTOCOL), ErrProtocol},
		"unknown":         {refuses(pb.Error_UNKNOWN), ErrUnreachable},
		"a code to come":  {refuses(99), ErrUnreachable},
		"nothing":         {says(&pb.Answer{}), ErrUnavailable},
		"too much":        {says(&pb.Answer{Results: []*pb.Result{{}, {}}}), ErrUnavailable},
		"not an answer":   {func(context.Context) ([]byte, error) { return []byte("\xff\xff"), nil }, ErrUnavailable},
		"an empty result": {says(&pb.Answer{Results: []*pb.Result{{}}}), nil},
	} {
		s := &script{answers: []func(context.Context) ([]byte, error){test.answer}}
		if test.kind == ErrUnreachable { // of a write it is not known
			if _, err := s.client(time.Second).Counter("k").Add(t.Context(), 1); !errors.Is(err, ErrOutcomeUnknown) {
				t.Errorf("%s: a write: %v; want ErrOutcomeUnknown", name, err)
			}
		}
		_, err := s.client(time.Second).Counter("k").Value(t.Context())
		if !errors.Is(err, test.kind) || test.kind == nil && err != nil {
			t.Errorf("%s: %v; want %v", name, err, test.kind)
		}
		var refused *Error
		if errors.As(err, &refused) && refused.Error() != "because" {
			t.Errorf("%s: %q is not what the member said", name, refused)
		}
	}
	for name, info := range map[string]*pb.ClusterInfo{"no shards": {}, "too many": {Shards: 1<<16 + 1}} {
		s := &script{answers: []func(context.Context) ([]byte, error){says(info)}}
		if _, err := (&remote{transport: s, user: transport.Trusted}).info(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("info of %s: %v", name, err)
		}
	}
}

// Whatever is asked says which protocol it is of.
func TestQuestionsCarryTheProtocol(t *testing.T) {
	var request pb.Request
	var question pb.SyncRequest
	for name, test := range map[string]struct {
		ask  func(c *Client) error
		sent interface {
			proto.Message
			GetProtocol() uint32
		}
	}{
		"a request":  {func(c *Client) error { return c.Register("k").Set(t.Context(), nil) }, &request},
		"info":       {func(c *Client) error { _, err := c.ask.(*remote).info(t.Context()); return err }, &request},
		"a question": {func(c *Client) error { _, err := c.Status(t.Context(), "eu", false); return err }, &question},
	} {
		s := &script{answers: []func(context.Context) ([]byte, error){fails(transport.ErrTooLarge)}}
		if err := test.ask(s.client(time.Second)); err == nil {
			t.Errorf("%s: no error", name)
		}
		if err := proto.Unmarshal(s.last, test.sent); err != nil || test.sent.GetProtocol() != pb.Protocol {
			t.Errorf("%s is of protocol %d, %v", name, test.sent.GetProtocol(), err)
		}
	}
}

// A failure is told in words of this package, not in those of the transport,
// and of what only reads it is known that nothing was changed.
func TestFailuresInWords(t *testing.T) {
	status := func(c *Client) error { _, err := c.Status(context.Background(), "us", false); return err }
	scrub := func(c *Client) error { _, err := c.Scrub(context.Background(), "us"); return err }
	start := func(c *Client) error { _, err := c.StartScrub(context.Background(), "us", true); return err }
	read := func(c *Client) error { _, err := c.Counter("k").Value(context.Background()); return err }
	write := func(c *Client) error { return c.Register("k").Set(context.Background(), nil) }
	for name, test := range map[string]struct {
		call   func(*Client) error
		answer func(context.Context) ([]byte, error)
		cause  error
		kind   error
		words  string
	}{
		"silent member":    {status, silence, context.DeadlineExceeded, ErrUnreachable, "member us did not answer within 3s"},
		"silent scrub":     {scrub, silence, context.DeadlineExceeded, ErrUnreachable, "member us did not answer within 3s"},
		"start of a scrub": {start, silence, context.DeadlineExceeded, ErrOutcomeUnknown, "member us did not answer within 3s"},
		"silent read":      {read, silence, context.DeadlineExceeded, ErrUnreachable, "no member answered within 3s"},
		"silent write":     {write, silence, context.DeadlineExceeded, ErrOutcomeUnknown, "no member answered within 3s"},
		"no such member":   {status, fails(transport.ErrNoResponders), transport.ErrNoResponders, ErrUnreachable, "member us does not answer"},
		"nobody":           {write, fails(transport.ErrNoResponders), transport.ErrNoResponders, ErrUnreachable, "no member answers"},
		"no connection":    {write, fails(transport.ErrUnreachable), transport.ErrUnreachable, ErrUnreachable, "not connected to any member"},
		"lost by a read":   {read, fails(transport.ErrInterrupted), transport.ErrInterrupted, ErrUnreachable, "the connection was lost before the answer came"},
		"lost by a write":  {write, fails(transport.ErrInterrupted), transport.ErrInterrupted, ErrOutcomeUnknown, "the connection was lost before the answer came"},
		"closed meanwhile": {read, fails(transport.ErrClosed), transport.ErrClosed, ErrUnreachable, "closed before the answer came"},
		"busy":             {read, fails(transport.ErrBusy), transport.ErrBusy, ErrBusy, "it has too many requests under way"},
		"too large":        {write, fails(transport.ErrTooLarge), transport.ErrTooLarge, ErrInvalid, "too large for one message, which has up to 4 MiB; send it in parts"},
		"too much to read": {read, fails(transport.ErrTooLarge), transport.ErrTooLarge, ErrInvalid, "too large for one message, which has up to 4 MiB; ask for less at once"},
		"bad name":         {status, fails(transport.ErrBadSubject), transport.ErrBadSubject, ErrInvalid, `no member can be named "us"`},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				s := &script{answers: []func(context.Context) ([]byte, error){test.answer}}
				err := test.call(s.client(3 * time.Second))
				if !errors.Is(err, test.kind) || !errors.Is(err, test.cause) {
					t.Errorf("%v; want %v and %v", err, test.kind, test.cause)
				}
				if want := test.kind.Error() + ": " + test.words; err.Error() != want {
					t.Errorf("%q; want %q", err, want)
				}
			})
		})
	}
	// What a member's handler says comes through, without where it was said.
	err := (call{}).meaning(fmt.Errorf("request %q: %w", "kv.eu.3.-", errors.New("who knows")))
	if !errors.Is(err, ErrUnavailable) || err.Error() != "member unavailable: who knows" {
		t.Errorf("a handler that failed: %v", err)
	}
	err = unconnected([]string{"eu:4222"}, transport.ErrBusy)
	if want := "cluster unreachable: no member answers at eu:4222; what listens there has too many requests under way"; err.Error() != want {
		t.Errorf("%q; want %q", err, want)
	}
}

// While nobody tells the regions, it is said in the same words.
func TestNoRegionsInWords(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := &script{answers: []func(context.Context) ([]byte, error){fails(transport.ErrUnreachable)}}
		_, err := New(&remote{transport: s, user: transport.Trusted}, 8, 0).Counter("k").Add(context.Background(), 1)
		if !errors.Is(err, ErrUnreachable) || err.Error() != "cluster unreachable: not connected to any member" {
			t.Errorf("%v", err)
		}
	})
}
