package hlc

import (
	"sync/atomic"
	"time"
)

// Clock gives out timestamps. Its methods may be called concurrently, as the
// loops of a member do.
type Clock struct {
	physical func() time.Time
	last     atomic.Uint64 // greatest timestamp of Now; never falls, never learns of others
}

// NewClock returns a clock over physical, which must not be nil and must be
// safe for concurrent use, as time.Now is.
func NewClock(physical func() time.Time) *Clock {
	return &Clock{physical: physical}
}

// Now returns a timestamp greater than every one that Now returned before: the
// physical time, or the least that is greater if that was passed already. Once
// it has returned Max, it keeps returning Max.
func (c *Clock) Now() Timestamp {
	physical := At(c.physical())
	for {
		last := Timestamp(c.last.Load())
		now := max(physical, last.next())
		if c.last.CompareAndSwap(uint64(last), uint64(now)) {
			return now
		}
	}
}
