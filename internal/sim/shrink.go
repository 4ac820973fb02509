package sim

import (
	"slices"
)

// Shrink returns a schedule that fails still, without steps, operations and
// faults that it can do without. It tries so many schedules at most.
func Shrink(s Schedule, tries int, fails func(Schedule) bool) Schedule {
	k := &shrinker{schedule: s, tries: tries, fails: fails}
	for before := -1; before != k.size() && k.tries > 0; {
		before = k.size()
		k.network()
		k.steps()
		k.operations()
	}
	return k.schedule
}

type shrinker struct {
	schedule Schedule
	tries    int
	fails    func(Schedule) bool
}

func (k *shrinker) size() int {
	n := 0
	for _, s := range k.schedule.Steps {
		n += 1 + len(s.Operations)
	}
	return n
}

// try keeps a schedule if it fails.
func (k *shrinker) try(s Schedule) bool {
	if k.tries <= 0 {
		return false
	}
	k.tries--
	if !k.fails(s) {
		return false
	}
	k.schedule = s
	return true
}

// network makes the network better.
func (k *shrinker) network() {
	for _, better := range []func(*quality){
		func(q *quality) { q.loss = 0 },
		func(q *quality) { q.twice = 0 },
		func(q *quality) { q.late = 0 },
	} {
		s := k.schedule
		if better(&s.Network); s.Network != k.schedule.Network {
			k.try(s)
		}
	}
}

// steps drops steps, many at a time first.
func (k *shrinker) steps() {
	for n := len(k.schedule.Steps) / 2; n > 0; n /= 2 {
		for i := len(k.schedule.Steps) - n; i >= 0; i -= n {
			s := k.schedule
			s.Steps = slices.Delete(slices.Clone(s.Steps), i, i+n)
			k.try(s)
			i = min(i, len(k.schedule.Steps))
		}
	}
}

// operations drops operations of requests.
func (k *shrinker) operations() {
	for i := range k.schedule.Steps {
		for j := len(k.schedule.Steps[i].Operations) - 1; j >= 0 && len(k.schedule.Steps[i].Operations) > 1; j-- {
			s := k.schedule
			s.Steps = slices.Clone(s.Steps)
			s.Steps[i].Operations = slices.Delete(slices.Clone(s.Steps[i].Operations), j, j+1)
			k.try(s)
		}
	}
}
