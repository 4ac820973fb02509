package replica

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

// answerBytes is how much of data an answer to a peer holds, about.
const answerBytes = 512 << 10

// network is what Start adds to a replica: the subscriptions at a transport.
type network struct {
	transport        transport.Transport
	subscriptions    []transport.Subscription
	deltas, requests coverage
}

// Start meets the peers over a transport, which must outlive the replica:
// serves requests, receives events, gossips, and catches up.
func (r *Replica) Start(t transport.Transport) error {
	t = &metered{t, r.options.Member, &r.meter.traffic}
	n := &network{transport: t}
	r.arranger.began = time.Now()
	n.deltas = coverage{all: transport.AllDeltas, one: transport.Delta, subscribe: func(pattern string) (transport.Subscription, error) {
		return t.Subscribe(pattern, r.receiveDelta)
	}}
	n.requests = coverage{all: transport.AllRequests(r.options.Region), one: func(shard int) string {
		return transport.ShardRequests(r.options.Region, shard)
	}, subscribe: func(pattern string) (transport.Subscription, error) {
		return t.Serve(pattern, transport.OwnersGroup, r.serveRequest)
	}}
	r.network.Store(n)
	add := func(s transport.Subscription, err error) error {
		if err == nil {
			n.subscriptions = append(n.subscriptions, s)
		}
		return err
	}
	err := firstError(
		add(t.Subscribe(transport.Gossip, r.receiveGossip)),
		add(t.Subscribe(transport.Heartbeat, r.receiveHeartbeat)),
		add(t.Serve(transport.AllFallbacks(r.options.Region), transport.OwnersGroup, r.serveFallback)),
		add(t.Serve(transport.Info(transport.Any), transport.OwnersGroup, r.serveInfo)),
		add(t.Serve(transport.Questions(r.options.Member, transport.Any), "", r.serveQuestion)),
		add(t.Serve(transport.Sync(r.options.Member), "", r.serveSync)),
	)
	if err != nil {
		return errors.Join(err, n.close())
	}
	if err := r.settleIn(n); err != nil {
		return errors.Join(err, n.close())
	}
	r.tasksWG.Go(r.gossip)
	r.tasksWG.Go(r.keep)
	r.tasksWG.Go(r.repairReads)
	if r.placed() {
		r.tasksWG.Go(r.arrange)
	}
	r.tasksWG.Go(r.forget)
	return nil
}

func (n *network) close() error {
	var errs []error
	for _, s := range n.subscriptions {
		errs = append(errs, s.Close())
	}
	n.subscriptions = nil
	return errors.Join(append(errs, n.deltas.close(), n.requests.close())...)
}

// shardOf returns the shard in a subject that names one.
func (r *Replica) shardOf(subject string) (int, error) {
	shard, err := strconv.Atoi(transport.ShardToken(subject))
	if err != nil || shard < 0 || shard >= len(r.shards) {
		return 0, fmt.Errorf("%w: subject %.64q; the cluster has shards 0 to %d", ErrWrongShard, subject, r.options.Shards-1)
	}
	return shard, nil
}

func (r *Replica) serveRequest(ctx context.Context, m transport.Message) ([]byte, error) {
	return r.answer(ctx, m, r.Do)
}

func (r *Replica) serveFallback(ctx context.Context, m transport.Message) ([]byte, error) {
	return r.answer(ctx, m, r.DoHinted)
}

// answer serves a request that came over the network.
func (r *Replica) answer(ctx context.Context, m transport.Message, do func(context.Context, int, *pb.Request) (*pb.Answer, error)) ([]byte, error) {
	user := transport.UserToken(m.Subject)
	leave, err := r.guests.enter(user)
	if err != nil {
		return marshal(&pb.Answer{Error: EncodeError(err), Member: r.options.Member}), nil
	}
	defer leave()
	shard, request, err := r.admit(m)
	var answer *pb.Answer
	if err == nil {
		// A write that was taken is answered, also when the member stops.
		answer, err = do(context.WithoutCancel(ctx), shard, request)
	} else if !errors.Is(err, ErrUnavailable) {
		r.refuse(user, fmt.Errorf("a request: %w", err))
	}
	if err != nil {
		answer = &pb.Answer{Error: EncodeError(err), Member: r.options.Member}
	}
	return marshal(answer), nil
}

