// Package faultstore is a store.Store that fails on purpose, for tests and the
// simulator. It stands in front of another store and does nothing until a
// fault is armed:
//
//	OnCommit    commits that fail, applied or not or late, or find no space
//	Rot         a value that changes, or is gone, behind everybody's back
//	Hide        a value that cannot be read until it is written again
//	Break       a store that answers nothing but an error
//
// It cannot apply a part of a batch: the contract rules that out, and the
// stores on disk are tested for it. What a caller has to reckon with is a
// commit that failed and is there all the same, at once or after a restart.
package faultstore
