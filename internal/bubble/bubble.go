package bubble

import (
	"runtime"
	"testing"
	"testing/synctest"
)

// Test runs f in a bubble of its own, as synctest.Test does. With the race detector
// the process has one processor meanwhile: tests with bubbles do not run in parallel.
func Test(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if underRace {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	}
	synctest.Test(t, f)
}

// Wait returns when every other goroutine of the bubble is blocked for as long as
// nothing outside wakes it, as synctest.Wait does.
func Wait() { synctest.Wait() }
