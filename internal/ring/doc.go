// Package ring says which shard a key belongs to, and which members of a
// region own a shard. Both are pure functions, so everybody computes the same.
//
//	Tag, Locate, Shard   key -> position on the ring -> shard
//	Member, Place        member table of one region -> owners of every shard
//	Placement            the answer
//
// The ring is the integers modulo 2^128; a key stands where the first 16 bytes,
// big-endian, of SHA-256 of its tag say. It is cut into equal arcs, the shards.
//
// # Placement
//
// A member stands on the ring with 128 virtual nodes times its weight, and
// prefers shards in the order of the clockwise distance from their start to the
// nearest of these (Karger et al.: Consistent Hashing and Random Trees, 1997).
// Members claim shards, all at the same pace: the k-th preference of each at the
// same time, those with more weight earlier. A shard is owned by the first RF
// members that claim it, distinct zones first. No member gets more than 1.15
// times its fair share, rounded up: after that its claims are void and others
// step in (Mirrokni, Thorup, Zadimoghaddam: Consistent Hashing with Bounded
// Loads, 2016).
//
// This departs from the textbook, where a shard simply goes to the next RF
// members clockwise, because 256 shards are few: each is a throw of dice.
// Bounding the loads alone mends the balance, but a shard that did not get its
// first choice may move whenever a member comes or goes. So most of the
// imbalance must go before the bound strikes. Comparing ranks of preference
// instead of distances does that: no member is lucky in where it stands, and
// half of the variance of the loads vanishes. Assignments of least cost (by
// minimum-cost flow) under the same bound were tried and move no less.
//
// Measured over 1000 to 5000 sets of names: the load of the busiest of ten
// members, in multiples of the mean; and the assignments that change when an
// eleventh joins, or leaves, in multiples of its fair share, shards * RF / 11.
// In brackets, how many sets exceed 1.25 and 1.3, which is what is promised.
//
//	                          busiest, worst    moved, 99 %   worst
//	256 shards   RF 1  textbook   1.64 (53 %)      1.46       1.59 (5 %)
//	                   bounded    1.17             1.42       1.50 (6 %)
//	                   this       1.17             1.29       1.42 (0.7 %)
//	             RF 2  textbook   1.47 (6 %)       1.29       1.38 (0.7 %)
//	                   this       1.16             1.16       1.20
//	             RF 3  textbook   1.26 (0.2 %)     1.17       1.22
//	                   this       1.16             1.13       1.16
//	1024 shards  RF 1  textbook   1.40 (5 %)       1.23       1.29
//	                   this       1.16             1.18       1.24
//	             RF 3  textbook   1.20             1.11       1.17
//	                   this       1.15             1.11       1.15
//
// So the balance holds always. The movement stayed within 1.3 in every set, with
// one exception: for 256 shards held once, where the fair share is 23 shards and
// 1.3 times that is 30, one set of names in 140 moves 31 to 33.
//
// The bound yields to zones. A small zone may have to hold all shards, so fair
// shares are computed with that in mind; and if the members that suit a shard
// are full, shards are traded, and failing that, the bound is exceeded.
//
// # What the caller owes, and what this does not do
//
// The number of shards is fixed for the life of a cluster. Members that are
// down are still members: leaving them out is a decision to move their shards.
// Nothing here knows regions, addresses or liveness.
package ring
