// Package sim runs a whole cluster in one process on virtual time, breaks
// everything that can break, and knows what must come of it.
//
// What runs is the engine that ships, package replica, on a store and a network
// made for this. One seed decides everything: what clients ask, what gets lost,
// delayed, repeated or reordered, which disks fail and which members crash. The
// same seed gives the same history, and a history that fails is cut down to a
// few steps that still fail. A panic tells how it is replayed, too. In a goroutine of
// the engine it ends the process: the command stands in its trace, beside the
// goroutine.
//
// Everything must run in a bubble of testing/synctest: time passes only when
// nobody has anything left to do, so what happens is one chain of causes after
// the other. What is drawn is a hash of the seed and of what it is drawn for,
// never of who asks first.
//
// # Map
//
//	Generate, Schedule, Step   what happens, as a list that can be read and cut
//	AddRot, AddPlacement       bit rot; members, regions and owners that change
//	owners                     which reads must show which writes
//	AddExact, Access           a register that is written and read linearizably
//	Run, world                 plays a schedule on real replicas
//	network, disk              the faulty ground they stand on
//	record                     the oracle: every event, when its writer commits it
//	effect                     what a set of events must leave in a field
//	truth                      what the operations of clients must add up to
//	once                       of those that are sent again under one id
//	salvage                    what must not be lost although disks rot
//	served                     what members tell each other of ranges
//	Shrink                     a failing schedule without what it can do without
//
// # The oracle
//
// After every commit of every member all that its copy holds is compared with
// the effect of exactly those events that it says to have heard, range by
// range, and so is what a member sends of a range to another. At the end, when the
// faults are over, all must hold the same and have heard everything that survived
// anywhere, in a leaf that has not rotted or in a log; and what clients read must be
// what their operations add up to. Events and entries are decoded by package crdt;
// nothing of its merging is used.
//
// # What it does not do
//
// It does not interleave goroutines of one member in new ways: that is what
// the race detector and the tests of package replica are for.
package sim
