package replica

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/internal/ring"
	"github.com/atolldb/atoll/internal/store"
	pb "github.com/atolldb/atoll/proto"
)

// Who owns a shard follows from the table of members: in each region a ring of
// its members, and from a ring, as a pure function, the owners of every shard.
//
// Members come and go while writes go on, and a quorum of the old owners need
// not meet one of the new. So a region agrees on its ring in steps. Its layout
// has a current ring. Once the table asks for another one, the members that gain
// shards by that take them over, while only the current owners count. When all
// have them, the layout gets the other ring as its next: from then on a quorum
// is one of both rings. Those that gain now hear once more of a majority of the
// current owners, so that they know whatever a majority of these alone has
// acknowledged. When all have, the next ring becomes the current one. (This is
// the joint consensus of Ongaro and Ousterhout: In Search of an Understandable
// Consensus Algorithm, 2014, for quorums of vectors.) Members that go by
// different states of the table notice it: they exchange what they have heard of
// it with every answer that counts.

const (
	layoutPrefix   = "layout/"
	progressPrefix = "progress/"
	ownersKey      = "setting/owners"
	levelKey       = "setting/consistency"
	// defaultOwners is the number of owners of a shard in each region, as far as
	// there are members.
	defaultOwners = 3
)

// layout is who owns what, as of one state of the table.
type layout struct {
	state   *antientropy.State
	members map[string]*pb.Member
	owners  int            // the setting
	level   pb.Consistency // the setting
	regions map[string]*regionLayout
	untold  []string // regions that were named to this one, and are not in the table: too many of them
}

// regionLayout is who owns what in one region.
type regionLayout struct {
	layout   *pb.Layout // nil: nobody has founded the region
	wanted   *pb.Ring
	progress map[string]*pb.Progress // by member
	// The placements of the rings. next is nil but while both count; aim is the
	// next one, or the wanted one, if that is not the current.
	current, next, aim *ring.Placement
	aimRing            *pb.Ring
}

// view returns who owns what. It is read again when the table has changed.
func (r *Replica) view() (*layout, error) {
	state := r.shards[r.System()].published.Load()
	if known := r.roster.Load(); known != nil && known.state == state {
		return known, nil
	}
	snap := r.store.Snapshot()
	defer snap.Close()
	l, err := r.readLayout(snap)
	if err != nil {
		return nil, unavailable(err)
	}
	// The snapshot is not older than the state that was loaded first.
	l.state = state
	r.roster.Store(l)
	return l, nil
}

// readLayout reads the table of members and what follows from it.
func (r *Replica) readLayout(snap store.Snapshot) (*layout, error) {
	table, err := r.tableAt(snap)
	if err != nil {
		return nil, err
	}
	l := &layout{members: map[string]*pb.Member{}, regions: map[string]*regionLayout{}}
	if l.owners, err = r.ownersSetting(snap); err != nil {
		return nil, err
	}
	if l.level, err = r.levelSetting(snap); err != nil {
		return nil, err
	}
	region := func(name string) *regionLayout {
		if l.regions[name] == nil {
			l.regions[name] = &regionLayout{wanted: &pb.Ring{Owners: uint32(l.owners)}, progress: map[string]*pb.Progress{}}
		}
		return l.regions[name]
	}
	for _, m := range table {
		l.members[m.GetName()] = m
	}
	abandoned := l.staying("") == 0
	for _, m := range table { // in the order of their names
		in := region(m.GetRegion())
		if (!m.GetLeaving() || abandoned) && len(in.wanted.Seats) < ring.MaxMembers { // more own nothing
			in.wanted.Seats = append(in.wanted.Seats, seatOf(m))
		}
		var p pb.Progress
		if found, err := r.entry(snap, progressPrefix+m.GetName(), &p); err != nil {
			return nil, err
		} else if found {
			in.progress[m.GetName()] = &p
		}
	}
	for name, in := range l.regions {
		if err := r.place(snap, name, in); err != nil {
			return nil, err
		}
	}
	l.untold, err = r.untold(snap, l)
	return l, err
}

// untold returns the regions that were named to this one and that the table has never
// had, if it lacks so many that others may have met without this one: a majority of
// them and of the own one. Two who go by their tables have a region in common, then.
func (r *Replica) untold(snap store.Snapshot, l *layout) (names []string, err error) {
	for _, name := range r.options.Told {
		is := l.regions[name]
		if is == nil { // its members may have been removed
			is = &regionLayout{}
			if is.layout, err = r.agreed(snap, name); err != nil {
				return nil, err
			}
		}
		if is.layout == nil {
			names = append(names, name)
		}
	}
	if all := 1 + len(r.options.Told); 2*(all-len(names)) > all {
		return nil, nil
	}
	return names, nil
}

// staying returns how many members but one are not to leave. Where nobody stays, as two
// were decommissioned at the same time, there is nobody to leave to: all stay.
func (l *layout) staying(but string) (n int) {
	for name, m := range l.members {
		if name != but && !m.GetLeaving() {
			n++
		}
	}
	return n
}

