package replica

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	pb "github.com/atolldb/atoll/proto"
)

// quorum is how many of some owners must answer.
type quorum struct {
	owners   []string
	needed   int
	answered []string
}

func majority(owners []string) int { return len(owners)/2 + 1 }

// hear takes in that an owner has answered, if it is one of the quorum's.
func (q *quorum) hear(owner string) {
	if slices.Contains(q.owners, owner) && !slices.Contains(q.answered, owner) {
		q.answered = append(q.answered, owner)
	}
}

func (q *quorum) lacks() bool { return len(q.answered) < q.needed }

// missing returns the owners whose answers quorums may need, each once.
func missing(quorums []*quorum) []string {
	var owners []string
	for _, q := range quorums {
		if q.lacks() {
			owners = append(owners, q.owners...)
		}
	}
	slices.Sort(owners)
	owners = slices.Compact(owners)
	return slices.DeleteFunc(owners, func(o string) bool {
		return !slices.ContainsFunc(quorums, func(q *quorum) bool {
			return slices.Contains(q.owners, o) && !slices.Contains(q.answered, o)
		})
	})
}

// notEnough says how many answered, and of which of the regions that were asked.
func (r *Replica) notEnough(shard int, level pb.Consistency, quorums []*quorum, after time.Duration) error {
	sets, err := r.electorates(shard)
	if err != nil {
		return err
	}
	byRegion := sets[0]
	needed := 0
	heard := map[string]bool{}
	for _, q := range quorums {
		needed += q.needed
		for _, owner := range q.answered {
			heard[owner] = true
		}
	}
	var regions []string
	for _, region := range slices.Sorted(maps.Keys(byRegion)) {
		n, asked := 0, false
		for _, owner := range byRegion[region] {
			if heard[owner] {
				n++
			}
			asked = asked || slices.ContainsFunc(quorums, func(q *quorum) bool { return slices.Contains(q.owners, owner) })
		}
		if !asked {
			continue
		}
		regions = append(regions, fmt.Sprintf("%d of %d in %s", n, len(byRegion[region]), region))
	}
	what := fmt.Sprintf("%d answered in %v, it takes %d", len(heard), after.Round(time.Millisecond), needed)
	switch {
	case level == pb.Consistency_EACH_QUORUM:
		what = fmt.Sprintf("%d answered in %v, it takes a majority in each region", len(heard), after.Round(time.Millisecond))
	case len(quorums) > 1: // while owners change
		what = fmt.Sprintf("%d answered in %v, it takes enough of the owners there were and of those to come", len(heard), after.Round(time.Millisecond))
	}
	return fmt.Errorf("%w: %s; these are %s", ErrNotEnough, what, strings.Join(regions, ", "))
}
