//go:build !race

package ring_test

// fewer divides how many sets of names are tried.
const fewer = 1