// admit reads a request that came over the network, if its user may have it
// served.
func (r *Replica) admit(m transport.Message) (shard int, request *pb.Request, err error) {
	if shard, err = r.shardOf(m.Subject); err != nil {
		return 0, nil, err
	}
	u, err := r.user(m.Subject)
	if err != nil {
		return 0, nil, err
	}
	if err := checkParts(m.Data); err != nil {
		return 0, nil, err
	}
	request = &pb.Request{}
	if err := proto.Unmarshal(m.Data, request); err != nil {
		return 0, nil, fmt.Errorf("%w: request: %w", crdt.ErrInvalid, err)
	}
	if err := checkProtocol(request.GetProtocol()); err != nil {
		return 0, nil, err
	}
	return shard, request, permit(u, request)
}

// EncodeError names an error by a code that a client can match.
func EncodeError(err error) *pb.Error {
	code := pb.Error_UNKNOWN
	switch {
	case errors.Is(err, ErrUnknown): // and whatever else ended it
	case errors.Is(err, store.ErrNoSpace):
		code = pb.Error_NO_SPACE
	case errors.Is(err, ErrUnavailable): // what was invalid then is on the disk
		code = pb.Error_UNAVAILABLE
	case errors.Is(err, crdt.ErrInvalid), errors.Is(err, ErrPresent):
		code = pb.Error_INVALID
	case errors.Is(err, crdt.ErrOverflow):
		code = pb.Error_OVERFLOW
	case errors.Is(err, ErrBusy), errors.Is(err, ErrClosed):
		code = pb.Error_BUSY
	case errors.Is(err, ErrWrongShard):
		code = pb.Error_WRONG_SHARD
	case errors.Is(err, ErrNotEnough): // a write may be kept, whatever the owners are behind with
		code = pb.Error_NOT_ENOUGH
	case errors.Is(err, ErrBehind):
		code = pb.Error_BEHIND
	case errors.Is(err, ErrNotOwner):
		code = pb.Error_NOT_OWNER
	case errors.Is(err, ErrForbidden):
		code = pb.Error_FORBIDDEN
	case errors.Is(err, ErrProtocol):
		code = pb.Error_PROTOCOL
	case errors.Is(err, ErrNotRemembered):
		code = pb.Error_NOT_REMEMBERED
	}
	return &pb.Error{Code: code, Text: err.Error()}
}

func (r *Replica) serveInfo(_ context.Context, m transport.Message) ([]byte, error) {
	leave, err := r.guests.enter(transport.UserToken(m.Subject))
	if err != nil {
		return marshal(&pb.ClusterInfo{Error: EncodeError(err)}), nil
	}
	defer leave()
	if err := r.admitInfo(m); err != nil {
		if !errors.Is(err, ErrUnavailable) {
			r.refuse(transport.UserToken(m.Subject), fmt.Errorf("a question: %w", err))
		}
		return marshal(&pb.ClusterInfo{Error: EncodeError(err)}), nil
	}
	return marshal(&pb.ClusterInfo{
		Cluster: r.options.Cluster, Shards: uint32(r.options.Shards), Member: r.options.Member,
		Region: r.options.Region, Version: r.options.Version, Regions: r.options.Regions(), Consistency: r.defaultLevel(),
	}), nil
}

// admitInfo says whether a user may know what the cluster is: whoever is one may,
// by a request that has no operations.
func (r *Replica) admitInfo(m transport.Message) error {
	if _, err := r.user(m.Subject); err != nil {
		return err
	}
	if n := len(m.Data); n > maxQuestion {
		return fmt.Errorf("%w: %d bytes to ask what the cluster is; it takes %d", crdt.ErrInvalid, n, maxQuestion)
	}
	var request pb.Request
	if err := proto.Unmarshal(m.Data, &request); err != nil {
		return fmt.Errorf("%w: %w", crdt.ErrInvalid, err)
	}
	return checkProtocol(request.GetProtocol())
}

