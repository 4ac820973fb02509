package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/atolldb/atoll/internal/cluster"
	"github.com/atolldb/atoll/internal/wan"
)

// kind is a kind of fault: how it begins and ends at a victim, which is a
// region or, for links, two with a dash between.
type kind struct {
	name       string
	link       bool // the victim is two regions
	what       string
	most       time.Duration // how long it lasts at most
	begin, end func(s *soak, victim string) error
}

// kinds are all there are. Faults of the same what at one victim exclude each
// other; all others may coincide.
var kinds = []kind{
	{name: "kill -9", what: "process", most: 4 * time.Second, begin: onMember((*cluster.Member).Kill), end: onMember((*cluster.Member).Start)},
	{name: "SIGTERM", what: "process", most: 3 * time.Second, begin: stop, end: onMember((*cluster.Member).Start)},
	{name: "SIGSTOP", what: "process", most: 8 * time.Second, begin: onMember((*cluster.Member).Pause), end: onMember((*cluster.Member).Resume)},
	{name: "cut, reset", what: "gateway", most: 8 * time.Second, begin: cut(wan.Reset), end: heal},
	{name: "cut, silent", what: "gateway", most: 8 * time.Second, begin: cut(wan.Silent), end: heal},
	{name: "link cut, reset", what: "link", link: true, most: 8 * time.Second, begin: cutLink(wan.Reset), end: healLink},
	{name: "link cut, silent", what: "link", link: true, most: 8 * time.Second, begin: cutLink(wan.Silent), end: healLink},
}

func onMember(do func(*cluster.Member) error) func(*soak, string) error {
	return func(s *soak, region string) error { return do(s.member(region)) }
}

// stop tells a member to stop, once it has come so far that it can be told.
func stop(s *soak, region string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m := s.member(region)
	if err := m.Ready(ctx); err != nil {
		return err
	}
	return m.Stop(ctx)
}

func cut(mode wan.Mode) func(*soak, string) error {
	return func(s *soak, region string) error { s.network.Cut(region, mode); return nil }
}

func heal(s *soak, region string) error { s.network.Heal(region); return nil }

func cutLink(mode wan.Mode) func(*soak, string) error {
	return func(s *soak, link string) error {
		a, b, _ := strings.Cut(link, "-")
		s.network.CutBetween(a, b, mode)
		return nil
	}
}

func healLink(s *soak, link string) error {
	a, b, _ := strings.Cut(link, "-")
	s.network.HealBetween(a, b)
	return nil
}

// fault is one fault of a round; times are since the start of the round.
type fault struct {
	kind       kind
	victim     string
	begin, end time.Duration
}

// String says what, whom and how long.
func (f fault) String() string {
	return fmt.Sprintf("%s %s %.1fs", f.kind.name, f.victim, (f.end - f.begin).Seconds())
}

const (
	// mostFaults is how many faults a round has at most.
	mostFaults = 6
	// breath is the least that a fault lasts, and that lies between two that
	// exclude each other.
	breath = 200 * time.Millisecond
)

// draw returns the faults of a round, in the order of their begin. They begin,
// and last, within most, but for those that must wait for others.
func draw(random *rand.Rand, regions []string, most time.Duration) []fault {
	length := most/3 + drawn(random, most-most/3)
	var faults []fault
	free := map[string]time.Duration{} // when the last fault of the same what ends
	for range 1 + random.IntN(mostFaults) {
		f := fault{kind: kinds[random.IntN(len(kinds))]}
		i := random.IntN(len(regions))
		f.victim = regions[i]
		if f.kind.link {
			f.victim += "-" + regions[(i+1)%len(regions)]
		}
		key := f.kind.what + f.victim
		f.begin = max(drawn(random, length), free[key])
		f.end = f.begin + breath + drawn(random, min(most, f.kind.most))
		free[key] = f.end + breath
		faults = append(faults, f)
	}
	slices.SortStableFunc(faults, func(a, b fault) int { return cmp.Compare(a.begin, b.begin) })
	return faults
}

func drawn(random *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(most)))
}

// happen lets the faults happen, each at its time, and returns when the last is
// over, with the first error, or when the context ends, with what has begun
// brought to its end at once.
func (s *soak) happen(ctx context.Context, faults []fault) error {
	type step struct {
		at time.Duration
		do func(*soak, string) error
		of int
	}
	var steps []step
	for i, f := range faults {
		steps = append(steps, step{f.begin, f.kind.begin, i}, step{f.end, f.kind.end, i})
	}
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	began := make([]bool, len(faults))
	start := time.Now()
	for _, step := range steps {
		select {
		case <-time.After(time.Until(start.Add(step.at))):
		case <-ctx.Done():
			if !began[step.of] {
				continue
			}
		}
		f := faults[step.of]
		if err := step.do(s, f.victim); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		if !began[step.of] {
			began[step.of] = true
			s.summary.Faults[f.kind.name]++
		}
	}
	return nil
}
