package allocs_test

import (
	"testing"

	"github.com/atolldb/atoll/internal/allocs"
)

// failures counts the errors of a test.
type failures int

func (f *failures) Helper()               {}
func (f *failures) Errorf(string, ...any) { *f++ }

var kept []byte

func TestCheck(t *testing.T) {
	for size, want := range map[int]failures{1 << 20: 0, 1 << 10: 1} {
		var f failures
		allocs.Check(&f, size, 1<<16, 4, func() { kept = make([]byte, 1<<21) })
		if f != want {
			t.Errorf("of %d bytes: %d errors, want %d", size, f, want)
		}
	}
}
