// Package crdttest checks what package crdt promises: a law suite that every
// mergeable type must pass, and an oracle that knows what a copy must hold
// without any of the code under test.
//
// How is an algebra tested that is right only if it is right in every order?
// By random histories: a few copies write, lose, repeat and reorder each
// other's events, pull from each other what and when they like, and after each
// step what they hold is compared with what the operations alone say.
//
// # Map
//
//	Laws, Kind    the laws of a mergeable type, over random histories
//	Survivors     the oracle: the entries that a set of events leaves
//
// The package's own tests add the oracle of values, histories of whole
// shards whose ranges are ahead of one another, and all histories of a small
// size.
//
// # What callers owe
//
// A Kind writes through the random source it is handed and through nothing
// else: a failure is then shrunk, and replayed by the seed that it prints.
//
// # What it does not do
//
// It knows no disk, network or clock. That a shard obeys the algebra is for the
// tests of package replica to show.
package crdttest
