package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/keys"
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
	// ErrUnreachable says that no member could be asked: none listens at the
	// servers given, the connection is down, none serves the key, the client or the
	// member that it is within is closed, or the context had ended already; or that
	// what only reads got no answer before the context ended or the connection was
	// lost. Nothing was changed.
	ErrUnreachable = errors.New("cluster unreachable")
	// ErrBusy says that the member had too much to do. Nothing was changed.
	ErrBusy = errors.New("member busy")
	// ErrNoSpace says that the member's disk is full. Nothing was changed.
	ErrNoSpace = errors.New("no space on the member's disk")
	// ErrBehind says that the member has not heard in time what the session has
	// seen elsewhere. Nothing was changed.
	ErrBehind = errors.New("behind the session")
	// ErrUnavailable says that the member's disk failed, or that its answer
	// made no sense. It is not known whether a write was done.
	ErrUnavailable = errors.New("member unavailable")
	// ErrForbidden says that the cluster does not let this user in, or not do this.
	// Nothing was changed.
	ErrForbidden = errors.New("forbidden")
	// ErrProtocol says that the member does not speak the protocol of this client:
	// one of the two is too old. Nothing was changed.
	ErrProtocol = errors.New("protocol not spoken")
	// ErrOutcomeUnknown says that a write got no answer before the context ended
	// or the connection was lost. It is not known whether it was done.
	ErrOutcomeUnknown = errors.New("outcome unknown")
)

const (
	// retries bounds how often a request that surely was not served is sent
	// again, and retryPause is the wait before the first; it doubles.
	retries    = 6
	retryPause = 10 * time.Millisecond

	defaultTimeout = 5 * time.Second
	maxShards      = 1 << 16
)

// Options configures Connect.
type Options struct {
	// Servers are addresses of members, host:port, those of the nearest region
	// first. Required.
	Servers []string
	// Name tells the connection apart in the servers' tools. Default "client".
	Name string
	// Timeout bounds Connect, and calls whose context has no deadline.
	// Default 5 s.
	Timeout time.Duration
	// Key is a file with the key of a user, for a cluster that has users: crdtctl
	// user makes it. CA is a file with the certificates of who vouches for the
	// members, for a cluster that speaks TLS; with it, the client does, too. A key
	// takes an authority.
	Key, CA string
	// Login and TLS are in place of the two files.
	Login Signer
	TLS   *tls.Config
	// Credentials is a file with a JWT and its seed, for NATS servers of somebody
	// else.
	Credentials string
	// User is the name of the user: by default that of Key, or that before the
	// host of the first server, or nobody's.
	User string
}

// Signer proves who somebody is by a key that it does not show.
type Signer interface {
	// Public returns the public nkey, and Sign signs with what belongs to it.
	Public() string
	Sign(nonce []byte) ([]byte, error)
}

func (o Options) validate() error {
	switch {
	case len(o.Servers) == 0:
		return fmt.Errorf("%w: no servers given; it takes the host:port of a member", ErrInvalid)
	case o.Timeout < 0:
		return fmt.Errorf("%w: a timeout of %v; it takes more than 0", ErrInvalid, o.Timeout)
	case o.Key != "" && (o.Login != nil || o.Credentials != ""), o.Login != nil && o.Credentials != "":
		return fmt.Errorf("%w: two ways to log in are given; it takes one", ErrInvalid)
	case (o.Key != "" || o.Login != nil) && o.CA == "" && o.TLS == nil:
		return fmt.Errorf("%w: a key without the authority of the members would be used for whoever answers; name its file, too", ErrInvalid)
	case o.CA != "" && o.TLS != nil:
		return fmt.Errorf("%w: a file of authorities is given, and TLS is set besides", ErrInvalid)
	}
	return nil
}

// resolved returns the options with what the files that they name hold.
func (o Options) resolved() (Options, error) {
	if err := o.validate(); err != nil {
		return o, err
	}
	if o.Key != "" {
		k, err := keys.Read(o.Key)
		if err != nil {
			return o, fmt.Errorf("%w: the key of the user cannot be used: %w", ErrInvalid, err)
		}
		o.Login, o.User = k, cmp.Or(o.User, k.User)
	}
	if o.CA != "" {
		var err error
		if o.TLS, err = keys.Client(o.CA); err != nil {
			return o, fmt.Errorf("%w: the authorities of members cannot be used: %w", ErrInvalid, err)
		}
	}
	if u, err := address(o.Servers[0]); err == nil && u.User != nil && o.User == "" {
		if _, isUser := u.User.Password(); isUser { // or it is a token
			o.User = u.User.Username()
		}
	}
	if o.User != "" && transport.CheckSubject(transport.Info(o.User)) != nil {
		return o, fmt.Errorf("%w: the name of a user, %.64q, is not 1 to 64 letters, digits, - or _", ErrInvalid, o.User)
	}
	return o, nil
}

