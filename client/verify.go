package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/internal/ring"
	pb "github.com/atolldb/atoll/proto"
)

// verifyPause is the time between two looks at a cluster that does not agree.
const verifyPause = 50 * time.Millisecond

// Report says whether all regions agree.
type Report struct {
	// Shards is how many shards the cluster has, but for its own, Members what was heard of
	// each member, the one asked first.
	Shards  int
	Members []MemberReport
	// Silent names regions of which no member answered.
	Silent []string
	// Differ lists the shards in which members do not agree.
	Differ []Difference
	// Changing names regions the owners of which are about to be others.
	Changing []string
	// Digest is that of all shards, by the first owner of each; of all owners,
	// once they agree.
	Digest string
}

// MemberReport is what was heard of one member.
type MemberReport struct {
	Member, Region string
	Err            error // why it gave no answer, or nil
	// Events is how many events the member has heard, over all shards.
	Events uint64
	// Entries is how many entries it holds, over all shards.
	Entries uint64
	// Owned is of how many shards it is an owner. Missing is how many of these it
	// does not serve, and Extra how many others it holds.
	Owned, Missing, Extra int
	// Digest stands for the vectors and roots of all shards: the same digest, the
	// same data. Empty if it gave no answer, or does not own all.
	Digest string
}

// Difference is a shard in which members do not agree.
type Difference struct {
	Shard int // Report.Shards is that which the cluster keeps of itself
	// Behind is how many events each member lacks that others have.
	Behind map[string]uint64
	// Diverged says that two members have heard the same events and hold
	// different entries, which waiting does not mend.
	Diverged bool
}

// Converged says that every region answered and that all agree: equal vectors,
// equal roots, nothing under way, every shard with its owners and nobody else.
func (r *Report) Converged() bool {
	missing := slices.ContainsFunc(r.Members, func(m MemberReport) bool { return m.Err != nil || m.Missing > 0 || m.Extra > 0 })
	return !missing && len(r.Silent) == 0 && len(r.Changing) == 0 && len(r.Differ) == 0
}

// Status returns what a member says of itself and its peers, or of the member
// that the client is connected to if the name is empty. With shards it lists
// the state of every shard.
func (c *Client) Status(ctx context.Context, member string, shards bool) (*pb.Status, error) {
	answer, err := c.question(ctx, member, true, &pb.SyncRequest{What: &pb.SyncRequest_Status{Status: &pb.StatusQuery{Shards: shards}}})
	if err != nil {
		return nil, err
	}
	if answer.GetStatus() == nil {
		return nil, fmt.Errorf("%w: an answer without a status", ErrUnavailable)
	}
	return answer.GetStatus(), nil
}

// Scrub tells how a member's comparison of all it has stored with its digests
// stands: of the one connected to if none is named.
func (c *Client) Scrub(ctx context.Context, member string) (*pb.ScrubState, error) {
	return c.scrub(ctx, member, &pb.ScrubQuery{})
}

// StartScrub has a member compare all it has stored with its digests, unless
// that is under way, and repair what is damaged. With giveUp, damage that
// neither peers nor its log can make up for is repaired at the end by
// forgetting what only this member had there.
func (c *Client) StartScrub(ctx context.Context, member string, giveUp bool) (*pb.ScrubState, error) {
	return c.scrub(ctx, member, &pb.ScrubQuery{Start: true, GiveUp: giveUp})
}

func (c *Client) scrub(ctx context.Context, member string, query *pb.ScrubQuery) (*pb.ScrubState, error) {
	answer, err := c.question(ctx, member, !query.GetStart(), &pb.SyncRequest{What: &pb.SyncRequest_Scrub{Scrub: query}})
	if err != nil {
		return nil, err
	}
	if answer.GetScrub() == nil {
		return nil, fmt.Errorf("%w: an answer without the state of a scrub", ErrUnavailable)
	}
	return answer.GetScrub(), nil
}

// Verify asks every member for its vectors and roots and compares them, again
// and again until all agree or the wait is over, and returns the last report.
// Under writes there is always something on its way: a report that differs is
// no proof of harm, one that converged is proof. Each look calls progress,
// which may be nil.
func (c *Client) Verify(ctx context.Context, wait time.Duration, progress func(*Report)) (*Report, error) {
	deadline := time.Now().Add(wait)
	for {
		report, err := c.look(ctx)
		if err != nil {
			return nil, err
		}
		if progress != nil {
			progress(report)
		}
		if report.Converged() || !time.Now().Add(verifyPause).Before(deadline) {
			return report, nil
		}
		select {
		case <-time.After(verifyPause):
		case <-ctx.Done():
			return report, call{reads: true}.meaning(ctx.Err())
		}
	}
}

