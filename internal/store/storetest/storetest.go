package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/atolldb/atoll/internal/store"
)

// Open opens or creates the store in dir. It fails the test if it cannot. The
// suite closes the store.
type Open func(t *testing.T, dir string) store.Store

// Run checks the store that open returns.
func Run(t *testing.T, open Open) {
	tests := []struct {
		name string
		run  func(t *testing.T, s store.Store)
	}{
		{"PutGetDelete", putGetDelete},
		{"EmptyIsNotAbsent", emptyIsNotAbsent},
		{"OwnsItsBytes", ownsItsBytes},
		{"LaterWriteWins", laterWriteWins},
		{"EmptyBatch", emptyBatch},
		{"ScanBounds", scanBounds},
		{"ScanStops", scanStops},
		{"ScanNests", scanNests},
		{"SnapshotIsFrozen", snapshotIsFrozen},
		{"SnapshotOutlivesOthers", snapshotOutlivesOthers},
		{"KeyBounds", keyBounds},
		{"BatchBounds", batchBounds},
		{"LargeValues", largeValues},
		{"RefusedBatchChangesNothing", refusedBatchChangesNothing},
		{"Closed", closed},
		{"CloseDuringUse", closeDuringUse},
		{"ConcurrentWriters", concurrentWriters},
		{"BatchesAreAtomic", batchesAreAtomic},
		{"Model", model},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, t.TempDir())
			test.run(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// RunDurable checks that what was committed is there after Close and another
// open of the same directory.
func RunDurable(t *testing.T, open Open) {
	t.Run("Reopen", func(t *testing.T) { reopen(t, open) })
}

func commit(t testing.TB, s store.Store, b *store.Batch) {
	t.Helper()
	if err := s.Commit(b); err != nil {
		t.Fatalf("Commit of %d writes, %d bytes: %v", len(b.Writes()), b.Bytes(), err)
	}
}

func put(t testing.TB, s store.Store, key, value string) {
	t.Helper()
	var b store.Batch
	b.Put([]byte(key), []byte(value))
	commit(t, s, &b)
}

func remove(t testing.TB, s store.Store, key string) {
	t.Helper()
	var b store.Batch
	b.Delete([]byte(key))
	commit(t, s, &b)
}

// check reads key from a new snapshot and wants value.
func check(t testing.TB, s store.Store, key, value string) {
	t.Helper()
	snap := s.Snapshot()
	defer snap.Close()
	checkIn(t, snap, key, value)
}

func checkIn(t testing.TB, snap store.Snapshot, key, value string) {
	t.Helper()
	got, err := snap.Get([]byte(key))
	if err != nil || string(got) != value {
		t.Fatalf("Get(%.40q) = %d bytes %.40q, %v; want %d bytes %.40q", key, len(got), got, err, len(value), value)
	}
	if got == nil {
		t.Fatalf("Get(%.40q) returned nil for a key that is there", key)
	}
}

func checkAbsent(t testing.TB, s store.Store, key string) {
	t.Helper()
	snap := s.Snapshot()
	defer snap.Close()
	checkAbsentIn(t, snap, key)
}

func checkAbsentIn(t testing.TB, snap store.Snapshot, key string) {
	t.Helper()
	if got, err := snap.Get([]byte(key)); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Get(%.40q) = %.40q, %v; want ErrNotFound", key, got, err)
	}
}

// checkScan scans [lo, hi) and wants exactly pairs, written "key=value".
func checkScan(t testing.TB, snap store.Snapshot, lo, hi []byte, pairs ...string) {
	t.Helper()
	var got []string
	err := snap.Scan(lo, hi, func(key, value []byte) error {
		got = append(got, fmt.Sprintf("%s=%s", key, value))
		return nil
	})
	if err != nil || fmt.Sprint(got) != fmt.Sprint(pairs) {
		t.Fatalf("Scan(%q, %q) = %q, %v; want %q", lo, hi, got, err, pairs)
	}
}

func filled(n int, with byte) []byte { return bytes.Repeat([]byte{with}, n) }