// dial returns what the transport is told.
func (o Options) dial(r *remote) nats.DialOptions {
	d := nats.DialOptions{Name: o.Name, User: o.User, TLS: o.TLS, Credentials: o.Credentials, Lost: r.moved}
	if o.Login != nil {
		d.Login = &nats.Login{Key: o.Login.Public(), Sign: o.Login.Sign}
	}
	return d
}

// Client is a connection to a cluster.
type Client struct {
	ask     Asker
	shards  int
	timeout time.Duration
	close   func() error
	closed  *atomic.Bool    // shared with its sessions and levels
	session *session        // nil: none
	level   *pb.Consistency // nil: the default of the cluster
}

// Asker serves requests: a member in the same process, or the network.
type Asker interface {
	// Do serves a request for a shard.
	Do(ctx context.Context, shard int, request *pb.Request) (*pb.Answer, error)
	// Ask puts a question to the named member, or to any if the name is empty.
	Ask(ctx context.Context, member string, question *pb.SyncRequest) (*pb.SyncAnswer, error)
}

// Connect connects to the first of the servers that answers. It fails with
// ErrInvalid, ErrUnreachable, or ErrForbidden if that does not let it in.
func Connect(ctx context.Context, o Options) (*Client, error) {
	o, err := o.resolved()
	if err != nil {
		return nil, err
	}
	timeout := cmp.Or(o.Timeout, defaultTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r := &remote{user: cmp.Or(o.User, transport.Trusted)}
	conn, err := nats.Dial(ctx, o.Servers, o.dial(r))
	if err != nil {
		return nil, unconnected(o.Servers, err)
	}
	r.transport = conn
	info, err := r.info(ctx)
	if err != nil {
		return nil, errors.Join(unconnected(o.Servers, err), conn.Close())
	}
	c := New(r, int(info.GetShards()), timeout)
	c.close, c.closed = conn.Close, &r.closed
	return c, nil
}

// New returns a client of whoever answers; timeout is as in Options. Programs
// get one from Connect, or from a server that they embed.
func New(a Asker, shards int, timeout time.Duration) *Client {
	return &Client{
		ask: a, shards: shards, timeout: cmp.Or(timeout, defaultTimeout),
		close: func() error { return nil }, closed: &atomic.Bool{},
	}
}

// Close disconnects. Writes that are under way fail with ErrOutcomeUnknown, all
// else, and what comes after it, with ErrUnreachable. Within a member nothing is
// disconnected: calls that are under way go on, what comes after them fails, and
// neither the member nor its other clients are closed.
func (c *Client) Close() error {
	c.closed.Store(true)
	return c.close()
}

// errClosed says of a call that it came after Close.
var errClosed = &failure{ErrUnreachable, "the client is closed", transport.ErrClosed}

// Shards returns the number of shards of the cluster.
func (c *Client) Shards() int { return c.shards }

// Delete removes what a key holds, of every type, as far as the region has
// seen it, and returns how many objects that were.
func (c *Client) Delete(ctx context.Context, key string) (int, error) {
	r, err := c.one(ctx, key, &pb.Operation{What: &pb.Operation_Delete{Delete: &pb.Delete{}}})
	return int(r.GetNumber()), err
}

// Types returns the types of the objects that a key holds, none for a key that
// holds nothing. A key may hold an object of each type; they do not touch each
// other.
func (c *Client) Types(ctx context.Context, key string) ([]crdt.Type, error) {
	r, err := c.do(ctx, key,
		&pb.Operation{What: &pb.Operation_CounterGet{CounterGet: &pb.Empty{}}},
		&pb.Operation{What: &pb.Operation_SetCard{SetCard: &pb.Empty{}}},
		&pb.Operation{What: &pb.Operation_RegisterGet{RegisterGet: &pb.Empty{}}})
	if err != nil {
		return nil, err
	}
	var held []crdt.Type
	for t, isHeld := range map[crdt.Type]bool{
		crdt.TypeCounter: r[0].GetFlag(), crdt.TypeSet: r[1].GetNumber() > 0, crdt.TypeRegister: r[2].GetFlag(),
	} {
		if isHeld {
			held = append(held, t)
		}
	}
	slices.Sort(held)
	return held, nil
}

// bound returns the context of one call.
func (c *Client) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, bounded := ctx.Deadline(); bounded {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.timeout)
}

