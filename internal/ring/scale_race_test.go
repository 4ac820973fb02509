//go:build race

package ring_test

// fewer divides how many sets of names are tried: owners are placed by a pure function,
// which has no races, and which the detector slows down.
const fewer = 5
