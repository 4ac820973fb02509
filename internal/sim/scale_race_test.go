//go:build race

package sim

// How many seeds every run of the tests plays with the race detector, which
// makes them take many times as long.
const (
	few      = 12
	repeated = 2

	underRace = true
)
