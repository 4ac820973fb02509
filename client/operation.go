package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

// ErrNotRemembered says that it cannot be known whether an operation was done
// before: its id was made more than half an hour ago, as members are set by
// default, or clocks differ by as much, or too many are remembered already. It was
// not done now.
var ErrNotRemembered = errors.New("operation not remembered")

// maxRetryPause bounds the pause before an operation is sent again.
const maxRetryPause = 500 * time.Millisecond

// OperationID names an operation for good, so that it can be sent again and counts
// once. It says when it was made.
type OperationID crdt.OperationID

// NewOperationID returns an id for an operation that begins now.
func NewOperationID() OperationID {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails
	return OperationID(crdt.NewOperationID(time.Now().UnixMilli(), random))
}

// ParseOperationID returns the id of which String returned the text, or
// ErrInvalid.
func ParseOperationID(text string) (id OperationID, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%w: the operation id %.64q; it has %d hexadecimal digits", ErrInvalid, text, 2*len(id))
	}
	return OperationID(b), nil
}

// String returns the id as 32 hexadecimal digits.
func (id OperationID) String() string { return hex.EncodeToString(id[:]) }

// Time returns when the id was made.
func (id OperationID) Time() time.Time { return time.UnixMilli(crdt.OperationID(id).UnixMs()) }

// AddOnce adds k under an id: called again with the same id, key and k, by whatever
// program, it adds nothing more and returns the value as it is now. It fails with
// ErrNotRemembered if it cannot be known any more whether the operation was done.
func (c *Counter) AddOnce(ctx context.Context, id OperationID, k int64) (int64, error) {
	r, err := c.client.once(ctx, id[:], c.key, &pb.Operation{What: &pb.Operation_CounterAdd{CounterAdd: k}})
	if err != nil {
		return 0, err
	}
	return r[0].GetNumber(), nil
}

// lost says that an attempt got no answer, and why there are no more.
func lost(why string) error {
	return &failure{ErrOutcomeUnknown, "an attempt got no answer, and then " + why, transport.ErrInterrupted}
}

// insist sends an operation with an id again until there is an answer, as long as
// ctx lasts: to the nearest region twice, then to the others in turn, unless it waits
// for owners there. What may have been done by an attempt without an answer is not
// said to be undone by a later refusal.
func (r *remote) insist(ctx context.Context, where subjects, request *pb.Request, answer *pb.Answer, early instead) error {
	unsure := false
	for try, pause := 0, retryPause; ; try, pause = try+1, min(2*pause, maxRetryPause) {
		proto.Reset(answer)
		if unsure {
			early = nil // an owner may have done it, and tells when it is back
		}
		turn := try / 2
		if r.waits(request) {
			turn = 0 // a level is one of the region
		}
		besides, err := r.attempt(ctx, turned(where, turn), request, answer, early)
		unsure = unsure || besides
		refused := answer.GetError()
		switch {
		case err == nil && refused == nil:
			return nil
		case err != nil && ctx.Err() != nil && unsure:
			return ctx.Err() // the last attempt may have been refused, an earlier one not
		case err != nil && ctx.Err() != nil:
			return err
		case errors.Is(err, context.DeadlineExceeded):
			unsure = unsure || !errors.Is(err, ErrUnreachable) // which says that it was not sent
			continue
		case errors.Is(err, transport.ErrInterrupted), isUnsure(refused) && try < retries:
			unsure = true
		case isUnsure(refused), !unsure:
			return err
		case err != nil && !isUnserved(err):
			return lost(callOf(ctx, "", false).meaning(err).Error())
		case err == nil && refused.GetCode() == pb.Error_NOT_ENOUGH:
			refused.Text += doubt
			return nil
		case err == nil && !isPassing(refused) && refused.GetCode() != pb.Error_BUSY && refused.GetCode() != pb.Error_NO_SPACE:
			return lost("a member refused: " + refused.GetText())
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// doubt is said of what too few owners confirmed, after an attempt without an answer.
const doubt = "; an attempt before got no answer, and may have been done"

// attempt sends a request once, or as hedge does if it waits for other owners. besides
// says that it may have been done, whatever answer and error say.
func (r *remote) attempt(ctx context.Context, where subjects, request *pb.Request, answer *pb.Answer, early instead) (besides bool, err error) {
	if r.waits(request) {
		return r.hedge(ctx, where, request, answer)
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return false, r.request(ctx, where, request, answer, early)
}

// hedge sends a request that waits for other owners, and that can be repeated, again and
// again until there is an answer or ctx ends: who serves it may be gone. Each attempt
// that is under way doubles the pause before the next, so they are few. The first answer
// counts, whichever it is to; a refusal does if no other attempt is under way, or if it
// is of all owners. besides says that another attempt than the one that counts may have
// been done.
func (r *remote) hedge(ctx context.Context, where subjects, request *pb.Request, answer *pb.Answer) (besides bool, err error) {
	const most = 16 // attempts under way; the pauses before the last take nine hours
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	replies := make(chan reply, most)
	again := time.NewTimer(0)
	defer again.Stop()
	var last reply
	for open := 0; ; {
		select {
		case <-again.C:
			if open < most {
				open++
				go func() { replies <- r.reply(ctx, where, request) }()
			}
			again.Reset(lookTimeout << (open - 1))
		case got := <-replies:
			open--
			if got.err != nil && last.refused() != nil {
				got, last = last, got // a refusal tells more than silence
			}
			besides = besides || last.isUnsure()
			last = got
			if open == 0 || got.counts() {
				proto.Merge(answer, got.answer)
				return besides || open > 0, got.err
			}
		}
	}
}

// reply is what came of one of several attempts.
type reply struct {
	answer *pb.Answer
	err    error
}

// reply sends a request once, with as much patience as there is time left.
func (r *remote) reply(ctx context.Context, where subjects, request *pb.Request) reply {
	request = proto.CloneOf(request)
	request.PatienceMs = patience(ctx)
	got := reply{answer: &pb.Answer{}}
	got.err = r.request(ctx, where, request, got.answer, nil)
	return got
}

func (p reply) refused() *pb.Error { return p.answer.GetError() }

// counts says that there is no need to wait for other attempts. That too few owners
// answered is said when they are known to be down, or when time is up.
func (p reply) counts() bool {
	return p.err == nil && (p.refused() == nil || p.refused().GetCode() == pb.Error_NOT_ENOUGH)
}

// isUnsure says that the operation may have been done by the attempt.
func (p reply) isUnsure() bool {
	if p.err != nil {
		return !isUnserved(p.err) && !errors.Is(p.err, ErrUnreachable)
	}
	return isUnsure(p.refused())
}

// turned begins with the n-th of the subjects.
func turned(where subjects, n int) subjects {
	return func(ctx context.Context) ([]string, error) {
		all, err := where(ctx)
		if len(all) == 0 {
			return all, err
		}
		first := n % len(all) // n is shared by attempts at the same time
		return append(all[first:len(all):len(all)], all[:first]...), err
	}
}

// isUnsure says of a refusal that the operation may have been done.
func isUnsure(e *pb.Error) bool {
	return e != nil && (e.GetCode() == pb.Error_UNKNOWN || e.GetCode() == pb.Error_UNAVAILABLE)
}