// look asks every member once, all at the same time.
func (c *Client) look(ctx context.Context) (*Report, error) {
	first, err := c.Status(ctx, "", true)
	if err != nil {
		return nil, err
	}
	rings, err := decodeRings(first.GetRings(), c.shards)
	if err != nil {
		return nil, fmt.Errorf("%w: a status that says nothing of owners: %w", ErrUnavailable, err)
	}
	type reply struct {
		status *pb.Status
		err    error
	}
	replies := make([]chan reply, len(first.GetPeers()))
	for i, p := range first.GetPeers() {
		replies[i] = make(chan reply, 1)
		go func() {
			status, err := c.Status(ctx, p.GetMember(), true)
			replies[i] <- reply{status, err}
		}()
	}
	report := &Report{Shards: c.shards}
	for _, r := range rings.Regions {
		if r.Changing {
			report.Changing = append(report.Changing, r.Region)
		}
	}
	heard := map[string]bool{}
	states := map[string][]antientropy.State{}
	add := func(member, region string, status *pb.Status, err error) {
		m := MemberReport{Member: member, Region: region, Err: err}
		if err == nil {
			if decoded, err := c.states(status); err == nil {
				states[member] = decoded
				m.judge(rings, status)
			} else {
				m.Err = err
			}
		}
		if m.Owned == c.shards && m.Missing == 0 {
			m.Digest = digestOf(states[member])
		}
		for _, s := range states[member] {
			m.Entries += s.Root.Count
			for _, seq := range s.Vector {
				m.Events += seq
			}
		}
		heard[region] = heard[region] || m.Err == nil
		report.Members = append(report.Members, m)
	}
	add(first.GetMember(), first.GetRegion(), first, nil)
	for i, p := range first.GetPeers() {
		r := <-replies[i]
		add(p.GetMember(), p.GetRegion(), r.status, r.err)
	}
	for _, region := range first.GetRegions() {
		if !heard[region] {
			report.Silent = append(report.Silent, region)
		}
	}
	report.Differ = differences(c.shards+1, states)
	report.Digest = digestOf(c.anyOwner(states))
	return report, nil
}

// judge compares what a member has with what it owns.
func (m *MemberReport) judge(rings *Rings, status *pb.Status) {
	var current *ring.Placement
	for i := range rings.Regions {
		if rings.Regions[i].Region == m.Region {
			current = rings.Regions[i].current
		}
	}
	for shard := range rings.Shards {
		owns := current != nil && slices.Contains(current.Owners(shard), m.Member)
		has := status.GetShards()[shard]
		switch {
		case owns:
			m.Owned++
			if !has.GetOwned() {
				m.Missing++
			}
		case !has.GetAbsent():
			m.Extra++
		}
	}
}

// anyOwner returns the state of each shard at the first member that serves it.
func (c *Client) anyOwner(states map[string][]antientropy.State) []antientropy.State {
	any := make([]antientropy.State, c.shards+1)
	for _, member := range slices.Backward(slices.Sorted(maps.Keys(states))) {
		for shard, s := range states[member] {
			if s.Vector != nil {
				any[shard] = s
			}
		}
	}
	return any
}

// digestOf returns 16 hexadecimal digits that stand for the states.
func digestOf(states []antientropy.State) string {
	h := sha256.New()
	for _, s := range states {
		// Writing to a hash does not fail.
		_, _ = h.Write(s.Root.AppendTo(s.Vector.AppendTo(nil)))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// states decodes the states of the shards that a member serves. Those of others
// have no vector.
func (c *Client) states(status *pb.Status) ([]antientropy.State, error) {
	if n := len(status.GetShards()) - 1; n != c.shards { // one is the cluster's own
		return nil, fmt.Errorf("%w: a member of %d shards in a cluster of %d", ErrUnavailable, n, c.shards)
	}
	states := make([]antientropy.State, c.shards+1)
	for i, encoded := range status.GetShards() {
		if int(encoded.GetShard()) != i {
			return nil, fmt.Errorf("%w: shard %d in place of %d", ErrUnavailable, encoded.GetShard(), i)
		}
		if !encoded.GetOwned() {
			continue // nobody is answered from it
		}
		var err error
		if states[i], err = antientropy.DecodeState(encoded); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	return states, nil
}

// differences compares the members shard by shard.
func differences(shards int, states map[string][]antientropy.State) []Difference {
	members := slices.Sorted(maps.Keys(states))
	var differ []Difference
	for shard := range shards {
		d := Difference{Shard: shard, Behind: map[string]uint64{}}
		agree := true
		for i, a := range members {
			for _, b := range members[i:] { // a itself says whether it is whole
				x, y := states[a][shard], states[b][shard]
				if x.Vector == nil || y.Vector == nil {
					continue
				}
				agree = agree && antientropy.Agree(x, y)
				d.Diverged = d.Diverged || antientropy.Diverged(x, y)
				d.Behind[a] = max(d.Behind[a], x.Vector.Missing(y.Vector))
				d.Behind[b] = max(d.Behind[b], y.Vector.Missing(x.Vector))
			}
		}
		if !agree {
			differ = append(differ, d)
		}
	}
	return differ
}