// place reads the layout of a region and computes its placements.
func (r *Replica) place(snap store.Snapshot, name string, in *regionLayout) (err error) {
	if in.layout, err = r.agreed(snap, name); err != nil || in.layout == nil {
		return err
	}
	agreed := in.layout
	if in.current, err = r.placement(agreed.GetCurrent()); err != nil {
		return err
	}
	switch {
	case agreed.GetNext() != nil:
		if in.next, err = r.placement(agreed.GetNext()); err != nil {
			return err
		}
		in.aim, in.aimRing = in.next, agreed.GetNext()
	case !proto.Equal(agreed.GetCurrent(), in.wanted):
		if in.aim, err = r.placement(in.wanted); err != nil {
			return err
		}
		in.aimRing = in.wanted
	}
	return nil
}

// agreed returns the layout of a region, nil if it has none. A founder may not
// have heard that the region is there: then the one that is there counts.
func (r *Replica) agreed(snap store.Snapshot, region string) (*pb.Layout, error) {
	found, err := read(snap, r.System(), &pb.Operation{
		Key: []byte(layoutPrefix + region), What: &pb.Operation_RegisterGet{RegisterGet: &pb.Empty{}},
	})
	var first *pb.Layout
	for _, s := range found.GetSiblings() {
		var l pb.Layout
		if proto.Unmarshal(s.GetValue(), &l) != nil {
			continue // of a later version
		}
		if len(l.GetCurrent().GetSeats()) > 0 {
			return &l, err
		}
		if first == nil {
			first = &l
		}
	}
	return first, err
}

// placement returns the placement that follows from a ring.
func (r *Replica) placement(g *pb.Ring) (*ring.Placement, error) {
	key := ringHash(g)
	if known, ok := r.placements.Load(key); ok {
		return known.(*ring.Placement), nil
	}
	var members []ring.Member
	for _, s := range g.GetSeats() {
		members = append(members, ring.Member{Name: s.GetName(), Zone: s.GetZone(), Weight: int(s.GetWeight())})
	}
	p, err := ring.Place(members, r.options.Shards, max(1, int(g.GetOwners())))
	if err == nil {
		r.placements.Store(key, p)
	}
	return p, err
}

func seatOf(m *pb.Member) *pb.Seat {
	weight := min(max(1, m.GetWeight()), ring.MaxWeight)
	return &pb.Seat{Name: m.GetName(), Zone: m.GetZone(), Weight: weight}
}

// ringHash tells rings apart.
func ringHash(g *pb.Ring) uint64 {
	h := fnv.New64a()
	// Writing to a hash does not fail.
	_, _ = h.Write(marshal(g))
	return h.Sum64()
}

// entry reads a message from a register of the system shard, and whether there
// is one that makes sense.
func (r *Replica) entry(snap store.Snapshot, key string, m proto.Message) (bool, error) {
	found, err := read(snap, r.System(), &pb.Operation{
		Key: []byte(key), What: &pb.Operation_RegisterGet{RegisterGet: &pb.Empty{}},
	})
	if err != nil || len(found.GetSiblings()) == 0 {
		return false, err
	}
	// What makes no sense is of a later version: as if it were not there.
	return proto.Unmarshal(found.GetSiblings()[0].GetValue(), m) == nil, nil
}

func (r *Replica) ownersSetting(snap store.Snapshot) (int, error) {
	set, err := r.setting(snap, ownersKey)
	if err != nil || set == "" {
		return defaultOwners, err
	}
	n, err := strconv.Atoi(set)
	if err != nil || n < 1 || n > ring.MaxOwners {
		return defaultOwners, nil
	}
	return n, nil
}

func (r *Replica) levelSetting(snap store.Snapshot) (pb.Consistency, error) {
	set, err := r.setting(snap, levelKey)
	return pb.Consistency(pb.Consistency_value[set]), err // one, if it is none
}

// setting returns the value of a setting, "" if it was never set.
func (r *Replica) setting(snap store.Snapshot, key string) (string, error) {
	found, err := read(snap, r.System(), &pb.Operation{
		Key: []byte(key), What: &pb.Operation_RegisterGet{RegisterGet: &pb.Empty{}},
	})
	if err != nil || len(found.GetSiblings()) == 0 {
		return "", err
	}
	return string(found.GetSiblings()[0].GetValue()), nil
}

// placed says whether shards have owners by a table; if not, every member owns
// all of them.
func (r *Replica) placed() bool { return r.options.Record != nil && r.options.Owners == nil }

// names returns the regions in order.
func (l *layout) names() []string { return slices.Sorted(maps.Keys(l.regions)) }

// electorates returns the sets of owners of a shard of each of which a quorum
// takes a part, by region: one set in the steady state. While regions change
// their rings, there is one for each choice of a ring in each of them, so that
// whoever is ahead in the table has at least one in common with whoever is not.
func (l *layout) electorates(shard int) []map[string][]string { return l.electoratesBut("", shard) }

