package hlc_test

import (
	"fmt"
	"time"

	"github.com/atolldb/atoll/internal/hlc"
)

// A register was last written by a member whose clock says 2080. Who has read
// that can replace it; the clock itself stays in the present.
func ExampleTimestamp_After() {
	clock := hlc.NewClock(func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) })
	seen := hlc.At(time.Date(2080, 1, 1, 0, 0, 0, 0, time.UTC))
	fmt.Println(clock.Now().After(seen))
	fmt.Println(clock.Now().After(0))
	// Output:
	// 2080-01-01T00:00:00.000Z+1
	// 2026-03-01T12:00:00.000Z+1
}
