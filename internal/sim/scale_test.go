//go:build !race

package sim

// How many seeds every run of the tests plays.
const (
	few      = 60
	repeated = 8

	underRace = false
)
