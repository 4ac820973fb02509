package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

// link is a connection that a remote owns.
type link interface {
	transport.Transport
	Close() error
}

// remote asks over the network.
type remote struct {
	transport link
	closed    atomic.Bool
}

func (r *remote) close() error {
	r.closed.Store(true)
	return r.transport.Close()
}

func (r *remote) Do(ctx context.Context, shard int, request *pb.Request) (*pb.Answer, error) {
	var answer pb.Answer
	send := r.request
	if onlyReads(request) {
		send = r.look
	}
	return &answer, send(ctx, transport.Requests(shard), request, &answer)
}

// onlyReads says whether a request can be repeated without a thought.
func onlyReads(request *pb.Request) bool {
	for _, op := range request.GetOperations() {
		switch op.GetWhat().(type) {
		case *pb.Operation_CounterGet, *pb.Operation_SetHas, *pb.Operation_SetCard,
			*pb.Operation_SetMembers, *pb.Operation_RegisterGet:
		default:
			return false
		}
	}
	return true
}

// Ask finds out who is there if any member will do: it may be another one
// than last time.
func (r *remote) Ask(ctx context.Context, member string, question *pb.SyncRequest) (*pb.SyncAnswer, error) {
	if member == "" {
		info, err := r.info(ctx)
		if err != nil {
			return nil, err
		}
		member = info.GetMember()
	}
	var answer pb.SyncAnswer
	return &answer, r.look(ctx, transport.Sync(member), question, &answer)
}

// info asks any member of the nearest region.
func (r *remote) info(ctx context.Context) (*pb.ClusterInfo, error) {
	var info pb.ClusterInfo
	if err := r.look(ctx, transport.Info, &pb.Request{}, &info); err != nil {
		return nil, err
	}
	if n := info.GetShards(); n < 1 || n > maxShards {
		return nil, fmt.Errorf("%w: a cluster of %d shards", ErrUnavailable, n)
	}
	return &info, nil
}

// lookTimeout bounds one attempt of a question that changes nothing.
const lookTimeout = time.Second

// look puts a question that changes nothing, again and again while ctx lasts:
// what is asked while servers are linking up can be lost without a word.
func (r *remote) look(ctx context.Context, subject string, question, answer proto.Message) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, lookTimeout)
		err := r.request(attempt, subject, question, answer)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
	}
}

// request sends again what surely was not served: nobody there yet, no
// connection yet, or busy.
func (r *remote) request(ctx context.Context, subject string, question, answer proto.Message) error {
	data, err := proto.Marshal(question)
	if err != nil {
		return err
	}
	for try, pause := 0, retryPause; ; try, pause = try+1, 2*pause {
		if r.closed.Load() {
			return fmt.Errorf("%w: %w", ErrUnreachable, transport.ErrClosed)
		}
		reply, err := r.transport.Request(ctx, subject, data)
		if err == nil {
			return proto.Unmarshal(reply, answer)
		}
		again := errors.Is(err, transport.ErrNoResponders) || errors.Is(err, transport.ErrUnreachable) || errors.Is(err, transport.ErrBusy)
		if !again || try == retries {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}
