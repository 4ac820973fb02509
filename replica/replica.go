package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/hlc"
	"github.com/atolldb/atoll/internal/quiet"
	"github.com/atolldb/atoll/internal/ring"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
	"github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

var (
	// ErrBusy says that too much was waiting; nothing was done.
	ErrBusy = errors.New("busy")
	// ErrClosed says that the replica is stopping; nothing was done.
	ErrClosed = errors.New("closed")
	// ErrUnavailable says that the disk failed. Whether a write is on disk is
	// not known.
	ErrUnavailable = errors.New("the disk failed")
	// ErrUnknown says that the caller's patience ended while a write was under
	// way: it may be on disk or not.
	ErrUnknown = errors.New("outcome unknown")
	// ErrBehind says that this copy has not heard yet what a request's session
	// has seen; nothing was done.
	ErrBehind = errors.New("behind the session")
	// ErrWrongShard says that a key does not belong to the shard asked.
	ErrWrongShard = errors.New("key of another shard")
	// ErrNotOwner says that this member does not serve the shard; nothing was
	// done. The owners do.
	ErrNotOwner = errors.New("not an owner of the shard")
)

// Replica is one member's copies of all shards.
type Replica struct {
	options Options
	log     *slog.Logger
	store   store.Store
	clock   *hlc.Clock
	hasher  *merkle.Hasher
	shards  []*shard
	loops   []*loop

	counters counters
	meter    *meter
	peers    *peers
	// network is nil until Start.
	network atomic.Pointer[network]
	// identity is what the store says of whose it is.
	identity identity
	// cluster stands for the cluster's name, shards and secret.
	cluster uint64
	// incarnation tells this process from others under the same name.
	incarnation uint64
	announceNow atomic.Bool
	keeper      keeper
	observer    observer
	roster      atomic.Pointer[layout]
	placements  sync.Map // of *ring.Placement, by the hash of the ring
	arranger    arranger
	namesakes   namesakes
	users       atomic.Pointer[users]
	// changingUsers is held while a record of a user is read and replaced.
	changingUsers sync.Mutex
	guests        guests
	refusals      quiet.Notes // by peer
	crowds        quiet.Notes // by key of a register
	backups       backups
	laggards      laggards

	closing  sync.Once
	stopping chan struct{} // closed first
	loopsWG  sync.WaitGroup
	tasksWG  sync.WaitGroup  // gossip, fetches, walks
	tasks    context.Context // of fetches and walks; ended by endTasks
	endTasks context.CancelFunc
}

// Open starts a replica on what the store holds. The store stays the
// caller's, who closes it after the replica. A change of several steps that a
// crash interrupted is completed first. Reads and writes work at once; peers
// are met after Start. A store of the format before is brought to this one.
func Open(options Options, s store.Store) (*Replica, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Replica{
		options: options, log: options.Logger, store: s,
		clock:       hlc.NewClock(options.Now),
		hasher:      merkle.NewHasher(options.DigestKey),
		meter:       newMeter(),
		peers:       newPeers(antientropy.NewPlanner(options.AntiEntropy, options.Shards+1)),
		incarnation: uint64(randomActor()),
		stopping:    make(chan struct{}),
		keeper:      newKeeper(),
		observer:    newObserver(options),
		laggards:    newLaggards(),
	}
	r.tasks, r.endTasks = context.WithCancel(context.Background())
	found, mine, err := r.claim()
	if err != nil {
		return nil, err
	}
	if found.Format == OldestFormat || found.Format == upgrading {
		if found, err = r.upgrade(found); err != nil {
			return nil, err
		}
		mine.Scrubbed = found.Scrubbed
	}
	for range options.Loops {
		r.loops = append(r.loops, &loop{
			replica: r, hasher: r.hasher.Clone(), tasks: make(chan task, maxQueued),
		})
	}
	if err := r.load(); err != nil {
		return nil, err
	}
	if err := r.settle(found, mine); err != nil {
		return nil, err
	}
	var interrupted []*shard
	for _, s := range r.shards {
		if len(s.waiting.events) > 0 {
			interrupted = append(interrupted, s)
		}
	}
	for _, l := range r.loops {
		r.loopsWG.Go(l.run)
	}
	for _, s := range interrupted {
		// Its loop completes the change before it takes what is submitted here.
		if err := r.submitAndWait(context.Background(), task{shard: s}); err != nil {
			r.log.Error("a change that was interrupted could not be completed", "shard", s.index, "error", err)
		}
	}
	return r, nil
}

