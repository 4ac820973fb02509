//go:build race

package cluster_test

import "time"

const raceEnabled = true

// Nine processes and their clients share the machine.
const (
	ninePause = 100 * time.Millisecond
	nineShare = 40
)
