package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

const (
	// lookTimeout bounds one attempt of a question that changes nothing.
	lookTimeout = time.Second
	// surveyEvery is how long to go by what is known of the regions, and
	// surveyTimeout how long to wait for news of them.
	surveyEvery   = 15 * time.Second
	surveyTimeout = lookTimeout / 2
)

// remote asks over the network.
type remote struct {
	transport transport.Transport
	user      string                 // in the subjects
	closed    atomic.Bool            // with its client
	known     atomic.Pointer[survey] // nil: the regions must be asked for
}

// survey is what a member said of the regions.
type survey struct {
	regions []string       // the nearest first
	level   pb.Consistency // of requests that name none
	when    time.Time
}

// moved is called when the connection was lost or is there again: another
// region may be the nearest now.
func (r *remote) moved(string) { r.known.Store(nil) }

// Do asks the nearest region that has an owner of the shard. Only one region
// serves a subject, so that nothing is served twice. An operation with an id is
// sent again where there is no answer.
func (r *remote) Do(ctx context.Context, shard int, request *pb.Request) (*pb.Answer, error) {
	where := func(ctx context.Context) ([]string, error) {
		regions, err := r.regions(ctx)
		subjects := make([]string, len(regions))
		for i, region := range regions {
			subjects[i] = transport.Requests(region, shard, r.user)
		}
		return subjects, err
	}
	var answer pb.Answer
	var early instead
	hintable := takesHints(request) && !r.waits(request)
	if hintable {
		early = func(ctx context.Context) (bool, error) { return r.hintEarly(ctx, shard, request, &answer) }
	}
	var err error
	switch {
	case len(request.GetOperation()) > 0:
		err = r.insist(ctx, where, request, &answer, early)
	case onlyReads(request) && !r.waits(request):
		err = r.look(ctx, where, request, &answer)
	case onlyReads(request):
		_, err = r.hedge(ctx, where, request, &answer)
	default:
		err = r.request(ctx, where, request, &answer, early)
	}
	if errors.Is(err, transport.ErrNoResponders) && hintable {
		if hinted := r.hint(ctx, shard, request, &answer); !errors.Is(hinted, transport.ErrNoResponders) {
			err = hinted
		}
	}
	return &answer, err
}

// waits says whether a request takes as long as it waits for other owners.
func (r *remote) waits(request *pb.Request) bool {
	if known := r.known.Load(); request.Consistency == nil && known != nil {
		return known.level != pb.Consistency_ONE
	}
	return request.GetConsistency() != pb.Consistency_ONE
}

// instead serves a request otherwise when nobody is there who should, and says
// whether it did.
type instead func(context.Context) (bool, error)

// hint has any member take a write, the nearest first, as no owner is there.
func (r *remote) hint(ctx context.Context, shard int, request *pb.Request, answer *pb.Answer) error {
	data, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	regions, err := r.regions(ctx)
	if err != nil {
		return err
	}
	subjects := make([]string, len(regions))
	for i, region := range regions {
		subjects[i] = transport.Fallback(region, shard, r.user)
	}
	reply, err := r.first(ctx, subjects, data)
	if err != nil {
		return err
	}
	return proto.Unmarshal(reply, answer)
}

// hintEarly has a member take a write that knows already that no owner is there:
// otherwise it may be that one is, and not yet heard of where the client is.
func (r *remote) hintEarly(ctx context.Context, shard int, request *pb.Request, answer *pb.Answer) (bool, error) {
	cautious := proto.CloneOf(request)
	cautious.IfAbsent = true
	err := r.hint(ctx, shard, cautious, answer)
	if isUnserved(err) || errors.Is(err, ErrUnreachable) || answer.GetError().GetCode() == pb.Error_NOT_OWNER {
		proto.Reset(answer)
		return false, nil
	}
	return err == nil, err
}

// takesHints says whether a request can be done by a member that knows nothing
// of the objects.
func takesHints(request *pb.Request) bool {
	for _, op := range request.GetOperations() {
		switch op.GetWhat().(type) {
		case *pb.Operation_CounterAdd, *pb.Operation_SetAdd, *pb.Operation_RegisterSet:
		default:
			return false
		}
	}
	return true
}

// onlyReads says whether a request can be repeated without a thought.
func onlyReads(request *pb.Request) bool {
	for _, op := range request.GetOperations() {
		switch op.GetWhat().(type) {
		case *pb.Operation_CounterGet, *pb.Operation_SetHas, *pb.Operation_SetCard,
			*pb.Operation_SetMembers, *pb.Operation_RegisterGet, *pb.Operation_Scan:
		default:
			return false
		}
	}
	return true
}

