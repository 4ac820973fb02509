//go:build !race

package cluster_test

import "time"

const raceEnabled = false

// Nine processes and their clients share the machine.
const (
	ninePause = 10 * time.Millisecond
	nineShare = 8
)
