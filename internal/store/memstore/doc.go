// Package memstore is a store.Store in memory, for tests and simulations.
//
// The map is a persistent treap: a commit copies the few nodes on the way to
// what it changes and swaps the root, so a snapshot is one pointer and costs
// nothing to hold. Nothing survives Close.
//
// It never fails by itself. A simulator that wants a failing disk wraps the
// store.Store interface; the store owes it no hooks.
package memstore
