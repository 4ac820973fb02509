package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/membership"
	"github.com/atolldb/atoll/internal/ring"
	"github.com/atolldb/atoll/internal/store"
	pb "github.com/atolldb/atoll/proto"
)

// The table of members is kept by the same kernel as everything else: in the
// system shard, of which every member has a copy. A set holds their names, and
// a register for each what there is to know of it. Each member writes its own.

// unknown is the state of a member that is not observed yet.
const unknown = "unknown"

const (
	membersKey   = "members"
	memberPrefix = "member/"
	// maxRecord bounds the size of what is kept of a member.
	maxRecord = 4 << 10
)

// enrollAs enrolls, or says why not.
func (r *Replica) enrollAs(record *pb.Member) {
	if err := r.enroll(record); err != nil {
		r.log.Error("the table of members does not say yet where this one is", "error", err)
	}
}

// Enroll writes the record of a member into the table that is about to join, so
// that those who come after it find it before it can be reached.
func (r *Replica) Enroll(record *pb.Member) error {
	if !namePattern.MatchString(record.GetName()) || !namePattern.MatchString(record.GetRegion()) || proto.Size(record) > maxRecord {
		return fmt.Errorf("%w: the record of a member named %.64q in %.64q", crdt.ErrInvalid, record.GetName(), record.GetRegion())
	}
	table, err := r.table()
	if err != nil {
		return unavailable(err)
	}
	others := 0 // in its region
	for _, m := range table {
		switch same := m.GetRegion() == record.GetRegion(); {
		case m.GetName() == record.GetName() && !same:
			return fmt.Errorf("%w: there is a member %s in region %s; one in %s takes another name, or that one is removed first", crdt.ErrInvalid, m.GetName(), m.GetRegion(), record.GetRegion())
		case m.GetName() != record.GetName() && same:
			others++
		}
	}
	if others >= ring.MaxMembers {
		return fmt.Errorf("%w: the region %s has %d members, and takes no more", crdt.ErrInvalid, record.GetRegion(), others)
	}
	return r.enroll(record)
}

// enroll writes a member's record into the table, unless it stands there
// already.
func (r *Replica) enroll(record *pb.Member) error {
	key := []byte(memberPrefix + record.GetName())
	value := marshal(record)
	now, err := r.DoSystem(r.tasks, &pb.Request{Operations: []*pb.Operation{
		{Key: []byte(membersKey), What: &pb.Operation_SetHas{SetHas: []byte(record.GetName())}},
		{Key: key, What: &pb.Operation_RegisterGet{RegisterGet: &pb.Empty{}}},
	}})
	if err != nil {
		return err
	}
	siblings := now.GetResults()[1].GetSiblings()
	var was pb.Member
	if len(siblings) > 0 && proto.Unmarshal(siblings[0].GetValue(), &was) == nil && was.GetLeaving() {
		record.Leaving = true // whoever is to leave stays so
		value = marshal(record)
	}
	if now.GetResults()[0].GetFlag() && len(siblings) == 1 && string(siblings[0].GetValue()) == string(value) {
		return nil
	}
	_, err = r.DoSystem(r.tasks, &pb.Request{Operations: enrolling(record)})
	return err
}

// enrolling returns what writes a record into the table.
func enrolling(record *pb.Member) []*pb.Operation {
	name := []byte(record.GetName())
	return []*pb.Operation{
		{Key: []byte(membersKey), What: &pb.Operation_SetAdd{SetAdd: &pb.Elements{Elements: [][]byte{name}}}},
		{Key: []byte(memberPrefix + record.GetName()), What: &pb.Operation_RegisterSet{RegisterSet: marshal(record)}},
	}
}

// table reads the table of members, in the order of their names. Records that
// are not there yet, because a copy is catching up, are left out.
func (r *Replica) table() ([]*pb.Member, error) {
	snap := r.store.Snapshot()
	defer snap.Close()
	return r.tableAt(snap)
}

// Table returns the table of members.
func (r *Replica) Table() ([]*pb.Member, error) {
	table, err := r.table()
	return table, unavailable(err)
}

