//go:build !race

package replica

// raceDetector says that the race detector slows everything down.
const raceDetector = false
