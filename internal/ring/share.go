package ring

// unit is one shard in the fixed-point numbers of shares.
const unit = 1 << 20

// fairShares returns how many shards each member should own, in units of
// 1/unit: in proportion to the weights, except that nobody can own a shard
// twice, and that zones come first. zones gives the zone of each member, of
// count many; rf is at most the number of members.
//
// This is pouring water: members have a width, their weight, and a lid at all
// shards; zones have a floor or a lid, too. What is sought is the one level at
// which the whole amounts to rf times the shards.
func fairShares(members []Member, zones []int, count, shards, rf int) []int64 {
	byZone := make([][]int, count)
	for i, z := range zones {
		byZone[z] = append(byZone[z], i)
	}
	all := int64(shards) * unit
	poured := func(zone []int, level int64) (sum int64) {
		for _, i := range zone {
			sum += min(all, level*int64(members[i].Weight))
		}
		return sum
	}
	// With enough zones, one holds every shard at most once; with fewer than rf,
	// at least once, which bounds the others.
	floor, lid := int64(0), all
	if count < rf {
		floor, lid = all, all*int64(rf)
	}
	inZone := func(zone []int, level int64) int64 {
		return min(max(poured(zone, level), floor), lid)
	}
	common := leastLevel(all, func(level int64) bool {
		var sum int64
		for _, zone := range byZone {
			sum += inZone(zone, level)
		}
		return sum >= all*int64(rf)
	})
	shares := make([]int64, len(members))
	for _, zone := range byZone {
		amount := inZone(zone, common)
		level := leastLevel(all, func(level int64) bool { return poured(zone, level) >= amount })
		for _, i := range zone {
			shares[i] = min(all, level*int64(members[i].Weight))
		}
	}
	return shares
}

// leastLevel returns the least level in 0..highest that is enough, or highest.
func leastLevel(highest int64, enough func(int64) bool) int64 {
	lo, hi := int64(0), highest
	for lo < hi {
		if mid := lo + (hi-lo)/2; enough(mid) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}
