package allocs

import "runtime"

// Test is the part of a test that Check needs.
type Test interface {
	Helper()
	Errorf(format string, args ...any)
}

// Check fails the test if what a number of bytes makes f allocate is more than a
// fixed part and so many times the bytes.
func Check(t Test, size, fixed, times int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > uint64(fixed+times*size) {
		t.Errorf("%d bytes made it allocate %d", size, used)
	}
}