// serveSync answers another member of the cluster.
func (r *Replica) serveSync(ctx context.Context, m transport.Message) ([]byte, error) {
	var request pb.SyncRequest
	if err := proto.Unmarshal(m.Data, &request); err != nil {
		return r.reply(m.Subject, nil, fmt.Errorf("%w: question: %w", crdt.ErrInvalid, err))
	}
	if r.isForeign(request.GetCluster()) {
		return r.reply(m.Subject, nil, fmt.Errorf("%w: a question of a member of another cluster, or with another secret", crdt.ErrInvalid))
	}
	if err := checkProtocol(request.GetProtocol()); err != nil {
		return r.reply(m.Subject, nil, err)
	}
	answer, err := r.answerMember(ctx, &request)
	return r.reply(m.Subject, answer, err)
}

// answerMember answers what members ask each other.
func (r *Replica) answerMember(ctx context.Context, q *pb.SyncRequest) (*pb.SyncAnswer, error) {
	switch what := q.GetWhat().(type) {
	case *pb.SyncRequest_Fetch:
		fetched, err := r.serveFetch(what.Fetch)
		return &pb.SyncAnswer{What: &pb.SyncAnswer_Fetched{Fetched: fetched}}, err
	case *pb.SyncRequest_Walk:
		walked, err := r.serveWalk(what.Walk)
		return &pb.SyncAnswer{What: &pb.SyncAnswer_Walked{Walked: walked}}, err
	case *pb.SyncRequest_States:
		return &pb.SyncAnswer{What: &pb.SyncAnswer_States{States: &pb.States{Shards: r.states()}}}, nil
	case *pb.SyncRequest_Hear:
		heard, err := r.serveHear(ctx, what.Hear)
		return &pb.SyncAnswer{What: &pb.SyncAnswer_Heard{Heard: heard}}, err
	}
	return nil, fmt.Errorf("%w: a question that this member does not know", crdt.ErrInvalid)
}

// serveQuestion answers who looks after the cluster, or just at it.
func (r *Replica) serveQuestion(ctx context.Context, m transport.Message) ([]byte, error) {
	user := transport.UserToken(m.Subject)
	leave, err := r.guests.enter(user)
	if err != nil {
		return r.reply(user, nil, err)
	}
	defer leave()
	question, err := r.admitQuestion(m)
	if err != nil {
		return r.reply(user, nil, err)
	}
	answer, err := r.answerUser(ctx, question)
	return r.reply(user, answer, err)
}

// admitQuestion reads a question that came over the network, if its user may have it
// answered.
func (r *Replica) admitQuestion(m transport.Message) (*pb.SyncRequest, error) {
	u, err := r.user(m.Subject)
	if err != nil {
		return nil, err
	}
	if n := len(m.Data); !isAdmin(u) && n > maxQuestion {
		return nil, fmt.Errorf("%w: a question of %d bytes; of who is no administrator it takes %d", crdt.ErrInvalid, n, maxQuestion)
	}
	question := &pb.SyncRequest{}
	if err := proto.Unmarshal(m.Data, question); err != nil {
		return nil, fmt.Errorf("%w: question: %w", crdt.ErrInvalid, err)
	}
	if err := checkProtocol(question.GetProtocol()); err != nil {
		return nil, err
	}
	return question, permitQuestion(u, question)
}

// answerUser answers a question, or does what it asks for.
func (r *Replica) answerUser(ctx context.Context, q *pb.SyncRequest) (*pb.SyncAnswer, error) {
	switch what := q.GetWhat().(type) {
	case *pb.SyncRequest_Status:
		return &pb.SyncAnswer{What: &pb.SyncAnswer_Status{Status: r.Status(what.Status.GetShards())}}, nil
	case *pb.SyncRequest_Members:
		return r.membersAfter(nil)
	case *pb.SyncRequest_Enroll:
		return r.membersAfter(r.Enroll(what.Enroll))
	case *pb.SyncRequest_Remove:
		return r.membersAfter(r.Remove(ctx, what.Remove))
	case *pb.SyncRequest_Decommission:
		return r.membersAfter(r.Decommission(ctx, what.Decommission))
	case *pb.SyncRequest_Rings:
		return r.ringsAfter(nil)
	case *pb.SyncRequest_Settings:
		return r.ringsAfter(r.Configure(ctx, what.Settings))
	case *pb.SyncRequest_Users:
		return r.usersAfter(nil)
	case *pb.SyncRequest_PutUser:
		return r.usersAfter(r.PutUser(ctx, what.PutUser.GetUser(), what.PutUser.GetWas()))
	case *pb.SyncRequest_RemoveUser:
		return r.usersAfter(r.RemoveUser(ctx, what.RemoveUser))
	case *pb.SyncRequest_Scrub:
		if what.Scrub.GetStart() {
			r.Scrub(what.Scrub.GetGiveUp())
		}
		return &pb.SyncAnswer{What: &pb.SyncAnswer_Scrub{Scrub: r.scrubState()}}, nil
	case *pb.SyncRequest_Backup:
		page, err := r.serveBackup(what.Backup)
		return &pb.SyncAnswer{What: &pb.SyncAnswer_Backup{Backup: page}}, err
	}
	return nil, fmt.Errorf("%w: a question that this member does not know", crdt.ErrInvalid)
}