// load reads the state of every shard. Nothing is rebuilt.
func (r *Replica) load() error {
	snap := r.store.Snapshot()
	defer snap.Close()
	for i := range r.options.Shards + 1 {
		s := &shard{index: i, recorded: -1}
		if err := r.loadRole(s, snap); err != nil {
			return err
		}
		if err := r.loadShard(s, snap); err != nil {
			return err
		}
		if err := r.findKept(s, snap); err != nil {
			return err
		}
		if s.is(hinted) {
			if err := s.weighHints(snap); err != nil {
				return err
			}
		}
		r.loop(s).drain(s)
		r.shards = append(r.shards, s)
	}
	return nil
}

// loop returns the loop that owns a shard.
func (r *Replica) loop(s *shard) *loop { return r.loops[s.index%len(r.loops)] }

// Close stops serving, lets the groups under way end, and refuses what waits.
// A second Close does nothing.
func (r *Replica) Close() (err error) {
	r.closing.Do(func() {
		r.sendHeartbeat(nil, true)
		if n := r.network.Load(); n != nil {
			err = n.close()
		}
		close(r.stopping)
		r.endTasks()
		r.tasksWG.Wait()
		r.loopsWG.Wait()
		r.backups.end(0)
	})
	return err
}

// DoSystem serves a request for the system shard as Do does for others.
func (r *Replica) DoSystem(ctx context.Context, request *proto.Request) (*proto.Answer, error) {
	return r.do(ctx, r.System(), request)
}

// Do serves one request for a shard. Its writes are on disk when it returns,
// or, after an error, nothing of it was done, but for ErrUnavailable and
// ErrUnknown, after which that is not known. Reads see all of its writes. A
// request that carries what its session has seen waits until this copy has
// heard it. The request must not be changed, not even after ErrUnknown.
func (r *Replica) Do(ctx context.Context, shard int, request *proto.Request) (*proto.Answer, error) {
	return r.timed(ctx, shard, request, r.do)
}

// timed has a request for a shard that there is served at its level, and counts it.
func (r *Replica) timed(ctx context.Context, shard int, request *proto.Request, serve func(context.Context, int, *proto.Request) (*proto.Answer, error)) (*proto.Answer, error) {
	if shard < 0 || shard >= r.options.Shards {
		return nil, fmt.Errorf("%w: there is no shard %d; the cluster has 0 to %d", ErrWrongShard, shard, r.options.Shards-1)
	}
	request = r.leveled(request)
	began := time.Now()
	answer, err := serve(ctx, shard, request)
	r.meter.served(request, time.Since(began), err)
	return answer, err
}

func (r *Replica) do(ctx context.Context, shard int, request *proto.Request) (*proto.Answer, error) {
	writes, err := r.check(shard, request)
	if err != nil {
		return nil, err
	}
	s := r.shards[shard]
	if !s.serving.Load() {
		return nil, fmt.Errorf("%w %d in region %s", ErrNotOwner, shard, r.options.Region)
	}
	if request.GetConsistency() != proto.Consistency_ONE {
		return r.agree(ctx, s, request, writes)
	}
	return r.serve(ctx, s, request, writes)
}

// serve does a request on this copy alone.
func (r *Replica) serve(ctx context.Context, s *shard, request *proto.Request, writes int) (answer *proto.Answer, err error) {
	if err := r.await(ctx, s, request); err != nil {
		return nil, err
	}
	answer = &proto.Answer{Member: r.options.Member}
	if writes == 0 {
		answer.Results = make([]*proto.Result, len(request.GetOperations()))
	} else if answer.Results, err = r.write(ctx, s, request, false); err != nil {
		return nil, r.noted(s, err)
	}
	if writes == len(answer.Results) {
		answer.Vector = seen(s.spoken.Load(), request).AppendTo(nil)
		return answer, nil
	}
	if err := r.read(s.index, request, answer); err != nil {
		if err = unavailable(r.noted(s, err)); writes > 0 && !errors.Is(err, ErrUnavailable) {
			err = fmt.Errorf("%w: the writes were made, the reads not: %w", ErrUnavailable, err)
		}
		return nil, err
	}
	return answer, nil
}

