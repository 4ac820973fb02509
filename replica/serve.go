package replica

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
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
		return transport.Requests(r.options.Region, shard)
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
		add(t.Serve(transport.Info, transport.OwnersGroup, r.serveInfo)),
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

// shardOf returns the shard in the last token of a subject.
func (r *Replica) shardOf(subject string) (int, error) {
	shard, err := strconv.Atoi(subject[strings.LastIndexByte(subject, '.')+1:])
	if err != nil || shard < 0 || shard >= len(r.shards) {
		return 0, fmt.Errorf("%w: subject %q; the cluster has shards 0 to %d", ErrWrongShard, subject, r.options.Shards-1)
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
	shard, err := r.shardOf(m.Subject)
	var request pb.Request
	if err == nil {
		if err = proto.Unmarshal(m.Data, &request); err != nil {
			err = fmt.Errorf("%w: request: %w", crdt.ErrInvalid, err)
		}
	}
	var answer *pb.Answer
	if err == nil {
		// A write that was taken is answered, also when the member stops.
		answer, err = do(context.WithoutCancel(ctx), shard, &request)
	} else {
		r.counters.malformed.Add(1)
	}
	if err != nil {
		answer = &pb.Answer{Error: EncodeError(err), Member: r.options.Member}
	}
	return marshal(answer), nil
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
	case errors.Is(err, ErrBehind):
		code = pb.Error_BEHIND
	case errors.Is(err, ErrNotOwner):
		code = pb.Error_NOT_OWNER
	case errors.Is(err, ErrNotEnough):
		code = pb.Error_NOT_ENOUGH
	case errors.Is(err, ErrNotRemembered):
		code = pb.Error_NOT_REMEMBERED
	}
	return &pb.Error{Code: code, Text: err.Error()}
}

func (r *Replica) serveInfo(context.Context, transport.Message) ([]byte, error) {
	return marshal(&pb.ClusterInfo{
		Cluster: r.options.Cluster, Shards: uint32(r.options.Shards), Member: r.options.Member,
		Region: r.options.Region, Version: r.options.Version, Regions: r.options.Regions(), Consistency: r.defaultLevel(),
	}), nil
}

// serveSync answers another member.
func (r *Replica) serveSync(ctx context.Context, m transport.Message) ([]byte, error) {
	var request pb.SyncRequest
	answer := &pb.SyncAnswer{}
	err := proto.Unmarshal(m.Data, &request)
	if err != nil {
		err = fmt.Errorf("%w: question: %w", crdt.ErrInvalid, err)
	}
	if err == nil && !isOpen(&request) && r.isForeign(request.GetCluster()) {
		err = fmt.Errorf("%w: a question of a member of another cluster, or with another secret", crdt.ErrInvalid)
	}
	if err == nil {
		switch what := request.GetWhat().(type) {
		case *pb.SyncRequest_Fetch:
			var fetched *pb.Fetched
			fetched, err = r.serveFetch(what.Fetch)
			answer.What = &pb.SyncAnswer_Fetched{Fetched: fetched}
		case *pb.SyncRequest_Walk:
			var walked *pb.Walked
			walked, err = r.serveWalk(what.Walk)
			answer.What = &pb.SyncAnswer_Walked{Walked: walked}
		case *pb.SyncRequest_States:
			answer.What = &pb.SyncAnswer_States{States: &pb.States{Shards: r.states()}}
		case *pb.SyncRequest_Hear:
			var heard *pb.Heard
			heard, err = r.serveHear(ctx, what.Hear)
			answer.What = &pb.SyncAnswer_Heard{Heard: heard}
		case *pb.SyncRequest_Rings, *pb.SyncRequest_Settings:
			if request.GetSettings() != nil {
				err = r.Configure(ctx, request.GetSettings())
			}
			var rings *pb.Rings
			if err == nil {
				rings, err = r.Rings()
			}
			answer.What = &pb.SyncAnswer_Rings{Rings: rings}
		case *pb.SyncRequest_Members, *pb.SyncRequest_Remove, *pb.SyncRequest_Decommission, *pb.SyncRequest_Enroll:
			if record := request.GetEnroll(); record != nil {
				err = r.Enroll(record)
			}
			if name := request.GetRemove(); name != "" {
				err = r.Remove(ctx, name)
			}
			if name := request.GetDecommission(); name != "" {
				err = r.Decommission(ctx, name)
			}
			var members *pb.Members
			if err == nil {
				members, err = r.Members()
			}
			answer.What = &pb.SyncAnswer_Members{Members: members}
		case *pb.SyncRequest_Scrub:
			if what.Scrub.GetStart() {
				r.Scrub(what.Scrub.GetGiveUp())
			}
			answer.What = &pb.SyncAnswer_Scrub{Scrub: r.scrubState()}
		case *pb.SyncRequest_Backup:
			var page *pb.BackupPage
			page, err = r.serveBackup(what.Backup)
			answer.What = &pb.SyncAnswer_Backup{Backup: page}
		case *pb.SyncRequest_Status:
			answer.What = &pb.SyncAnswer_Status{Status: r.Status(what.Status.GetShards())}
		default:
			err = fmt.Errorf("%w: a question that this member does not know", crdt.ErrInvalid)
		}
	}
	if err = unavailable(err); err != nil {
		if !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrBehind) && !errors.Is(err, ErrPresent) && !errors.Is(err, ErrNotOwner) && !errors.Is(err, ErrBusy) {
			r.counters.malformed.Add(1)
		}
		answer = &pb.SyncAnswer{Error: EncodeError(err)}
	}
	return marshal(answer), nil
}

// isOpen says whether a question is answered to everybody: what people ask, who
// do not know the cluster's number.
func isOpen(request *pb.SyncRequest) bool {
	switch request.GetWhat().(type) {
	case *pb.SyncRequest_Status, *pb.SyncRequest_Scrub, *pb.SyncRequest_Members, *pb.SyncRequest_Remove,
		*pb.SyncRequest_Decommission, *pb.SyncRequest_Enroll, *pb.SyncRequest_Rings, *pb.SyncRequest_Settings, *pb.SyncRequest_Backup:
		return true
	}
	return false
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
	events, more, err := readLog(snap, shard, heard.Vector(), asker, answerBytes)
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
