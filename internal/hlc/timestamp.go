package hlc

import (
	"strconv"
	"time"
)

// logicalBits is the width of the logical part of a Timestamp.
const logicalBits = 16

// Max is the greatest timestamp, in the year 10889. Clocks stop there instead
// of starting over.
const Max = ^Timestamp(0)

// Timestamp is a time of a hybrid logical clock: 48 bits of milliseconds since
// 1970 (UTC), then 16 bits that count within the millisecond. Timestamps are
// ordered as integers. Zero is before every time that a clock gives out.
type Timestamp uint64

// At returns the first timestamp of t's millisecond; the nearest there is if t
// is before 1970 or too late to be represented.
func At(t time.Time) Timestamp {
	// Seconds first: UnixMilli is undefined for years that overflow it.
	switch s := t.Unix(); {
	case s < 0:
		return 0
	case s > int64(Max>>logicalBits)/1000:
		return Max
	}
	ms := uint64(t.UnixMilli())
	if ms > uint64(Max>>logicalBits) {
		return Max
	}
	return Timestamp(ms << logicalBits)
}

// Time returns the millisecond of t in UTC, without the logical part.
func (t Timestamp) Time() time.Time {
	return time.UnixMilli(int64(t >> logicalBits)).UTC()
}

// Logical returns the position of t within its millisecond.
func (t Timestamp) Logical() uint16 { return uint16(t) }

// String returns t for people, as in 2026-03-01T12:00:00.250Z+7; the last
// number is the logical part, left out if zero.
func (t Timestamp) String() string {
	s := t.Time().Format("2006-01-02T15:04:05.000Z")
	if l := t.Logical(); l != 0 {
		s += "+" + strconv.Itoa(int(l))
	}
	return s
}

// After returns the time of a write made at t whose writer had seen times up to
// seen: t, or the least that is greater than seen. After(Max) is Max: then there
// is no greater.
func (t Timestamp) After(seen Timestamp) Timestamp { return max(t, seen.next()) }

// next returns the timestamp after t; Max stays.
func (t Timestamp) next() Timestamp {
	if t == Max {
		return Max
	}
	return t + 1
}
