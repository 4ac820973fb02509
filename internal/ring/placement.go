package ring

import "slices"

// Placement says which members of one region own which shards. It is not
// changed once made, so it may be shared.
type Placement struct{ owners [][]string }

// Shards returns the number of shards.
func (p *Placement) Shards() int { return len(p.owners) }

// Owners returns the names of the owners of shard, those that want it most
// first; none if there is no such shard. The slice must not be changed.
func (p *Placement) Owners(shard int) []string {
	if shard < 0 || shard >= len(p.owners) {
		return nil
	}
	return p.owners[shard]
}

// Owned returns the shards that member owns, in ascending order.
func (p *Placement) Owned(member string) []int {
	var owned []int
	for shard, owners := range p.owners {
		if slices.Contains(owners, member) {
			owned = append(owned, shard)
		}
	}
	return owned
}

// Gained returns those of them that it does not own by the placement before.
func (p *Placement) Gained(member string, before *Placement) []int {
	return slices.DeleteFunc(p.Owned(member), func(shard int) bool { return slices.Contains(before.Owners(shard), member) })
}
