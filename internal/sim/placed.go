package sim

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/replica"
)

// In a placed history, shards have owners by the table of members; members come,
// are decommissioned, and the number of owners changes, while all else goes on
// and goes wrong. The oracle is the same, but that a copy may be removed: by a
// member that is no owner, and never the last one of an event.

// foundAfter is how long a member waits for the one that is to found its region.
const foundAfter = 2 * time.Second

// AddPlacement makes a placed history of one in which everybody owns everything.
// Data that is put back without a word is left out: who has it may have handed it
// over since.
func AddPlacement(s Schedule) Schedule {
	r := rand.New(rand.NewPCG(s.Seed, 3))
	s.Placed = true
	s.Members = slices.Clone(s.Members)
	s.Steps = slices.DeleteFunc(slices.Clone(s.Steps), func(step Step) bool {
		return step.Kind == Revert || step.Kind == Rot || step.Kind == Invent || step.Kind == Swap
	})
	var span time.Duration
	for _, step := range s.Steps {
		span = max(span, step.At)
	}
	at := func() time.Duration { return time.Duration(r.Int64N(int64(span) + 1)) }
	for n := 1 + r.IntN(4); n > 0; n-- {
		like := s.Members[r.IntN(len(s.Members))]
		like.Late = r.IntN(3) > 0
		like.Name = fmt.Sprint(like.Region, len(s.Members)+1)
		if like.Late {
			s.Steps = append(s.Steps, Step{At: at(), Kind: Start, Member: len(s.Members)})
		}
		s.Members = append(s.Members, like)
	}
	s.Steps = append(s.Steps, Step{At: time.Millisecond, Kind: Owners, N: 1 + r.IntN(3)})
	for n := r.IntN(3); n > 0; n-- {
		s.Steps = append(s.Steps, Step{At: at(), Kind: Owners, N: 1 + r.IntN(3)})
	}
	for n := r.IntN(3); n > 0; n-- {
		s.Steps = append(s.Steps, Step{At: at(), Kind: Leave, Member: r.IntN(len(s.Members))})
	}
	slices.SortStableFunc(s.Steps, func(a, b Step) int { return int(a.At - b.At) })
	return s
}

// place has a member stand in the table.
func (m *member) place(o *replica.Options) {
	first := m.world.schedule.Members[slices.IndexFunc(m.world.schedule.Members, func(is Member) bool { return is.Region == m.Region })]
	o.Owners = nil
	o.Joins, o.Seeds, o.FoundAfter = true, first.Name != m.Name, foundAfter
	o.Record = func() *pb.Member { return &pb.Member{Name: m.Name, Region: m.Region, Weight: 1} }
}

// order has any member that is up do what an operator asks for.
func (w *world) order(do func(ctx context.Context, r *replica.Replica) error) {
	for _, m := range w.members {
		if m.replica == nil || m.disk.unwell() {
			continue
		}
		r := m.replica
		w.clients.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), clientPatience)
			defer cancel()
			_ = do(ctx, r) // it may be stopped, or its disk fail
		})
		return
	}
}

// leave has a member decommissioned, unless it is the last of its region.
func (w *world) leave(m *member) {
	others := slices.ContainsFunc(w.members, func(o *member) bool {
		return o != m && o.Region == m.Region && !o.leaving && !o.Late
	})
	if !w.schedule.Placed || !others {
		return
	}
	m.leaving = true
	w.order(func(ctx context.Context, r *replica.Replica) error { return r.Decommission(ctx, m.Name) })
}

// removed takes in that a member has removed its copy of a shard: nothing may be
// gone by that. world.mu is held.
func (m *member) removed(shard int) {
	w, before := m.world, m.states[shard]
	m.states[shard] = emptyState()
	if !w.schedule.Placed {
		w.failLocked("%s has removed its copy of shard %d", m.Name, shard)
	}
	for _, e := range w.record.order {
		if e.shard != shard || e.lost {
			continue
		}
		had := slices.ContainsFunc(before.spans, func(s crdt.Span) bool { return covers(s.Vector, e.Dot) })
		if had && !w.somewhere(e) {
			w.failLocked("%s has removed the last copy of %s", m.Name, eventText(e.Event))
		}
	}
}

func emptyState() *copyState {
	return &copyState{spans: []crdt.Span{{Vector: crdt.VersionVector{}}}}
}

// unplaced says who has not what the table wants it to have, or nothing, and
// notes who owns what.
func (w *world) unplaced() string {
	if !w.schedule.Placed {
		return ""
	}
	rings, err := w.members[0].replica.Rings()
	if err != nil {
		return err.Error()
	}
	want := map[string]int{}
	for _, r := range rings.GetRegions() {
		if r.GetLayout().GetNext() != nil || !proto.Equal(r.GetLayout().GetCurrent(), r.GetWanted()) {
			return fmt.Sprintf("the owners change in %s: %v, wanted are %v", r.GetRegion(), r.GetLayout(), r.GetWanted())
		}
		want[r.GetRegion()] = min(int(r.GetWanted().GetOwners()), len(r.GetWanted().GetSeats()))
	}
	owners := map[int]map[string]int{}
	for _, m := range w.members {
		owns := map[int]bool{}
		for shard, state := range m.replica.Status(true).GetShards() {
			switch {
			case shard == w.schedule.Shards:
			case state.GetOwned():
				owns[shard] = true
				if owners[shard] == nil {
					owners[shard] = map[string]int{}
				}
				owners[shard][m.Region]++
			case !state.GetAbsent():
				return fmt.Sprintf("%s holds shard %d", m.Name, shard)
			}
		}
		w.mu.Lock()
		m.owns = owns
		w.mu.Unlock()
	}
	for shard := range w.schedule.Shards {
		if !maps.Equal(owners[shard], want) {
			return fmt.Sprintf("shard %d has %v owners, want %v", shard, owners[shard], want)
		}
	}
	return ""
}

// owning returns the members that are to agree on a shard. w.mu is held.
func (w *world) owning(shard int) []*member {
	if !w.schedule.Placed {
		return w.members
	}
	return slices.DeleteFunc(slices.Clone(w.members), func(m *member) bool { return !m.owns[shard] })
}

// isRemoval says whether a write removes what a copy of a shard says of itself.
func isRemoval(write store.Write) bool { return write.Key[0] == 'v' && write.Value == nil }

// isKind says whether a pattern is of subjects that begin with a token.
func isKind(pattern, token string) bool { return strings.HasPrefix(pattern, token+".") }

// form looks whether the regions that are there at first have met. Before, each
// takes itself for all there is, and quorums need not overlap.
func (w *world) form() {
	if w.formed || !w.schedule.Placed {
		return
	}
	regions := map[string]bool{}
	for _, m := range w.schedule.Members {
		if !m.Late {
			regions[m.Region] = true
		}
	}
	agreed := map[string]*pb.Layout{}
	for _, m := range w.members {
		if m.Late && m.replica == nil {
			continue
		}
		if m.replica == nil {
			return
		}
		rings, err := m.replica.Rings()
		if err != nil {
			return
		}
		met := map[string]bool{}
		for _, r := range rings.GetRegions() {
			if len(r.GetLayout().GetCurrent().GetSeats()) > 0 {
				met[r.GetRegion()] = true
			}
			if agreed[r.GetRegion()] == nil {
				agreed[r.GetRegion()] = r.GetLayout()
			}
			if !proto.Equal(agreed[r.GetRegion()], r.GetLayout()) {
				return
			}
		}
		for region := range regions {
			if !met[region] {
				return
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.formed = true
	w.age()
}