// one does one operation on a key.
func (c *Client) one(ctx context.Context, key string, op *pb.Operation) (*pb.Result, error) {
	results, err := c.do(ctx, key, op)
	if err != nil {
		return nil, err
	}
	return results[0], nil
}

// do does operations on a key, all of them or none.
func (c *Client) do(ctx context.Context, key string, ops ...*pb.Operation) ([]*pb.Result, error) {
	return c.once(ctx, nil, key, ops...)
}

// once does operations on a key under an id, if there is one.
func (c *Client) once(ctx context.Context, id []byte, key string, ops ...*pb.Operation) ([]*pb.Result, error) {
	for _, op := range ops {
		op.Key = []byte(key)
	}
	return c.inShard(ctx, ring.Shard(key, c.shards), id, ops...)
}

// inShard does operations in a shard under an id, if there is one.
func (c *Client) inShard(ctx context.Context, shard int, id []byte, ops ...*pb.Operation) ([]*pb.Result, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	if err := ctx.Err(); err != nil { // before anything was sent
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if c.closed.Load() {
		return nil, errClosed
	}
	request := &pb.Request{
		Operations: ops, Operation: id, After: c.session.after(shard), Consistency: c.level, PatienceMs: patience(ctx),
		Protocol: pb.Protocol,
	}
	call := callOf(ctx, "", onlyReads(request))
	answer, err := c.ask.Do(ctx, shard, request)
	for err == nil && isPassing(answer.GetError()) && !endsSoon(ctx) {
		time.Sleep(retryPause)
		answer, err = c.ask.Do(ctx, shard, request)
	}
	if err != nil {
		return nil, call.meaning(err)
	}
	if err := call.refusal(ctx, answer.GetError()); err != nil {
		return nil, err
	}
	if n := len(answer.GetResults()); n != len(ops) {
		return nil, fmt.Errorf("%w: an answer of %d results to %d operations", ErrUnavailable, n, len(ops))
	}
	if err := c.session.saw(shard, answer.GetVector()); err != nil {
		return nil, err
	}
	return answer.GetResults(), nil
}

// question puts a question to a member, or to any if the name is empty.
func (c *Client) question(ctx context.Context, member string, reads bool, question *pb.SyncRequest) (*pb.SyncAnswer, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	if c.closed.Load() {
		return nil, errClosed
	}
	call := callOf(ctx, member, reads)
	question.Protocol = pb.Protocol
	answer, err := c.ask.Ask(ctx, member, question)
	if err != nil {
		return nil, call.meaning(err)
	}
	if err := call.refusal(ctx, answer.GetError()); err != nil {
		return nil, err
	}
	return answer, nil
}

// isPassing says of a refusal that it will not last.
func isPassing(e *pb.Error) bool {
	return e.GetCode() == pb.Error_BEHIND || e.GetCode() == pb.Error_NOT_OWNER
}

// endsSoon says that there is no time for a member to wait for a session once more.
func endsSoon(ctx context.Context) bool {
	deadline, _ := ctx.Deadline() // bound has seen to it
	return time.Until(deadline) < lookTimeout
}

// refusal returns the error that an answer carries.
func (c call) refusal(ctx context.Context, e *pb.Error) error {
	if e == nil {
		return nil
	}
	kind := map[pb.Error_Code]error{
		pb.Error_INVALID: ErrInvalid, pb.Error_WRONG_SHARD: ErrInvalid, pb.Error_OVERFLOW: ErrOverflow,
		pb.Error_BUSY: ErrBusy, pb.Error_UNAVAILABLE: ErrUnavailable, pb.Error_BEHIND: ErrBehind, pb.Error_NOT_ENOUGH: ErrNotEnough,
		pb.Error_NO_SPACE: ErrNoSpace, pb.Error_NOT_OWNER: ErrUnreachable, pb.Error_NOT_REMEMBERED: ErrNotRemembered,
		pb.Error_FORBIDDEN: ErrForbidden, pb.Error_PROTOCOL: ErrProtocol,
	}[e.GetCode()]
	switch {
	case kind != nil:
		return &Error{kind, e.GetText()}
	case ctx.Err() != nil: // a member in this process saw the context end
		return c.meaning(ctx.Err())
	case c.reads:
		return &Error{ErrUnreachable, e.GetText()}
	}
	return &Error{ErrOutcomeUnknown, e.GetText()}
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