// electoratesBut returns the same, but that one region is taken to change nothing.
func (l *layout) electoratesBut(steady string, shard int) []map[string][]string {
	sets := []map[string][]string{{}}
	for _, name := range l.names() {
		in := l.regions[name]
		if in.current == nil {
			continue
		}
		choices := [][]string{l.present(in.current.Owners(shard))}
		if in.next != nil && name != steady {
			choices = append(choices, l.present(in.next.Owners(shard)))
		}
		var grown []map[string][]string
		for _, set := range sets {
			for _, owners := range choices {
				with := maps.Clone(set)
				if len(owners) > 0 {
					with[name] = owners
				}
				grown = append(grown, with)
			}
		}
		sets = grown
	}
	return sets
}

// whole returns an error as long as the table may not be that of the whole cluster.
func (l *layout) whole() error {
	if len(l.untold) == 0 {
		return nil
	}
	return fmt.Errorf("%w: this member was told of the other regions %s, and has not heard of them yet: have them up and in reach, or start it without naming them",
		ErrNotEnough, strings.Join(l.untold, ", "))
}

// allows returns an error as long as quorums of a level that a member of a region takes
// with what it has founded may be none: others may go by a table that has nothing in
// common with this one, and in its own region nobody has a copy, where more are wanted.
// Who has taken its copy over had a table that was whole, see asOfNow.
func (l *layout) allows(level pb.Consistency, region string) error {
	alone := l.regions[region] == nil || min(l.owners, len(l.regions[region].wanted.GetSeats())) < 2
	if level == pb.Consistency_ONE || level == pb.Consistency_LOCAL_QUORUM && alone {
		return nil
	}
	return l.whole()
}

// present leaves out those who were removed from the table: what only they had
// is gone.
func (l *layout) present(owners []string) []string {
	return slices.DeleteFunc(slices.Clone(owners), func(name string) bool { return l.members[name] == nil })
}

// settled says whether every member that is to hear something for the aim has heard
// it: while both rings count, or before.
func (in *regionLayout) settled(l *layout) bool {
	return !slices.ContainsFunc(in.aimRing.GetSeats(), func(seat *pb.Seat) bool { return !in.isSettled(l, seat.GetName()) })
}

// isSettled says the same of one member.
func (in *regionLayout) isSettled(l *layout, name string) bool {
	return proto.Equal(in.progress[name], in.ready()) || l.members[name] == nil || !in.reports(name)
}

// isThere says whether the region has owners, and is not just about to be founded.
func (in *regionLayout) isThere() bool { return len(in.layout.GetCurrent().GetSeats()) > 0 }

// ready is what a member writes down that has heard all it is to hear for the aim. The
// number tells it from what it wrote when the region last aimed at the same ring.
func (in *regionLayout) ready() *pb.Progress {
	return &pb.Progress{Ring: ringHash(in.aimRing), Layout: in.layout.GetNumber()}
}

// reports says whether a member is to hear something for the aim.
func (in *regionLayout) reports(name string) bool {
	return slices.ContainsFunc(in.aim.Owned(name), func(shard int) bool { return in.hears(name, shard) })
}

// hears says whether a member is to hear of a shard what its owners have heard: as it
// gains the shard by the aim or, while both rings count, as it stays and others go,
// for whom nobody comes. It may be all that remains, and have missed what these have
// acknowledged.
func (in *regionLayout) hears(name string, shard int) bool {
	before, after := in.current.Owners(shard), in.aim.Owners(shard)
	gains := !slices.Contains(before, name)
	return slices.Contains(after, name) && (gains || in.next != nil && len(after) < len(before))
}

// aims says whether a region is at the step that members are ready for. It may be
// there no more: whoever was its last member has been removed.
func (l *layout) aims(region string, ready *pb.Progress) bool {
	in := l.regions[region]
	return in != nil && in.aimRing != nil && proto.Equal(in.ready(), ready)
}

// advanced returns the layout that comes after, nil if there is none yet.
func (in *regionLayout) advanced(l *layout) *pb.Layout {
	switch {
	case in.layout == nil || in.aim == nil || !in.settled(l):
		return nil
	case in.next != nil:
		return &pb.Layout{Current: in.layout.GetNext(), Number: in.layout.GetNumber() + 1}
	}
	return &pb.Layout{Current: in.layout.GetCurrent(), Next: in.wanted, Number: in.layout.GetNumber() + 1}
}

// claim is what a member is to a shard.
type claim int

const (
	unrelated claim = iota // it has no business with it
	heir                   // it is to own it
	owner                  // it is asked for it, and counts
)

// claimOf returns what a member of a region is to a shard.
func (in *regionLayout) claimOf(name string, shard int) claim {
	switch {
	case in.current != nil && slices.Contains(in.current.Owners(shard), name):
		return owner
	case in.aim != nil && slices.Contains(in.aim.Owners(shard), name):
		return heir
	}
	return unrelated
}