// membersAfter, ringsAfter and usersAfter answer with what there is after a
// change that went well.
func (r *Replica) membersAfter(err error) (*pb.SyncAnswer, error) {
	if err != nil {
		return nil, err
	}
	members, err := r.Members()
	return &pb.SyncAnswer{What: &pb.SyncAnswer_Members{Members: members}}, err
}

func (r *Replica) ringsAfter(err error) (*pb.SyncAnswer, error) {
	if err != nil {
		return nil, err
	}
	rings, err := r.Rings()
	return &pb.SyncAnswer{What: &pb.SyncAnswer_Rings{Rings: rings}}, err
}

func (r *Replica) usersAfter(err error) (*pb.SyncAnswer, error) {
	if err != nil {
		return nil, err
	}
	users, err := r.Users()
	return &pb.SyncAnswer{What: &pb.SyncAnswer_Users{Users: users}}, err
}

// reply encodes an answer, or why there is none, to a peer.
func (r *Replica) reply(peer string, answer *pb.SyncAnswer, err error) ([]byte, error) {
	if err = unavailable(err); err == nil {
		return marshal(answer), nil
	}
	if errors.Is(err, crdt.ErrInvalid) || errors.Is(err, ErrWrongShard) || errors.Is(err, ErrForbidden) || errors.Is(err, ErrProtocol) {
		r.refuse(peer, fmt.Errorf("a question: %w", err))
	}
	return marshal(&pb.SyncAnswer{Error: EncodeError(err)}), nil
}

func (r *Replica) serveFetch(q *pb.Fetch) (*pb.Fetched, error) {
	shard := int(q.GetShard())
	if shard >= len(r.shards) {
		return nil, fmt.Errorf("%w: there is no shard %d", ErrWrongShard, shard)
	}
	asker, err := crdt.DecodeVector(q.GetVector())
	if err != nil {
		return nil, err
	}
	snap := r.store.Snapshot()
	defer snap.Close()
	heard, err := loadHeard(snap, shard)
	if err != nil {
		return nil, err
	}
	events, more, err := readLog(snap, shard, heard.Vector(), crdt.NewHeard(asker), answerBytes)
	if err != nil {
		return nil, err
	}
	fetched := &pb.Fetched{Vector: heard.Vector().AppendTo(nil), More: more}
	for _, raw := range events {
		fetched.Events = append(fetched.Events, append([]byte(nil), raw...))
	}
	return fetched, nil
}

func (r *Replica) serveWalk(q *pb.Walk) (*pb.Walked, error) {
	shard := int(q.GetShard())
	if shard >= len(r.shards) {
		return nil, fmt.Errorf("%w: there is no shard %d", ErrWrongShard, shard)
	}
	ranges, err := decodeRanges(q.GetRanges())
	if err != nil {
		return nil, err
	}
	snap := r.store.Snapshot()
	defer snap.Close()
	for damages := 0; ; damages++ {
		src, err := r.newSource(snap, r.shards[shard])
		if err != nil {
			return nil, err
		}
		parts, err := antientropy.Answer(src, ranges, answerBytes)
		var d *damage
		if errors.As(r.noted(r.shards[shard], err), &d) && damages < maxHurt {
			continue // the leaf is hidden now
		}
		if err != nil {
			return nil, err
		}
		return encodeParts(parts), nil
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
