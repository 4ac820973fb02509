// Package crdt is the algebra of Atoll: counters, sets and registers that many
// writers change at once and that merge by themselves.
//
// How can a copy that comes late know whether an element it has, and its peer
// has not, was never heard of there or was removed there? Most systems answer
// with tombstones, which must be kept for ever or forgotten by a clock. Here
// each copy keeps, next to its live entries, a version vector of the events it
// has heard: an entry that the vector covers and that is absent was removed,
// and nothing else needs remembering. (Almeida, Shoker, Baquero: Delta State
// Replicated Data Types, 2018; Bieniusa et al.: An Optimized Conflict-free
// Replicated Set, 2012.)
//
// # Map
//
//	Dot, VersionVector     who wrote what, and what was heard
//	Heard                  vectors of the ranges of a shard, in hash order
//	Object, FieldID        what is stored: a key of a type, made of fields
//	Entry, Payload         what a field holds: dotted values, each a small lattice
//	OperationID, Record    operations that may be sent twice and count once
//	Event, Draft           operations collected into one change, as sent and logged
//	Apply, JoinRange       the two ways in which a copy learns
//	State                  a whole copy in memory
//	GCounter, PNCounter,   the same rules as plain Go values, for programs that
//	ORSet, LWWRegister     bring their own transport
//
// The stored shards of package replica run on Draft, Apply and JoinRange too,
// over fields on disk: there is one algebra, not two.
//
// # What callers owe
//
// An actor is one unbroken history of one copy: a dot must never be used twice
// for different events. A copy that may have lost events it had sent (a crash
// without fsync, a restored backup) goes on under a new actor.
//
// # What it does not do
//
// Nothing here reads a clock, a disk or a network, starts a goroutine, or
// takes a lock. Values are not safe for concurrent use.
package crdt
