package hlc_test

import (
	"math"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/hlc"
)

func TestAt(t *testing.T) {
	lastMs := hlc.Max.Time()
	for _, test := range []struct {
		name string
		at   time.Time
		want hlc.Timestamp
	}{
		{"epoch", time.UnixMilli(0), 0},
		{"a millisecond", time.UnixMilli(1), 1 << 16},
		{"within a millisecond", time.UnixMilli(1).Add(999 * time.Microsecond), 1 << 16},
		{"other zone", time.UnixMilli(5).In(time.FixedZone("", 3600)), 5 << 16},
		{"just before 1970", time.Unix(0, -1), 0},
		{"zero time", time.Time{}, 0},
		{"last millisecond", lastMs, hlc.Max - 65535},
		{"just too late", lastMs.Add(time.Millisecond), hlc.Max},
		{"far too late", time.Unix(math.MaxInt64/2, 0), hlc.Max},
		{"far too early", time.Unix(math.MinInt64/2, 0), 0},
	} {
		if got := hlc.At(test.at); got != test.want {
			t.Errorf("%s: At(%v) = %#x, want %#x", test.name, test.at, uint64(got), uint64(test.want))
		}
	}
}

func TestTimestampParts(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.UTC)
	stamp := hlc.At(at) + 7
	if got := stamp.Time(); got != at {
		t.Errorf("Time() = %v, want %v", got, at)
	}
	if got := stamp.Logical(); got != 7 {
		t.Errorf("Logical() = %d, want 7", got)
	}
}

func TestString(t *testing.T) {
	at := hlc.At(time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.UTC))
	for stamp, want := range map[hlc.Timestamp]string{
		0:       "1970-01-01T00:00:00.000Z",
		at:      "2026-03-01T12:00:00.250Z",
		at + 7:  "2026-03-01T12:00:00.250Z+7",
		hlc.Max: "10889-08-02T05:31:50.655Z+65535",
	} {
		if got := stamp.String(); got != want {
			t.Errorf("%#x: got %s, want %s", uint64(stamp), got, want)
		}
	}
}