// read fills in what the reads of a request answer, and the vector that
// belongs to it: both from one snapshot. Reads that come to more than a message
// carries end it, so that a few bytes cannot ask for all of the memory; the last
// of them is answered whole.
func (r *Replica) read(shard int, request *proto.Request, answer *proto.Answer) error {
	snap := r.store.Snapshot()
	defer snap.Close()
	size := 0
	for i, op := range request.GetOperations() {
		if answer.Results[i] != nil {
			continue
		}
		if size > transport.MaxMessageBytes {
			return fmt.Errorf("%w: what the request reads comes to more than %d bytes; ask for less at a time", crdt.ErrInvalid, transport.MaxMessageBytes)
		}
		var err error
		if answer.Results[i], err = read(snap, shard, op); err != nil {
			return err
		}
		size += protobuf.Size(answer.Results[i])
	}
	if r.shards[shard].health.unreadable() != nil {
		answer.Vector = crdt.VersionVector{}.AppendTo(nil)
		return nil // what is there is read; what it had heard is not known
	}
	heard, err := loadHeard(snap, shard)
	if err == nil {
		answer.Vector = seen(heard, request).AppendTo(nil)
	}
	return err
}

// write hands the request to the shard's loop and waits until it is on disk. A hint
// starts a copy where there is none.
func (r *Replica) write(ctx context.Context, s *shard, request *proto.Request, hint bool) ([]*proto.Result, error) {
	type outcome struct {
		results []*proto.Result
		err     error
	}
	done := make(chan outcome, 1)
	t := task{
		shard: s, write: request, hint: hint, size: requestSize(request),
		done: func(results []*proto.Result, err error) { done <- outcome{results, err} },
	}
	if err := r.loop(s).submit(ctx, t); err != nil {
		return nil, err
	}
	select {
	case o := <-done:
		return o.results, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	case <-r.stopping:
		select {
		case o := <-done:
			return o.results, o.err
		default:
			return nil, fmt.Errorf("%w: %w", ErrUnknown, ErrClosed)
		}
	}
}

// State returns what the replica last committed of a shard.
func (r *Replica) State(shard int) antientropy.State { return *r.shards[shard].published.Load() }

// pursued returns the state of a copy that is to catch up with peers, one without
// a vector if it is not.
func (r *Replica) pursued(shard int) antientropy.State {
	if !r.shards[shard].whole() {
		return antientropy.State{}
	}
	return r.State(shard)
}

// message returns what to tell peers of a shard.
func (r *Replica) message(s *shard) *proto.ShardState {
	if !s.held() {
		return &proto.ShardState{Shard: uint32(s.index), Absent: true}
	}
	m := r.State(s.index).Message(s.index)
	m.Owned = s.serving.Load()
	return m
}

// Shards returns the number of shards that keys belong to.
func (r *Replica) Shards() int { return r.options.Shards }

// System returns the index of the system shard, which holds what the cluster
// keeps of itself. It is replicated as all others, and the network serves no
// requests for it.
func (r *Replica) System() int { return r.options.Shards }

// holds says whether a key may lie in a shard: no key of an application does
// in the system shard.
func holds(shards, shard int, key string) bool {
	return shard == shards || ring.Shard(key, shards) == shard
}

// broadcast sends an event to everybody. That it may be lost is what the log
// is for.
func (r *Replica) broadcast(shard int, raw []byte) {
	n := r.network.Load()
	if n == nil {
		return
	}
	message := marshal(&proto.Delta{Member: r.options.Member, Event: raw, Cluster: r.cluster, Protocol: proto.Protocol})
	if err := n.transport.Publish(transport.Delta(shard), message); err != nil {
		r.counters.unsent.Add(1)
	}
}

// submitAndWait runs a task that is not a request and waits until it is done.
func (r *Replica) submitAndWait(ctx context.Context, t task) error {
	done := make(chan error, 1)
	t.done = func(_ []*proto.Result, err error) { done <- err }
	if err := r.loop(t.shard).submit(ctx, t); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-r.stopping:
		return ErrClosed
	}
}
