package replica

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// catchUp has a copy hear all that a majority of the current owners have heard,
// of the own region and of all, see sources.
func (r *Replica) catchUp(l *layout, s *shard) error {
	ctx, cancel := context.WithTimeout(r.tasks, r.options.QuestionTimeout)
	defer cancel()
	answers, err := r.asOfNow(ctx, l, s)
	if err != nil {
		return err
	}
	for _, h := range answers {
		if includes(s.spoken.Load(), h.ranges) {
			continue
		}
		if err := r.walkAt(r.tasks, h.owner, s.index, r.joinPace(s)); err != nil {
			return err
		}
		if !includes(s.spoken.Load(), h.ranges) {
			return fmt.Errorf("%w: a walk over shard %d of %s brought too little", ErrBehind, s.index, h.owner)
		}
	}
	return nil
}

// asOfNow returns what the owners of a shard have heard of it, once they are the owners
// by the table as these have heard of it, too: another region may have changed its own.
// The table was whole at some time for whoever has taken the shard over in this region: so
// one of them is enough to go by, whichever regions were named to this member.
func (r *Replica) asOfNow(ctx context.Context, l *layout, s *shard) ([]heard, error) {
	for {
		near, all := l.sources(r.options.Region, s.index)
		unsure := l.whole()
		if unsure != nil && len(without(near, r.options.Member, false).owners) == 0 {
			return nil, unsure
		}
		answers, err := r.surveyed(ctx, s, near, all)
		if err != nil {
			return nil, err
		}
		vouches := func(h heard) bool { return h.complete && slices.Contains(near, h.owner) }
		if unsure != nil && !slices.ContainsFunc(answers, vouches) {
			return nil, unsure
		}
		tables := answers
		if len(answers) == 0 {
			if tables, err = r.tables(ctx, l); err != nil {
				return nil, err
			}
		}
		newer := newerTable{}
		for _, h := range tables {
			newer.see(h)
		}
		if err := r.awaitTable(ctx, newer, r.options.QuestionTimeout); err != nil {
			return nil, err
		}
		if l, err = r.view(); err != nil {
			return nil, err
		}
		nearNow, allNow := l.sources(r.options.Region, s.index)
		if slices.Equal(near, nearNow) && slices.EqualFunc(all, allNow, slices.Equal) {
			return answers, nil
		}
	}
}

// tables returns what other members have heard of the table of members: all that answer
// soon, one at least. Who has lost its disk begins with what the table once was, and may
// be the only owner by that.
func (r *Replica) tables(ctx context.Context, l *layout) (answers []heard, err error) {
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(l.members)), func(name string) bool { return name == r.options.Member })
	if !r.options.Joins || len(others) == 0 {
		return nil, nil
	}
	answers, err = r.hearSoon(ctx, others, r.shards[r.System()], func(answers []heard) bool { return len(answers) > 0 })
	if len(answers) == 0 {
		return nil, fmt.Errorf("%w: none of %d other members says who the owners are: %w", ErrNotEnough, len(others), err)
	}
	return answers, nil
}

// surveyed returns what the other owners of a shard have heard of it: all that
// answer soon, the near ones first, a majority of each list at least. Owners
// that take over the shard themselves count only if nobody else is left.
func (r *Replica) surveyed(ctx context.Context, s *shard, near []string, all [][]string) ([]heard, error) {
	others := slices.Concat(all...)
	slices.Sort(others)
	others = slices.DeleteFunc(slices.Compact(others), func(name string) bool { return name == r.options.Member })
	if len(others) == 0 {
		return nil, nil
	}
	has := r.stands(s)
	var counted []*quorum
	for _, owners := range append(all, near) {
		counted = append(counted, without(owners, r.options.Member, has))
	}
	enough := func(answers []heard) bool {
		for _, q := range counted {
			for _, h := range answers {
				if h.complete {
					q.hear(h.owner)
				}
			}
		}
		return !slices.ContainsFunc(counted, (*quorum).lacks)
	}
	answers, failed := r.hearSoon(ctx, others, s, enough)
	if len(answers) < len(others) && !enough(answers) {
		return nil, fmt.Errorf("%w: %d of %d owners of shard %d: %w", ErrNotEnough, len(answers), len(others), s.index, failed)
	}
	isNear := func(h heard) int { return map[bool]int{true: 0, false: 1}[slices.Contains(near, h.owner)] }
	slices.SortStableFunc(answers, func(a, b heard) int { return isNear(a) - isNear(b) })
	return answers, nil
}

// hearSoon returns what members have heard of a shard: all that answer soon, and then
// as many as are enough. The error is why the last one that did not answer did not.
func (r *Replica) hearSoon(ctx context.Context, members []string, s *shard, enough func(answers []heard) bool) (answers []heard, failed error) {
	replies := r.askAll(ctx, members, s)
	failed = errors.New("no answer yet")
	soon := time.NewTimer(surveyPatience)
	defer soon.Stop()
	for left, late := len(members), false; left > 0 && !(late && enough(answers)); {
		select {
		case a := <-replies:
			if left--; a.err != nil {
				failed = a.err
			} else {
				answers = append(answers, a.heard)
			}
		case <-soon.C:
			late = true
		case <-ctx.Done():
			return answers, ctx.Err()
		}
	}
	return answers, failed
}

// without returns how many others make a majority of some owners for one of them: one
// fewer if it has what an owner has. If it has not, all others may have to do.
func without(owners []string, name string, has bool) *quorum {
	others := slices.DeleteFunc(slices.Clone(owners), func(o string) bool { return o == name })
	needed := majority(owners)
	if has && len(others) < len(owners) {
		needed--
	}
	return &quorum{owners: others, needed: min(needed, len(others))}
}
