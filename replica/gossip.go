package replica

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

const (
	// tickInterval is how often the planner is asked what to do.
	tickInterval = 20 * time.Millisecond
	// gossipBytes is about where one message ends and the next begins.
	gossipBytes = 256 << 10
	// maxPeers bounds how many members are remembered.
	maxPeers = 1024
	// silentIntervals is after how many intervals without a word, and
	// silentAtLeast after how long, a peer counts as having been out of reach.
	// A machine that is busy is silent for some hundred milliseconds.
	silentIntervals = 3
	silentAtLeast   = time.Second
)

// peers is what is known of the other members.
type peers struct {
	mu      sync.Mutex
	planner *antientropy.Planner
	known   map[string]*peer
	ask     []string // whose states are to be asked for
	// strangers are members of other clusters that were told of.
	strangers map[string]bool
}

type peer struct {
	region      string
	incarnation uint64
	heard       time.Time
	said        ledger // what of it was heard
	asked       bool   // a question for all of its states is under way
	// present ends when the peer comes back from a restart or from being out
	// of reach: what it was asked before will not be answered any more.
	present context.Context
	end     context.CancelFunc
}

func newPeers(p *antientropy.Planner) *peers {
	return &peers{planner: p, known: map[string]*peer{}, strangers: map[string]bool{}}
}

// forget takes in that a member is gone for good.
func (p *peers) forget(member string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.known[member]; ok && !known.asked {
		known.end()
		delete(p.known, member)
		p.planner.ForgetPeer(member)
	}
}

// ledger is what one member has said of its shards: a hash of each state, and
// their sum. Speaker and listener each keep one. Gossip gets lost, and a shard
// that changes no more is not spoken of again: that the sums differ is how the
// listener knows.
type ledger struct {
	hashes map[int]uint64
	sum    uint64
}

// enter notes the state of a shard and says whether it is new.
func (l *ledger) enter(s *pb.ShardState) bool {
	if l.hashes == nil {
		l.hashes = map[int]uint64{}
	}
	h := fnv.New64a()
	// Writing to a hash does not fail.
	_, _ = h.Write(marshal(&pb.ShardState{Shard: s.GetShard(), Whole: s.GetWhole()}))
	_, _ = h.Write(s.GetVector())
	_, _ = h.Write(s.GetRoot())
	shard, hash := int(s.GetShard()), h.Sum64()
	if s.GetAbsent() {
		hash = 0 // as if nothing was ever said
	}
	was := l.hashes[shard]
	l.hashes[shard] = hash
	l.sum += hash - was
	return hash != was
}

// gossip tells the others what this member has, and acts on what they tell,
// until the replica stops.
func (r *Replica) gossip() {
	ticks := time.NewTicker(tickInterval)
	defer ticks.Stop()
	seen := make([]*antientropy.State, len(r.shards)) // when last announced
	var said ledger
	var next time.Time
	var heart pulse
	for {
		if now := r.options.Now(); r.announceNow.CompareAndSwap(true, false) || !now.Before(next) {
			r.announce(seen, &said)
			next = now.Add(r.options.GossipInterval)
		}
		r.beat(&heart)
		states, _ := r.observer.opinion()
		r.peers.mu.Lock()
		tasks := r.peers.planner.Tick(r.options.Now(), r.pursued, states.doubt)
		questions := r.peers.questions()
		r.peers.mu.Unlock()
		for _, t := range tasks {
			r.tasksWG.Go(func() { r.repair(t) })
		}
		for _, member := range questions {
			r.tasksWG.Go(func() { r.askStates(member) })
		}
		select {
		case <-ticks.C:
		case <-r.stopping:
			return
		}
	}
}

// announce publishes the shards that changed since they were last seen, and
// the sum of all that was said.
func (r *Replica) announce(seen []*antientropy.State, said *ledger) {
	n := r.network.Load()
	message := &pb.Gossip{
		Member: r.options.Member, Region: r.options.Region, Incarnation: r.incarnation, Cluster: r.cluster, Protocol: pb.Protocol,
		ClusterName: r.options.Cluster, ClusterShards: uint32(r.options.Shards),
	}
	bytes := 0
	publish := func() {
		if err := n.transport.Publish(transport.Gossip, marshal(message)); err != nil {
			r.counters.unsent.Add(1)
		}
		message.Shards, bytes = nil, 0
	}
	for i, s := range r.shards {
		state := s.published.Load()
		if state == seen[i] {
			continue
		}
		seen[i] = state
		encoded := r.message(s)
		if !said.enter(encoded) {
			continue
		}
		message.Shards = append(message.Shards, encoded)
		if bytes += 64 + len(encoded.Vector); bytes > gossipBytes {
			publish()
		}
	}
	message.Sum, message.Last = said.sum, true
	publish()
}

// Announce has the member tell the others soon what it has, as after a link
// was down.
func (r *Replica) Announce() { r.announceNow.Store(true) }

// isForeign counts what comes from a member of another cluster.
func (r *Replica) isForeign(cluster uint64) bool {
	if cluster == r.cluster {
		return false
	}
	r.counters.foreign.Add(1)
	return true
}

// maxStrangers bounds of how many members of other clusters is told.
const maxStrangers = 16

