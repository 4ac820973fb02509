// Package replica is the engine: one member's copies of the shards it owns.
//
// How can a write be on disk before it is acknowledged, cost a fraction of an
// fsync, and leave entries, digests, log and vectors in step whatever happens?
// Each shard belongs to one loop, a goroutine that serves many shards. The
// loop takes all that waits, drafts the writes of a shard into one event,
// applies it as it would a peer's, and commits everything in one atomic batch
// with one fsync. Then it answers, and then it broadcasts. There are no locks
// on data and no conflicts; a key under heavy load costs less per write.
//
// # Map
//
//	Replica      opens, starts and closes; Do serves one request
//	loop, group  takes what waits; one batch, one fsync
//	doubt        a commit that failed is repeated before anything else
//	change       a shard in the making: fields read and written so far
//	write, read  operations into drafts; answers from snapshots
//	alone        what is too large for a batch, in steps
//	operation    requests that come again count once; how long that is known
//	waiting      events that came before those they build on
//	pull         ranges joined from a peer
//	source, log  what peers are served: ranges, events
//	gossip       what members say of themselves
//	members      the table of members, in the system shard
//	arrange      copies that come and go as the table says
//	survey       what who takes a shard over has to hear first
//	heartbeat    who is there, and whom others miss
//	consistency  how many owners a read or write takes
//	readrepair   owners that a read found behind are told
//	repair       fetches and walks, as antientropy.Planner decides
//	verify       entries against digests
//	health       what is known to be damaged, and who is told of it
//	forget       damaged leaves give way to what peers have
//	replay       what the log has beyond that
//	recover      a shard of which it is not known what it has heard
//	backup       what a member has on disk, page by page, as of one moment
//	restore      an empty store is given what backups have
//	upgrade      a store of the format before becomes one of this format
//	scrub        the keeper, who has all that done
//	meter        what is counted and timed on the way
//	measures     what those who watch a member are told
//	ready        whether a member can answer reads
//	traffic      bytes sent and received
//
// # On disk
//
// A shard is a 16-bit big-endian number; the last is the system shard.
//
//	c                          -> cluster, shards, format           (see identity)
//	v shard                    -> version, actor, root, spans heard, checksum
//	e shard position           -> entries, checksum                 the data
//	h shard key type           -> number of live fields, checksum   derived
//	m shard leaf(2)            -> digest of the entries of a leaf, checksum
//	l shard actor(8) seq(8)    -> event, checksum                   the log
//	o shard time(6) position   -> 1                                 derived: records by age
//	s shard                    -> role, checksum                    what the copy is, if there is one
//
// Everything that an event changes is one batch. Leaves are the ranges of
// positions that share their first 10 bits.
//
// # What it needs
//
// A store.Store and, to meet others, a transport.Transport. It knows neither
// Badger nor NATS. Time and new actors are passed in.
package replica
