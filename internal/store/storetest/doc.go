// Package storetest checks that a store.Store keeps the contract of package
// store.
//
//	Run         everything a store promises while it is open
//	RunDurable  what is still there after Close and another open
//
// Run with -race: some tests are about nothing else.
package storetest