// meetStranger tells, once, of a member that is not listened to, and why.
func (r *Replica) meetStranger(g *pb.Gossip) {
	r.peers.mu.Lock()
	met := r.peers.strangers[g.GetMember()] || len(r.peers.strangers) >= maxStrangers
	if !met {
		r.peers.strangers[g.GetMember()] = true
	}
	r.peers.mu.Unlock()
	if met {
		return
	}
	why := "its secret is another"
	switch {
	case g.GetClusterName() != r.options.Cluster:
		why = fmt.Sprintf("its cluster is %.64q, not %q", g.GetClusterName(), r.options.Cluster)
	case int(g.GetClusterShards()) != r.options.Shards:
		why = fmt.Sprintf("it has %d shards, this one %d: one of the two must start with an empty directory and the number of the other",
			g.GetClusterShards(), r.options.Shards)
	}
	r.log.Error("a member is on this network that is not listened to, nor listens", "member", g.GetMember(), "region", g.GetRegion(), "because", why)
}

// receiveGossip takes in what another member says of itself.
func (r *Replica) receiveGossip(m transport.Message) {
	var g pb.Gossip
	err := proto.Unmarshal(m.Data, &g)
	if err == nil {
		err = checkSender(g.GetMember())
	}
	if err == nil && !namePattern.MatchString(g.GetRegion()) {
		err = fmt.Errorf("%w: a region named %.64q", crdt.ErrInvalid, g.GetRegion())
	}
	if err != nil {
		r.refuse(m.Subject, fmt.Errorf("gossip: %w", err))
		return
	}
	if r.isForeign(g.GetCluster()) {
		r.meetStranger(&g)
		return
	}
	if err := checkProtocol(g.GetProtocol()); err != nil {
		r.refuse(g.GetMember(), fmt.Errorf("gossip: %w", err))
		return
	}
	if g.GetMember() == r.options.Member {
		if g.GetIncarnation() != r.incarnation {
			r.counters.namesakes.Add(1)
			r.log.Error("another process runs under this member's name: stop one of the two", "member", g.GetMember())
			r.part(g.GetIncarnation())
		}
		return
	}
	r.peers.mu.Lock()
	defer r.peers.mu.Unlock()
	known, ok := r.peers.known[g.GetMember()]
	if !ok {
		if len(r.peers.known) >= maxPeers {
			r.refuse(m.Subject, fmt.Errorf("%w: gossip of more than %d members", crdt.ErrInvalid, maxPeers))
			return
		}
		known = &peer{end: func() {}}
		r.peers.known[g.GetMember()] = known
	}
	now := r.options.Now()
	restarted := known.incarnation != g.GetIncarnation()
	if restarted {
		known.said = ledger{}
	}
	if restarted || now.Sub(known.heard) > max(silentIntervals*r.options.GossipInterval, silentAtLeast) {
		known.end()
		known.present, known.end = context.WithCancel(r.tasks)
	}
	known.region, known.incarnation, known.heard = g.GetRegion(), g.GetIncarnation(), now
	r.hear(g.GetMember(), known, g.GetShards())
	if g.GetLast() && known.said.sum != g.GetSum() {
		r.peers.ask = append(r.peers.ask, g.GetMember())
	}
}

// hear takes in the states of a peer's shards. It is called with the lock of
// peers held.
func (r *Replica) hear(member string, known *peer, states []*pb.ShardState) {
	rank := cmp.Compare(known.region, r.options.Region)
	for _, encoded := range states {
		if int(encoded.GetShard()) < len(r.shards) && encoded.GetAbsent() {
			known.said.enter(encoded)
			r.peers.planner.Forget(member, int(encoded.GetShard()))
			continue
		}
		state, err := antientropy.DecodeState(encoded)
		if err == nil && int(encoded.GetShard()) >= len(r.shards) {
			err = fmt.Errorf("%w: there is no shard %d", ErrWrongShard, encoded.GetShard())
		}
		if err != nil {
			r.refuse(member, fmt.Errorf("the state of a shard: %w", err))
			continue
		}
		known.said.enter(encoded)
		s := r.shards[encoded.GetShard()]
		r.peers.planner.Advertise(member, rank*rank, s.index, state)
		if own := crdt.Actor(s.writer.Load()); state.Vector[own] > r.State(s.index).Vector[own] {
			r.loop(s).offer(task{shard: s, claim: crdt.Dot{Actor: own, Seq: state.Vector[own]}, done: ignore})
		}
	}
}

// questions returns the members to ask for all of their states now.
func (p *peers) questions() []string {
	var members []string
	for _, member := range p.ask {
		if known := p.known[member]; known != nil && !known.asked { // nor forgotten
			known.asked = true
			members = append(members, member)
		}
	}
	p.ask = nil
	return members
}

// present returns the context of questions to a member. See peer.
func (r *Replica) present(member string) context.Context {
	r.peers.mu.Lock()
	defer r.peers.mu.Unlock()
	if known, ok := r.peers.known[member]; ok {
		return known.present
	}
	return r.tasks // only its events were heard so far
}

// askStates asks a member for the states of all of its shards.
func (r *Replica) askStates(member string) {
	ctx := r.present(member)
	answer, err := r.ask(ctx, member, &pb.SyncRequest{What: &pb.SyncRequest_States{States: &pb.Empty{}}})
	r.peers.mu.Lock()
	defer r.peers.mu.Unlock()
	known := r.peers.known[member]
	known.asked = false
	if err != nil {
		if ctx.Err() == nil {
			r.counters.repairErrors.Add(1)
		}
		return // the next gossip asks again
	}
	r.hear(member, known, answer.GetStates().GetShards())
}
