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

// possible says whether enough owners have answered or may yet. The majority is
// one of all owners, whoever is there.
func (q *quorum) possible(s standings) bool {
	n := 0
	for _, owner := range q.owners {
		if slices.Contains(q.answered, owner) || !s.gone(owner) {
			n++
		}
	}
	return n >= q.needed
}

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

// notEnough says how many owners answered after some time, or can, with some of
// them gone, and in which of the regions that were asked.
func (r *Replica) notEnough(shard int, level pb.Consistency, quorums []*quorum, states standings, after time.Duration) error {
	sets, err := r.electorates(shard)
	if err != nil {
		return err
	}
	hopeless := slices.ContainsFunc(quorums, func(q *quorum) bool { return !q.possible(states) })
	needed := 0
	var owners, answered, missed []string
	for _, q := range quorums {
		needed += q.needed
		owners = append(owners, q.owners...)
		answered = append(answered, q.answered...)
	}
	counts := func(owner string) bool {
		return slices.Contains(answered, owner) || hopeless && !states.gone(owner)
	}
	slices.Sort(owners)
	owners = slices.Compact(owners)
	total := 0
	for _, owner := range owners {
		switch {
		case counts(owner):
			total++
		case states.gone(owner):
			missed = append(missed, fmt.Sprintf("%s (%v)", owner, states[owner]))
		}
	}
	var regions []string
	byRegion := sets[0]
	for _, region := range slices.Sorted(maps.Keys(byRegion)) {
		n, asked := 0, false
		for _, owner := range byRegion[region] {
			if counts(owner) {
				n++
			}
			asked = asked || slices.Contains(owners, owner)
		}
		if asked {
			regions = append(regions, fmt.Sprintf("%d of %d in %s", n, len(byRegion[region]), region))
		}
	}
	what := fmt.Sprintf("%d answered in %v", total, after.Round(time.Millisecond))
	if hopeless {
		what = fmt.Sprintf("%d can", total)
	}
	if len(missed) > 0 {
		what += ", not " + strings.Join(missed, ", ")
	}
	takes := fmt.Sprint(needed)
	switch {
	case level == pb.Consistency_EACH_QUORUM:
		takes = "a majority in each region"
	case len(quorums) > 1: // while owners change
		takes = "enough of the owners there were and of those to come"
	}
	return fmt.Errorf("%w: %s, it takes %s; these are %s", ErrNotEnough, what, takes, strings.Join(regions, ", "))
}
