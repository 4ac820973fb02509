package client

import (
	"context"
	"sync"

	pb "github.com/atolldb/atoll/proto"
)

// Move is how far a member has come with the shards that it gains while the
// owners in its region change.
type Move struct {
	Region, Member string
	// Shards is how many it gains, Taken of how many of these it has all, and
	// Bytes how much of them it has taken over since its process started.
	Shards, Taken int
	Bytes         uint64
	// Done is the part of it that is done, up to 1, by what is in the shards.
	Done float64
	// Err says why that is not known, or is nil.
	Err error
}

// Moves asks all members that gain shards, by the rings given, how far they have
// come.
func (c *Client) Moves(ctx context.Context, rings *Rings) []*Move {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	var asking sync.WaitGroup
	var moves []*Move
	for _, region := range rings.Regions {
		for _, member := range region.Members {
			if member.Gains == 0 {
				continue
			}
			m := &Move{Region: region.Region, Member: member.Name, Shards: member.Gains}
			moves = append(moves, m)
			asking.Go(func() {
				var status *pb.Status
				status, m.Err = c.Status(ctx, m.Member, false)
				// Before it has heard of the change, it tells of another one.
				if is := status.GetHoldings().GetMove(); sameRing(is.GetRing(), region.aim) {
					m.set(is)
				}
			})
		}
	}
	asking.Wait()
	return moves
}

// set takes over what a member says, which may be anything.
func (m *Move) set(is *pb.Move) {
	m.Taken, m.Bytes = min(m.Shards, int(is.GetTaken())), is.GetBytes()
	m.Done = float64(m.Taken) / float64(m.Shards)
	if all := is.GetAllEntries(); all > 0 && m.Taken < m.Shards {
		m.Done = min(1, float64(is.GetEntries())/float64(all))
	}
}
