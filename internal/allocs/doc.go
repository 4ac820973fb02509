// Package allocs says how much memory code takes, for tests that hold what is made
// of bytes from elsewhere in proportion to them.
//
//	Check    fails a test that allocates more
//
// It counts what the whole process allocates meanwhile: the caller sees to it that
// nothing else is under way that takes much.
package allocs