// regions returns all regions, the nearest first. When it fails, nothing that
// was to be sent there has been sent.
func (r *remote) regions(ctx context.Context) ([]string, error) {
	known := r.known.Load()
	if known != nil && time.Since(known.when) < surveyEvery {
		return known.regions, nil
	}
	if known != nil { // good enough if there is no answer
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, surveyTimeout)
		defer cancel()
	}
	info, err := r.info(ctx)
	switch {
	case err == nil:
		return regionsOf(info), nil
	case known != nil:
		return known.regions, nil
	}
	if err = (call{reads: true}).meaning(err); !errors.Is(err, ErrUnreachable) {
		err = fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return nil, err
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
	return &answer, r.look(ctx, at(transport.Questions(member, r.user)), question, &answer)
}

// info asks any member of the nearest region, and remembers the regions.
func (r *remote) info(ctx context.Context) (*pb.ClusterInfo, error) {
	var info pb.ClusterInfo
	if err := r.look(ctx, at(transport.Info(r.user)), &pb.Request{Protocol: pb.Protocol}, &info); err != nil {
		return nil, err
	}
	if e := info.GetError(); e != nil {
		return nil, (call{reads: true}).refusal(ctx, e)
	}
	if n := info.GetShards(); n < 1 || n > maxShards {
		return nil, fmt.Errorf("%w: a cluster of %d shards", ErrUnavailable, n)
	}
	regions := regionsOf(&info)
	for _, region := range regions {
		if err := transport.CheckSubject(transport.Requests(region, 0, r.user)); err != nil {
			return nil, fmt.Errorf("%w: a region named %.64q", ErrUnavailable, region)
		}
	}
	r.known.Store(&survey{regions, info.GetConsistency(), time.Now()})
	return &info, nil
}

func regionsOf(info *pb.ClusterInfo) []string {
	return slices.Concat([]string{info.GetRegion()}, info.GetRegions())
}

// subjects tells where to send a request: to the first of them that somebody
// serves.
type subjects func(context.Context) ([]string, error)

func at(subject string) subjects {
	return func(context.Context) ([]string, error) { return []string{subject}, nil }
}

// look puts a question that changes nothing, again and again while ctx lasts:
// what is asked while servers are linking up can be lost without a word.
func (r *remote) look(ctx context.Context, where subjects, question, answer proto.Message) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, lookTimeout)
		err := r.request(attempt, where, question, answer, nil)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
	}
}

// request sends again what surely was not served: nobody there yet, no
// connection yet, or busy. If nobody is there, early is tried once, unless it is
// nil.
func (r *remote) request(ctx context.Context, where subjects, question, answer proto.Message, early instead) error {
	data, err := proto.Marshal(question)
	if err != nil {
		return err
	}
	for try, pause := 0, retryPause; ; try, pause = try+1, 2*pause {
		if r.closed.Load() {
			return errClosed
		}
		subjects, err := where(ctx)
		if err != nil {
			return err
		}
		reply, err := r.first(ctx, subjects, data)
		if err == nil {
			err = decode(reply, answer)
		}
		if !isUnserved(err) || try == retries {
			return err
		}
		if early != nil && errors.Is(err, transport.ErrNoResponders) {
			if served, err := early(ctx); served || err != nil {
				return err
			}
			early = nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// decode reads an answer. A member that does not tell the regions, as too many requests
// of the user are under way, is as busy as a server that has too many.
func decode(reply []byte, answer proto.Message) error {
	err := proto.Unmarshal(reply, answer)
	if info, ok := answer.(*pb.ClusterInfo); ok && info.GetError().GetCode() == pb.Error_BUSY {
		return transport.ErrBusy
	}
	return err
}

// isUnserved says of an error that surely nothing was done.
func isUnserved(err error) bool {
	return errors.Is(err, transport.ErrNoResponders) || errors.Is(err, transport.ErrUnreachable) || errors.Is(err, transport.ErrBusy)
}

// first returns the answer from the first of the subjects that is served.
func (r *remote) first(ctx context.Context, subjects []string, data []byte) (reply []byte, err error) {
	for _, subject := range subjects {
		reply, err = r.transport.Request(ctx, subject, data)
		if !errors.Is(err, transport.ErrNoResponders) {
			break
		}
	}
	return reply, err
}