func (r *Replica) tableAt(snap store.Snapshot) ([]*pb.Member, error) {
	names, err := r.namesIn(snap, membersKey)
	if err != nil {
		return nil, err
	}
	var members []*pb.Member
	for _, name := range names {
		member, err := r.record(snap, name)
		if err != nil {
			return nil, err
		}
		if member != nil {
			members = append(members, member)
		}
	}
	return members, nil
}

// record reads one record of the table, nil if there is none that makes sense.
func (r *Replica) record(snap store.Snapshot, name string) (*pb.Member, error) {
	found, err := read(snap, r.System(), &pb.Operation{
		Key: []byte(memberPrefix + name), What: &pb.Operation_RegisterGet{RegisterGet: &pb.Empty{}},
	})
	if err != nil || len(found.GetSiblings()) == 0 {
		return nil, err
	}
	var member pb.Member
	if err := proto.Unmarshal(found.GetSiblings()[0].GetValue(), &member); err != nil || member.GetName() != name ||
		!namePattern.MatchString(name) || !namePattern.MatchString(member.GetRegion()) {
		return nil, nil // of a later version, or nonsense: as if it were not there
	}
	return &member, nil
}

// ErrPresent says that a member which was to be removed is there.
var ErrPresent = errors.New("the member is there")

// Remove takes a member out of the table that is not coming back: it owns
// nothing any more, and no majority counts it. One that can be reached is not
// removed, since it would go on; one that is started again comes back.
func (r *Replica) Remove(ctx context.Context, name string) error {
	members, err := r.Members()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(members.GetMembers(), func(v *pb.MemberView) bool { return v.GetMember().GetName() == name })
	if i < 0 {
		return fmt.Errorf("%w: the table has no member %.64q", crdt.ErrInvalid, name)
	}
	switch state := members.GetMembers()[i].GetState(); state {
	case membership.Down.String(), membership.Left.String():
	default:
		return fmt.Errorf("%w: %s is %s; stop it first, and wait until it is down or has left", ErrPresent, name, state)
	}
	_, err = r.DoSystem(ctx, &pb.Request{Operations: []*pb.Operation{
		{Key: []byte(membersKey), What: &pb.Operation_SetRemove{SetRemove: &pb.Elements{Elements: [][]byte{[]byte(name)}}}},
		{Key: []byte(memberPrefix + name), What: &pb.Operation_Delete{Delete: &pb.Delete{Type: uint32(crdt.TypeRegister)}}},
		{Key: []byte(progressPrefix + name), What: &pb.Operation_Delete{Delete: &pb.Delete{Type: uint32(crdt.TypeRegister)}}},
	}})
	if err == nil {
		r.log.Info("a member was removed", "member", name)
	}
	return err
}

// Decommission has a member own nothing any more: it hands over what it has and
// stays, until it is stopped and removed.
func (r *Replica) Decommission(ctx context.Context, name string) error {
	l, err := r.view()
	if err != nil {
		return err
	}
	is := l.members[name]
	switch {
	case is == nil:
		return fmt.Errorf("%w: the table has no member %.64q", crdt.ErrInvalid, name)
	case is.GetLeaving():
		return nil
	case l.staying(name) == 0:
		return fmt.Errorf("%w: %s is the last member that stays in the cluster, and has nobody to hand over to", crdt.ErrInvalid, name)
	}
	leaving := proto.CloneOf(is)
	leaving.Leaving = true
	_, err = r.DoSystem(ctx, &pb.Request{Operations: []*pb.Operation{
		{Key: []byte(memberPrefix + name), What: &pb.Operation_RegisterSet{RegisterSet: marshal(leaving)}},
	}})
	return err
}

