package replica

import (
	"maps"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	pb "github.com/atolldb/atoll/proto"
)

// counters count since the start of the process.
type counters struct {
	commits, commitErrors             atomic.Uint64
	applied, received, dropped        atomic.Uint64
	fetched, walks, pulled, syncBytes atomic.Uint64
	divergences, repairErrors, unsent atomic.Uint64
	damages, repairs, recounts        atomic.Uint64
	actorsLost, malformed, namesakes  atomic.Uint64
	crowded                           atomic.Uint64
	foreign, forbidden, protocol      atomic.Uint64
	told, untold                      atomic.Uint64 // owners that a read found behind
	// Operations with an id: asked for again, taken back, forgotten, and left
	// counted twice.
	operationsAgain, operationsCorrected, operationsForgotten, operationsTwice atomic.Uint64
}

// Counters returns what was counted since the start, by name.
func (r *Replica) Counters() map[string]uint64 {
	c := &r.counters
	return map[string]uint64{
		"commits": c.commits.Load(), "commit_errors": c.commitErrors.Load(),
		"events_applied": c.applied.Load(), "events_received": c.received.Load(), "events_dropped": c.dropped.Load(),
		"events_fetched": c.fetched.Load(), "walks": c.walks.Load(), "fields_pulled": c.pulled.Load(),
		"sync_bytes": c.syncBytes.Load(), "divergences": c.divergences.Load(), "repair_errors": c.repairErrors.Load(),
		"messages_unsent": c.unsent.Load(), "actors_lost": c.actorsLost.Load(), "siblings_removed": c.crowded.Load(),
		"messages_malformed": c.malformed.Load(), "namesakes": c.namesakes.Load(),
		"messages_foreign": c.foreign.Load(), "messages_forbidden": c.forbidden.Load(),
		"messages_protocol": c.protocol.Load(), "read_repairs": c.told.Load(), "read_repairs_left": c.untold.Load(),
		"leaves_damaged": c.damages.Load(), "leaves_repaired": c.repairs.Load(), "headers_recounted": c.recounts.Load(),
		"operations_again": c.operationsAgain.Load(), "operations_corrected": c.operationsCorrected.Load(),
		"operations_forgotten": c.operationsForgotten.Load(), "operations_counted_twice": c.operationsTwice.Load(),
	}
}

// Status says what this member has, and how its peers stand to it as far as
// they have said. With shards it lists the state of every shard.
func (r *Replica) Status(shards bool) *pb.Status {
	status := &pb.Status{
		Member: r.options.Member, Region: r.options.Region, Version: r.options.Version,
		Cluster: r.options.Cluster, Regions: slices.Sorted(slices.Values(r.options.Regions())), Counters: r.Counters(),
	}
	if shards {
		status.Shards = r.states()
		// What cannot be read is missing.
		status.Rings, _ = r.Rings()
	}
	status.Scrub = r.scrubState()
	status.Holdings = r.holdings()
	status.Holdings.Move, status.Holdings.Awaited = r.progress(), r.awaitedHere()
	status.Unmet = r.unmet()
	r.reportHealth(status)
	now := r.options.Now()
	snap := r.store.Snapshot()
	defer snap.Close()
	r.peers.mu.Lock()
	defer r.peers.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(r.peers.known)) {
		known := r.peers.known[name]
		p := &pb.PeerStatus{Member: name, Region: known.region, SilentMs: now.Sub(known.heard).Milliseconds()}
		for i := range r.shards {
			// A shard that the peer has not spoken of yet counts as empty there,
			// unless it may have no copy.
			theirs, said := r.peers.planner.Advertised(name, i)
			if !r.shards[i].held() || !said && r.placed() && i != r.System() {
				continue
			}
			if lag := shardLag(snap, i, r.State(i), theirs, now); lag != nil {
				p.LagEvents += lag.LagEvents
				p.BehindEvents += lag.BehindEvents
				p.LagMs = max(p.LagMs, lag.LagMs)
				p.Shards = append(p.Shards, lag)
			}
		}
		status.Peers = append(status.Peers, p)
	}
	return status
}

// states returns the states of all shards.
func (r *Replica) states() []*pb.ShardState {
	states := make([]*pb.ShardState, len(r.shards))
	for i := range r.shards {
		states[i] = r.message(r.shards[i])
	}
	return states
}

// shardLag compares a shard with what a peer said of it, or returns nil if
// there is nothing to say.
func shardLag(snap store.Snapshot, shard int, mine, theirs antientropy.State, now time.Time) *pb.ShardLag {
	lag := &pb.ShardLag{
		Shard:        uint32(shard),
		LagEvents:    theirs.Vector.Missing(mine.Vector),
		BehindEvents: mine.Vector.Missing(theirs.Vector),
		Diverged:     antientropy.Diverged(mine, theirs),
	}
	if lag.LagEvents == 0 && lag.BehindEvents == 0 && !lag.Diverged {
		return nil
	}
	everyOne := math.MaxInt
	lag.LagMs = oldestMissing(snap, shard, mine, theirs, now, &everyOne).Milliseconds()
	return lag
}

// oldestMissing returns how old the oldest event is that a peer lacks, as far
// as the log has it, looking at no more events than there are looks left.
func oldestMissing(snap store.Snapshot, shard int, mine, theirs antientropy.State, now time.Time, looks *int) (age time.Duration) {
	for actor, seq := range mine.Vector {
		if theirs.Vector[actor] >= seq || *looks == 0 {
			continue
		}
		*looks--
		event, _, err := readEvent(snap, shard, crdt.Dot{Actor: actor, Seq: theirs.Vector[actor] + 1})
		if err == nil && event != nil {
			age = max(age, now.Sub(time.UnixMilli(event.Time)))
		}
	}
	return age
}
