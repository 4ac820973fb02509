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
	pb "github.com/atolldb/atoll/proto"
)

// verifyPause is the time between two looks at a cluster that does not agree.
const verifyPause = 50 * time.Millisecond

// Report says whether all regions agree.
type Report struct {
	// Shards is how many shards the cluster has, Members what was heard of
	// each member, the one asked first.
	Shards  int
	Members []MemberReport
	// Silent names regions of which no member answered.
	Silent []string
	// Differ lists the shards in which members do not agree.
	Differ []Difference
	// Digest is that of the first member; of all, once they agree.
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
	// Digest stands for the vectors and roots of all its shards: the same
	// digest, the same data. Empty if it gave no answer.
	Digest string
}

// Difference is a shard in which members do not agree.
type Difference struct {
	Shard int
	// Behind is how many events each member lacks that others have.
	Behind map[string]uint64
	// Diverged says that two members have heard the same events and hold
	// different entries, which waiting does not mend.
	Diverged bool
}

// Converged says that every region answered and that all agree: equal
// vectors, equal roots, nothing under way.
func (r *Report) Converged() bool {
	answered := slices.IndexFunc(r.Members, func(m MemberReport) bool { return m.Err != nil }) < 0
	return answered && len(r.Silent) == 0 && len(r.Differ) == 0
}

// Status returns what a member says of itself and its peers, or of the member
// that the client is connected to if the name is empty. With shards it lists
// the state of every shard.
func (c *Client) Status(ctx context.Context, member string, shards bool) (*pb.Status, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	answer, err := c.ask.Ask(ctx, member, &pb.SyncRequest{What: &pb.SyncRequest_Status{Status: &pb.StatusQuery{Shards: shards}}})
	if err != nil {
		return nil, meaning(err)
	}
	if err := refusal(ctx, answer.GetError()); err != nil {
		return nil, err
	}
	if answer.GetStatus() == nil {
		return nil, fmt.Errorf("%w: an answer without a status", ErrUnavailable)
	}
	return answer.GetStatus(), nil
}

// Scrub tells how a member's comparison of all it has stored with its digests
// stands: of the one connected to if none is named. It starts one first if start
// is set, unless one is under way.
func (c *Client) Scrub(ctx context.Context, member string, start bool) (*pb.ScrubState, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	answer, err := c.ask.Ask(ctx, member, &pb.SyncRequest{What: &pb.SyncRequest_Scrub{Scrub: &pb.ScrubQuery{Start: start}}})
	if err != nil {
		return nil, meaning(err)
	}
	if err := refusal(ctx, answer.GetError()); err != nil {
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
			return report, meaning(ctx.Err())
		}
	}
}

// look asks every member once, all at the same time.
func (c *Client) look(ctx context.Context) (*Report, error) {
	first, err := c.Status(ctx, "", true)
	if err != nil {
		return nil, err
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
	heard := map[string]bool{}
	states := map[string][]antientropy.State{}
	add := func(member, region string, status *pb.Status, err error) {
		m := MemberReport{Member: member, Region: region, Err: err}
		if err == nil {
			if decoded, err := c.states(status); err == nil {
				states[member], m.Digest = decoded, digestOf(decoded)
			} else {
				m.Err = err
			}
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
	report.Differ = differences(c.shards, states)
	report.Digest = report.Members[0].Digest
	return report, nil
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

// states decodes the states of all shards of a member.
func (c *Client) states(status *pb.Status) ([]antientropy.State, error) {
	if n := len(status.GetShards()); n != c.shards {
		return nil, fmt.Errorf("%w: a member of %d shards in a cluster of %d", ErrUnavailable, n, c.shards)
	}
	states := make([]antientropy.State, c.shards)
	for i, encoded := range status.GetShards() {
		if int(encoded.GetShard()) != i {
			return nil, fmt.Errorf("%w: shard %d in place of %d", ErrUnavailable, encoded.GetShard(), i)
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
