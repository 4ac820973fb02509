// Package antientropy decides how a copy learns what it has missed. It is the
// thinking part only: messages in, decisions out. It reads no clock, sends
// nothing, and never touches a store; package replica runs it.
//
// Three rungs, each for what the one above cannot do:
//
//	broadcast   every event to everybody        misses what was lost on the way
//	fetch       events from a peer's log        misses what the log has forgotten
//	walk        digests of ranges, then entries misses nothing
//
// # Map
//
//	Planner   what peers say of themselves, and so: fetch what, walk where, from whom
//	Walk      the asking side of a walk: which ranges to compare next
//	Answer    the answering side
//
// A walk compares ranges of a shard's hash order, coarse ones first, and goes
// into those that differ until they are small enough to send whole, so that
// the bytes follow the difference and not the size (Meyer: Range-Based Set
// Reconciliation, 2023, here over sums of hashes that need no rebuilding). The
// peer's answers may be old and the walk may end anywhere: each range that was
// joined is joined for good.
package antientropy
