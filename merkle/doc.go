// Package merkle compares copies by digests of ranges.
//
// Why are digests added up instead of hashed together? A sum can be kept: when
// an entry comes or goes, its hash is added or taken away, and no tree is ever
// rebuilt; and the digest of any range is the difference or the sum of those
// of its parts, so an inner node needs no hashing. That a sum of hashes is hard
// to collide holds only while the hash is keyed and the key secret (Bellare,
// Micciancio: A New Paradigm for Collision-free Hashing, 1997): the key belongs
// to the cluster.
//
//	Digest    count and sum of the entries of a range
//	Hasher    keyed hash of one entry
//	Tree      digests of the leaves of one shard, and of any range of leaves
//	Diff      which leaves of two trees differ
//
// The package knows neither entries nor disks: callers hash bytes that are
// canonical, and store leaf digests together with the data they cover.
package merkle
