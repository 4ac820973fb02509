package ring

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"
)

// headroomPercent is by how much a member's load may exceed its fair share.
// More of it makes the busiest member busier, less of it makes more shards move
// when a member comes or goes.
const headroomPercent = 15

// Place returns which members own which shards, rf of them per shard, or all
// if there are fewer. The owners of a shard are of distinct zones as far as
// there are zones. The result depends on the set of members only, not on their
// order; the slice is not kept. It fails with ErrInvalid.
func Place(members []Member, shards, rf int) (*Placement, error) {
	if err := validate(members, shards, rf); err != nil {
		return nil, err
	}
	sorted := slices.SortedFunc(slices.Values(members), func(a, b Member) int {
		return strings.Compare(a.Name, b.Name)
	})
	a := newAssignment(sorted, shards, min(rf, len(sorted)))
	a.serve(newClaims(sorted, shards))
	a.complete()

	p := &Placement{owners: make([][]string, shards)}
	for s, owners := range a.owners {
		p.owners[s] = make([]string, len(owners))
		for i, m := range owners {
			p.owners[s][i] = sorted[m].Name
		}
	}
	return p, nil
}

// assignment is a placement in the making. Members are known by index.
type assignment struct {
	rf      int
	spare   int     // how many owners of a shard may repeat a zone of others
	zones   []int   // zone of each member
	room    []int   // shards that each member may still take; below zero by overflow
	owners  [][]int // of each shard, in the order of their claims
	missing int     // owners still to be found
}

func newAssignment(members []Member, shards, rf int) *assignment {
	a := &assignment{
		rf:      rf,
		zones:   make([]int, len(members)),
		room:    make([]int, len(members)),
		owners:  make([][]int, shards),
		missing: shards * rf,
	}
	index := make(map[string]int)
	for i, m := range members {
		if _, known := index[m.Zone]; !known {
			index[m.Zone] = len(index)
		}
		a.zones[i] = index[m.Zone]
	}
	a.spare = max(0, rf-len(index))
	for i, share := range fairShares(members, a.zones, len(index), shards, rf) {
		const whole = 100 * unit
		a.room[i] = int((share*(100+headroomPercent) + whole - 1) / whole) // rounded up
	}
	for s := range a.owners {
		a.owners[s] = make([]int, 0, rf)
	}
	return a
}

// serve grants the claims as they come, while owners are missing.
func (a *assignment) serve(c *claims) {
	for a.missing > 0 && c.Len() > 0 {
		shard, member := c.first()
		if a.room[member] == 0 {
			heap.Pop(c)
			continue
		}
		if a.suits(member, a.owners[shard]) {
			a.grant(member, shard)
		}
		c.advance()
	}
}

// suits reports whether member, whatever its room, may join these owners of a shard.
func (a *assignment) suits(member int, owners []int) bool {
	if len(owners) >= a.rf || slices.Contains(owners, member) {
		return false
	}
	repeats := 0
	for i, owner := range owners {
		if a.hasZone(owners[:i], a.zones[owner]) {
			repeats++
		}
	}
	return repeats < a.spare || !a.hasZone(owners, a.zones[member])
}

func (a *assignment) hasZone(owners []int, zone int) bool {
	return slices.ContainsFunc(owners, func(owner int) bool { return a.zones[owner] == zone })
}

func (a *assignment) grant(member, shard int) {
	a.owners[shard] = append(a.owners[shard], member)
	a.room[member]--
	a.missing--
}

// complete finds the owners that are missing because all members that suit a
// shard are full. That is rare; it happens where a few members with much weight
// have to own nearly all shards. If no trade helps, the least full member takes
// the shard: copies in distinct zones matter more than the bound on loads.
func (a *assignment) complete() {
	trading := true
	for shard := 0; shard < len(a.owners) && a.missing > 0; shard++ {
		for len(a.owners[shard]) < a.rf {
			// A search in vain is long, and the next would be, too.
			if trading = trading && a.trade(shard); !trading {
				a.grant(a.roomiest(a.owners[shard]), shard)
			}
		}
	}
}

// trade lets a full member own shard in place of another shard, which goes to a
// member with room. It reports whether there is such a pair.
func (a *assignment) trade(shard int) bool {
	for step := range len(a.owners) - 1 {
		other := (shard + 1 + step) % len(a.owners)
		for i, full := range a.owners[other] {
			if !a.suits(full, a.owners[shard]) {
				continue
			}
			heir := a.roomiest(slices.Delete(slices.Clone(a.owners[other]), i, i+1))
			if a.room[heir] > 0 {
				a.owners[other][i] = heir
				a.room[heir]--
				a.room[full]++
				a.grant(full, shard)
				return true
			}
		}
	}
	return false
}

// roomiest returns the member with the most room of those that suit owners,
// which are fewer than rf: then there is one.
func (a *assignment) roomiest(owners []int) int {
	best := -1
	for member, room := range a.room {
		if a.suits(member, owners) && (best < 0 || room > a.room[best]) {
			best = member
		}
	}
	return best
}

// claims yields what the members want, in the order of the times at which they
// claim it. It is a heap of members by their next claim.
type claims struct {
	paces  []uint64
	queues []queue
}

// queue is one member's next claim, and those to follow.
type queue struct {
	time   uint64
	wants  []preference // the next claim first
	member int
	weight uint64
}

func newClaims(members []Member, shards int) *claims {
	c := &claims{paces: paces(shards)}
	for i, m := range members {
		weight := uint64(m.Weight)
		c.queues = append(c.queues, queue{c.paces[0] / weight, preferences(m, shards), i, weight})
	}
	heap.Init(c)
	return c
}

// first returns the earliest claim.
func (c *claims) first() (shard, member int) {
	return c.queues[0].wants[0].shard(), c.queues[0].member
}

// advance drops the earliest claim; its member goes on to its next preference.
func (c *claims) advance() {
	q := &c.queues[0]
	if len(q.wants) == 1 {
		heap.Pop(c)
		return
	}
	q.wants = q.wants[1:]
	q.time = c.paces[len(c.paces)-len(q.wants)] / q.weight
	heap.Fix(c, 0)
}

// Len, Less, Swap, Push and Pop are for package heap. Of claims at the same
// time the nearest comes first, so that ties favor nobody.
func (c *claims) Len() int { return len(c.queues) }

func (c *claims) Less(i, j int) bool {
	a, b := &c.queues[i], &c.queues[j]
	return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.wants[0], b.wants[0]), a.member-b.member) < 0
}

func (c *claims) Swap(i, j int) { c.queues[i], c.queues[j] = c.queues[j], c.queues[i] }

func (c *claims) Push(q any) { c.queues = append(c.queues, q.(queue)) }

func (c *claims) Pop() any {
	last := len(c.queues) - 1
	q := c.queues[last]
	c.queues = c.queues[:last]
	return q
}
