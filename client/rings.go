package client

import (
	"context"
	"fmt"
	"slices"

	"github.com/atolldb/atoll/internal/ring"
	pb "github.com/atolldb/atoll/proto"
)

// Rings says who owns what, as a member has it.
type Rings struct {
	Shards int
	// Owners is how many members of each region are to own a shard, as far as
	// there are so many.
	Owners int
	// Consistency is the level of requests that name none.
	Consistency Consistency
	Regions     []RegionRing // by name
}

// RegionRing says who owns what in one region.
type RegionRing struct {
	Region string
	// Members are those who own shards, or are to own some, by name.
	Members []RingMember
	// Changing says that the owners are about to be others: those who gain shards
	// take them over.
	Changing bool
	// Awaited are the members that are not there, as the member that was asked sees
	// it, and that the change waits for: until they are back or are removed.
	Awaited          []string
	current, becomes *ring.Placement
	aim              *pb.Ring // that becomes follows from
}

// RingMember is a member's part in a region.
type RingMember struct {
	Name, Zone string
	Weight     int
	Owned      int // shards
	Becomes    int // shards that it is to own, once the change is done
	Gains      int // of these, those that it does not own yet
}

// Owners returns the members that own a shard.
func (r *RegionRing) Owners(shard int) []string { return slices.Clone(r.current.Owners(shard)) }

// Becomes returns the members that are to own a shard once the change is done.
func (r *RegionRing) Becomes(shard int) []string { return slices.Clone(r.becomes.Owners(shard)) }

// Rings returns who owns what, as the member connected to has it, or the one
// named.
func (c *Client) Rings(ctx context.Context, member string) (*Rings, error) {
	return c.rings(ctx, member, true, &pb.SyncRequest{What: &pb.SyncRequest_Rings{Rings: &pb.Empty{}}})
}

// SetOwners sets how many members of each region are to own a shard, from 1 to
// 16, and returns who owns what at that moment. Shards move then, in the
// background.
func (c *Client) SetOwners(ctx context.Context, n int) (*Rings, error) {
	if n < 1 || n > ring.MaxOwners {
		return nil, fmt.Errorf("%w: %d owners of a shard in each region; it takes 1 to %d", ErrInvalid, n, ring.MaxOwners)
	}
	return c.rings(ctx, "", false, &pb.SyncRequest{What: &pb.SyncRequest_Settings{Settings: &pb.Settings{Owners: uint32(n)}}})
}

// SetConsistency sets the level of requests that name none, for the whole
// cluster, and returns the settings as they are then.
func (c *Client) SetConsistency(ctx context.Context, level Consistency) (*Rings, error) {
	code, err := level.code()
	if err != nil {
		return nil, err
	}
	return c.rings(ctx, "", false, &pb.SyncRequest{What: &pb.SyncRequest_Settings{Settings: &pb.Settings{Consistency: code.Enum()}}})
}

// Decommission has a member own nothing any more, and returns the table after.
// The member hands over what it has, in the background; see Holdings of its
// Status. Then it can be stopped and removed.
func (c *Client) Decommission(ctx context.Context, name string) ([]*pb.MemberView, error) {
	if name == "" {
		return nil, fmt.Errorf("%w: no member named", ErrInvalid)
	}
	return c.members(ctx, "", false, &pb.SyncRequest{What: &pb.SyncRequest_Decommission{Decommission: name}})
}

func (c *Client) rings(ctx context.Context, member string, reads bool, question *pb.SyncRequest) (*Rings, error) {
	answer, err := c.question(ctx, member, reads, question)
	if err != nil {
		return nil, err
	}
	rings, err := decodeRings(answer.GetRings(), c.shards)
	if err != nil {
		return nil, fmt.Errorf("%w: an answer that says nothing of owners: %w", ErrUnavailable, err)
	}
	return rings, nil
}

func decodeRings(m *pb.Rings, shards int) (*Rings, error) {
	if n := int(m.GetShards()); n != shards {
		return nil, fmt.Errorf("it is of %d shards, the cluster has %d", n, shards)
	}
	level := int(m.GetSettings().GetConsistency())
	if level < 0 || level >= len(Consistencies) {
		return nil, fmt.Errorf("the default consistency %d; this client does not know it", level)
	}
	rings := &Rings{Shards: shards, Owners: int(m.GetSettings().GetOwners()), Consistency: Consistencies[level]}
	for _, region := range m.GetRegions() {
		r := RegionRing{Region: region.GetRegion(), Changing: region.GetLayout().GetNext() != nil, Awaited: region.GetAwaited(), aim: region.GetLayout().GetNext()}
		if r.aim == nil {
			r.aim = region.GetWanted()
			r.Changing = !sameRing(r.aim, region.GetLayout().GetCurrent())
		}
		var err error
		if r.current, err = place(region.GetLayout().GetCurrent(), shards); err != nil {
			return nil, err
		}
		if r.becomes, err = place(r.aim, shards); err != nil {
			return nil, err
		}
		for _, seat := range slices.Concat(region.GetLayout().GetCurrent().GetSeats(), r.aim.GetSeats()) {
			if slices.ContainsFunc(r.Members, func(m RingMember) bool { return m.Name == seat.GetName() }) {
				continue
			}
			r.Members = append(r.Members, RingMember{
				Name: seat.GetName(), Zone: seat.GetZone(), Weight: int(seat.GetWeight()),
				Owned: len(r.current.Owned(seat.GetName())), Becomes: len(r.becomes.Owned(seat.GetName())),
				Gains: len(r.becomes.Gained(seat.GetName(), r.current)),
			})
		}
		rings.Regions = append(rings.Regions, r)
	}
	return rings, nil
}

func sameRing(a, b *pb.Ring) bool {
	return a.GetOwners() == b.GetOwners() && slices.EqualFunc(a.GetSeats(), b.GetSeats(), func(a, b *pb.Seat) bool {
		return a.GetName() == b.GetName() && a.GetZone() == b.GetZone() && a.GetWeight() == b.GetWeight()
	})
}

func place(g *pb.Ring, shards int) (*ring.Placement, error) {
	var members []ring.Member
	for _, s := range g.GetSeats() {
		members = append(members, ring.Member{Name: s.GetName(), Zone: s.GetZone(), Weight: int(s.GetWeight())})
	}
	return ring.Place(members, shards, max(1, int(g.GetOwners())))
}
