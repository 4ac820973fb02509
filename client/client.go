package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/internal/ring"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
)

var (
	// ErrInvalid says that the request breaks a rule, such as a limit; the text
	// says which. Nothing was changed.
	ErrInvalid = errors.New("invalid request")
	// ErrOverflow says that a counter would leave the range of int64. Nothing
	// was changed.
	ErrOverflow = errors.New("counter overflow")
	// ErrNotFound says that a register has no value.
	ErrNotFound = errors.New("not found")
	// ErrUnreachable says that no member could be asked. Nothing was changed.
	ErrUnreachable = errors.New("cluster unreachable")
	// ErrBusy says that the member had too much to do. Nothing was changed.
	ErrBusy = errors.New("member busy")
	// ErrUnavailable says that the member's disk failed. It is not known
	// whether a write was done.
	ErrUnavailable = errors.New("member unavailable")
	// ErrOutcomeUnknown says that no answer came in time. It is not known
	// whether a write was done.
	ErrOutcomeUnknown = errors.New("no answer in time")
)

const (
	// retries bounds how often a request that surely was not served is sent
	// again, and retryPause is the wait before the first; it doubles.
	retries    = 6
	retryPause = 10 * time.Millisecond
)

// Options configures Connect.
type Options struct {
	// Servers are addresses of members, host:port, those of the nearest region
	// first. Required.
	Servers []string
	// Name tells the connection apart in the servers' tools. Default "client".
	Name string
	// Timeout bounds calls whose context has no deadline. Default 5 s.
	Timeout time.Duration
}

// Client is a connection to a cluster.
type Client struct {
	ask     Asker
	shards  int
	timeout time.Duration
	close   func() error
}

// Asker serves requests: a member in the same process, or the network.
type Asker interface {
	// Do serves a request for a shard.
	Do(ctx context.Context, shard int, request *pb.Request) (*pb.Answer, error)
	// Ask puts a question to the named member, or to any if the name is empty.
	Ask(ctx context.Context, member string, question *pb.SyncRequest) (*pb.SyncAnswer, error)
}

// Connect connects to a cluster. It fails with ErrUnreachable, which names the
// servers tried.
func Connect(ctx context.Context, o Options) (*Client, error) {
	if len(o.Servers) == 0 {
		return nil, fmt.Errorf("%w: no servers given; it takes the host:port of a member", ErrInvalid)
	}
	conn, err := nats.Dial(ctx, o.Servers, nats.DialOptions{Name: o.Name})
	if err != nil {
		return nil, meaning(err)
	}
	r := &remote{transport: conn}
	timeout := cmp.Or(o.Timeout, 5*time.Second)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	info, err := r.info(ctx)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	r.member = info.GetMember()
	c := New(r, int(info.GetShards()), timeout)
	c.close = conn.Close
	return c, nil
}

// New returns a client of whoever answers; timeout is as in Options. Programs
// get one from Connect, or from a server that they embed.
func New(a Asker, shards int, timeout time.Duration) *Client {
	return &Client{ask: a, shards: shards, timeout: cmp.Or(timeout, 5*time.Second), close: func() error { return nil }}
}

// Close disconnects.
func (c *Client) Close() error { return c.close() }

// Delete removes what a key holds, of every type, as far as the region has
// seen it, and returns how many objects that were.
func (c *Client) Delete(ctx context.Context, key string) (int, error) {
	r, err := c.one(ctx, key, &pb.Operation{What: &pb.Operation_Delete{Delete: &pb.Delete{}}})
	return int(r.GetNumber()), err
}

// one does one operation on a key.
func (c *Client) one(ctx context.Context, key string, op *pb.Operation) (*pb.Result, error) {
	op.Key = []byte(key)
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	answer, err := c.ask.Do(ctx, ring.Shard(key, c.shards), &pb.Request{Operations: []*pb.Operation{op}})
	if err != nil {
		return nil, meaning(err)
	}
	if err := refusal(answer.GetError()); err != nil {
		return nil, err
	}
	if len(answer.GetResults()) != 1 {
		return nil, fmt.Errorf("%w: an answer of %d results to one operation", ErrUnavailable, len(answer.GetResults()))
	}
	return answer.GetResults()[0], nil
}

// refusal returns the error that an answer carries.
func refusal(e *pb.Error) error {
	if e == nil {
		return nil
	}
	kind := map[pb.Error_Code]error{
		pb.Error_INVALID: ErrInvalid, pb.Error_WRONG_SHARD: ErrInvalid, pb.Error_OVERFLOW: ErrOverflow,
		pb.Error_BUSY: ErrBusy, pb.Error_UNAVAILABLE: ErrUnavailable,
	}[e.GetCode()]
	if kind == nil {
		kind = ErrOutcomeUnknown
	}
	return &Error{kind, e.GetText()}
}

// Error is what a member refused, in its own words.
type Error struct {
	kind error
	text string
}

// Error returns the member's words.
func (e *Error) Error() string { return e.text }

// Unwrap returns one of the package's errors.
func (e *Error) Unwrap() error { return e.kind }

// meaning says what an error of the transport means to a caller.
func meaning(err error) error {
	var kind error
	switch {
	case errors.Is(err, transport.ErrNoResponders), errors.Is(err, transport.ErrUnreachable),
		errors.Is(err, transport.ErrClosed):
		kind = ErrUnreachable
	case errors.Is(err, transport.ErrTooLarge):
		kind = ErrInvalid
	case errors.Is(err, transport.ErrBusy):
		kind = ErrBusy
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		kind = ErrOutcomeUnknown
	default:
		return err
	}
	return fmt.Errorf("%w: %w", kind, err)
}

// remote asks over the network.
type remote struct {
	transport transport.Transport
	member    string // the one that answered first
}

func (r *remote) Do(ctx context.Context, shard int, request *pb.Request) (*pb.Answer, error) {
	var answer pb.Answer
	return &answer, r.request(ctx, transport.Requests(shard), request, &answer)
}

func (r *remote) Ask(ctx context.Context, member string, question *pb.SyncRequest) (*pb.SyncAnswer, error) {
	var answer pb.SyncAnswer
	return &answer, r.request(ctx, transport.Sync(cmp.Or(member, r.member)), question, &answer)
}

func (r *remote) info(ctx context.Context) (*pb.ClusterInfo, error) {
	var info pb.ClusterInfo
	if err := r.request(ctx, transport.Info, &pb.Request{}, &info); err != nil {
		return nil, meaning(err)
	}
	if n := info.GetShards(); n < 1 || n > 1<<16 {
		return nil, fmt.Errorf("%w: a cluster of %d shards", ErrUnreachable, n)
	}
	return &info, nil
}

// request sends again what surely was not served: nobody there yet, or busy.
func (r *remote) request(ctx context.Context, subject string, question, answer proto.Message) error {
	data, err := proto.Marshal(question)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	for try, pause := 0, retryPause; ; try, pause = try+1, 2*pause {
		reply, err := r.transport.Request(ctx, subject, data)
		if err == nil {
			return proto.Unmarshal(reply, answer)
		}
		if again := errors.Is(err, transport.ErrNoResponders) || errors.Is(err, transport.ErrBusy); !again || try == retries {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}