// Configure changes those settings of the cluster that are set.
func (r *Replica) Configure(ctx context.Context, s *pb.Settings) error {
	if n := s.GetOwners(); n > ring.MaxOwners {
		return fmt.Errorf("%w: %d owners of a shard in each region; it takes 1 to %d", crdt.ErrInvalid, n, ring.MaxOwners)
	}
	if _, known := pb.Consistency_name[int32(s.GetConsistency())]; !known {
		return unknownLevel(s.GetConsistency())
	}
	var ops []*pb.Operation
	set := func(key, value string) {
		ops = append(ops, &pb.Operation{Key: []byte(key), What: &pb.Operation_RegisterSet{RegisterSet: []byte(value)}})
	}
	if n := s.GetOwners(); n > 0 {
		set(ownersKey, strconv.Itoa(int(n)))
	}
	if s.Consistency != nil {
		set(levelKey, s.GetConsistency().String())
	}
	if len(ops) == 0 {
		return nil
	}
	_, err := r.DoSystem(ctx, &pb.Request{Operations: ops})
	return err
}

// Members returns the table of members, and what this one sees of the others.
func (r *Replica) Members() (*pb.Members, error) {
	table, err := r.table()
	if err != nil {
		return nil, unavailable(err)
	}
	views := map[string]membership.View{}
	for _, v := range r.observer.views(r.options.Now()) {
		views[v.Member] = v
	}
	out := &pb.Members{}
	for _, member := range table {
		v := &pb.MemberView{Member: member, State: unknown}
		if member.GetName() == r.options.Member {
			v.State = membership.Alive.String()
		}
		if seen, ok := views[member.GetName()]; ok {
			v.State, v.Phi, v.SilentMs = seen.State.String(), seen.Phi, seen.Silent.Milliseconds()
			v.Suspicions, v.Observers = uint32(seen.Suspicions), uint32(seen.Observers)
		}
		out.Members = append(out.Members, v)
	}
	return out, nil
}

// Rings says who owns what, as this member has it. Where shards are not placed by
// a table, this member owns all.
func (r *Replica) Rings() (*pb.Rings, error) {
	out := &pb.Rings{Shards: uint32(r.options.Shards), Settings: &pb.Settings{Owners: 1, Consistency: pb.Consistency_ONE.Enum()}}
	if !r.placed() {
		alone := &pb.Ring{Owners: 1, Seats: []*pb.Seat{{Name: r.options.Member, Weight: 1}}}
		out.Regions = []*pb.RegionRings{{Region: r.options.Region, Layout: &pb.Layout{Current: alone}, Wanted: alone}}
		return out, nil
	}
	l, err := r.view()
	if err != nil {
		return nil, err
	}
	out.Settings = &pb.Settings{Owners: uint32(l.owners), Consistency: l.level.Enum()}
	states, _ := r.observer.opinion()
	for _, name := range l.names() {
		in := l.regions[name]
		out.Regions = append(out.Regions, &pb.RegionRings{
			Region: name, Layout: in.layout, Wanted: in.wanted, Awaited: l.awaited(name, states),
		})
	}
	return out, nil
}

// holdings says of how many shards this member has copies.
func (r *Replica) holdings() *pb.Holdings {
	h := &pb.Holdings{JoinedBytes: r.arranger.joinedBytes.Load(), HintLimit: uint64(r.options.HintLimit)}
	h.HintEvents, h.HintBytes = r.hintsKept()
	in := r.ownRegion()
	for _, s := range r.shards[:r.options.Shards] {
		switch serving := s.serving.Load(); {
		case serving:
			h.Owned++
		case s.is(joining):
			h.Joining++
		case s.is(hinted):
			h.Handing++
			h.Hints++
		case s.whole() && in.claimOf(r.options.Member, s.index) != unrelated:
			h.Ready++
		case s.is(complete, founded, dropping):
			h.Handing++
		}
	}
	return h
}

// ownRegion returns who owns what in this member's region, as far as it has read
// that: nobody, if it never could.
func (r *Replica) ownRegion() *regionLayout {
	var in *regionLayout
	if l := r.knownView(); l != nil {
		in = l.regions[r.options.Region]
	}
	if in == nil {
		in = &regionLayout{}
	}
	return in
}

// knownView returns who owns what, as it was when it could last be read; nil if it
// never could.
func (r *Replica) knownView() *layout {
	if l, err := r.view(); err == nil {
		return l
	}
	return r.roster.Load()
}
