package sim

import (
	"context"
	"fmt"
	"maps"
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
// are decommissioned, die for good and are replaced, their weights and zones and
// the number of owners change, while all else goes on and goes wrong. The oracle is the same, but that a copy may be removed: by a
// member that is no owner, and never the last one of an event.

// foundAfter is how long a member waits for the one that is to found its region.
const foundAfter = 5 * time.Second

// burialPause is the time between two tries of an operator to remove a member.
const burialPause = 500 * time.Millisecond

// A member's seat is one of so many: a zone, and a weight from 1 on.
const (
	zones = 2
	seats = 3 * zones
)

// place has a member stand in the table.
func (m *member) place(o *replica.Options) {
	o.Owners = nil
	o.Joins, o.Seeds, o.FoundAfter = true, m.world.founder(m.Region) != m || len(m.emptied) > 0, foundAfter
	o.Told = m.world.toldTo(m)
	o.Record = func() *pb.Member {
		return &pb.Member{Name: m.Name, Region: m.Region, Zone: fmt.Sprint("z", m.seat%zones), Weight: uint32(1 + m.seat/zones)}
	}
}

// toldTo returns the other regions that there are from the start, which an operator
// names to a member.
func (w *world) toldTo(m *member) (regions []string) {
	for _, o := range w.members {
		if o.Region != m.Region && !o.Late && !slices.Contains(regions, o.Region) {
			regions = append(regions, o.Region)
		}
	}
	return regions
}

// founder returns the member that founds a region, unless its disk is lost: one that
// is there at first, if there is any.
func (w *world) founder(region string) *member {
	in := slices.DeleteFunc(slices.Clone(w.members), func(m *member) bool { return m.Region != region })
	return in[max(0, slices.IndexFunc(in, func(m *member) bool { return !m.Late }))]
}

// order has any member that is up do what an operator asks for.
func (w *world) order(do func(ctx context.Context, r *replica.Replica) error) {
	w.orderOthers(nil, do)
}

// orderOthers has any but one do that.
func (w *world) orderOthers(but *member, do func(ctx context.Context, r *replica.Replica) error) {
	for _, m := range w.members {
		if m == but || m.replica == nil || m.disk.unwell() {
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
	if !w.schedule.Placed || m.dead || !w.stays(m) {
		return
	}
	m.leaving = true
	w.orderOthers(m, func(ctx context.Context, r *replica.Replica) error { return r.Decommission(ctx, m.Name) })
}

// stays says whether another member stays in the region of one that goes.
func (w *world) stays(m *member) bool {
	return slices.ContainsFunc(w.members, func(o *member) bool {
		return o != m && o.Region == m.Region && !o.leaving && !o.dead && !o.Late
	})
}

// kill has a member die for good, and what only its disk has with it. The last one of
// its region does not die, nor do more than leave a majority to find them down.
func (w *world) kill(m *member) {
	dead := 1
	for _, o := range w.members {
		if o.dead {
			dead++
		}
	}
	if !w.schedule.Placed || m.dead || !w.stays(m) || 2*dead >= len(w.members) {
		return
	}
	m.crash(0)
	m.replace(nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	m.dead, m.backup, m.owns = true, nil, nil
}

// bury has an operator take the dead out of the table, again and again: it is
// refused until they are seen to be down, and who did it may forget.
func (w *world) bury() {
	for _, m := range w.members {
		if m.dead && w.now() > m.buried+burialPause {
			m.buried = w.now()
			w.order(func(ctx context.Context, r *replica.Replica) error { return r.Remove(ctx, m.Name) })
		}
	}
}

// removed takes in that a member has removed its copy of a shard: nothing may be
// gone by that. world.mu is held.
func (m *member) removed(shard int) {
	w, before := m.world, m.states[shard]
	for _, r := range m.waiting {
		r.counted = r.counted || r.shard == shard && m.counted(r) // and now it waits for others
	}
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
	rings, err := w.living()[0].replica.Rings()
	if err != nil {
		return err.Error()
	}
	want := map[string]int{}
	for _, r := range rings.GetRegions() {
		if r.GetLayout().GetNext() != nil || !proto.Equal(r.GetLayout().GetCurrent(), r.GetWanted()) {
			return fmt.Sprintf("the owners change in %s: %v, wanted are %v", r.GetRegion(), r.GetLayout(), r.GetWanted())
		}
		for _, m := range w.members {
			if m.dead && slices.ContainsFunc(r.GetWanted().GetSeats(), func(s *pb.Seat) bool { return s.GetName() == m.Name }) {
				return m.Name + " is dead, and in the table"
			}
		}
		want[r.GetRegion()] = min(int(r.GetWanted().GetOwners()), len(r.GetWanted().GetSeats()))
	}
	owners := map[int]map[string]int{}
	for _, m := range w.living() {
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

// living returns the members that are not dead.
func (w *world) living() []*member {
	return slices.DeleteFunc(slices.Clone(w.members), func(m *member) bool { return m.dead })
}

// owning returns the members that are to agree on a shard. w.mu is held.
func (w *world) owning(shard int) []*member {
	if !w.schedule.Placed {
		return w.members
	}
	return slices.DeleteFunc(slices.Clone(w.members), func(m *member) bool { return !m.owns[shard] })
}

// isFounding says whether a write makes a copy that of a region's founder.
func isFounding(write store.Write) bool {
	const founded = 5
	return write.Key[0] == 's' && len(write.Value) > 0 && write.Value[0] == founded
}

// found notes that a member founds its region. Who does so although another one has
// could reach nobody who knew of that, and takes itself for all there is, as does who
// has lost its disk: from then on quorums need not overlap. w.mu is held.
func (m *member) found(shard int) {
	w := m.world
	if w.founders[m.Region] == nil {
		w.founders[m.Region] = m
	}
	if w.founders[m.Region] != m || m.emptied[shard] > 0 {
		w.split = true
		w.outcome.Stats.Split = 1
	}
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
		if m.dead || m.Late && m.replica == nil {
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
