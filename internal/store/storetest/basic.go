package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/atolldb/atoll/internal/store"
)

func putGetDelete(t *testing.T, s store.Store) {
	checkAbsent(t, s, "a")
	checkAbsent(t, s, "")
	put(t, s, "a", "1")
	check(t, s, "a", "1")
	checkAbsent(t, s, "")
	checkAbsent(t, s, "aa")
	put(t, s, "a", "2")
	check(t, s, "a", "2")
	remove(t, s, "a")
	checkAbsent(t, s, "a")
	remove(t, s, "a")
	checkAbsent(t, s, "a")
	put(t, s, "a", "3")
	check(t, s, "a", "3")
}

func emptyIsNotAbsent(t *testing.T, s store.Store) {
	var b store.Batch
	b.Put([]byte("nil"), nil)
	b.Put([]byte("zero"), []byte{})
	b.Delete([]byte("deleted"))
	commit(t, s, &b)
	check(t, s, "nil", "")
	check(t, s, "zero", "")
	checkAbsent(t, s, "deleted")
	snap := s.Snapshot()
	defer snap.Close()
	checkScan(t, snap, nil, nil, "nil=", "zero=")
}

// ownsItsBytes: what the caller does with its slices afterwards is not seen.
func ownsItsBytes(t *testing.T, s store.Store) {
	key, value := []byte("key"), []byte("value")
	var b store.Batch
	b.Put(key, value)
	commit(t, s, &b)
	copy(key, "xxx")
	copy(value, "xxxxx")
	b.Reset()
	b.Put([]byte("other"), []byte("more"))
	commit(t, s, &b)
	snap := s.Snapshot()
	defer snap.Close()
	checkScan(t, snap, nil, nil, "key=value", "other=more")

	// A value of Get stays as it is while commits and reads go on.
	got, err := snap.Get([]byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		put(t, s, "key", fmt.Sprint(i))
		checkIn(t, snap, "other", "more")
	}
	if string(got) != "value" {
		t.Fatalf("a value changed to %q while its snapshot was open", got)
	}
}

func laterWriteWins(t *testing.T, s store.Store) {
	put(t, s, "c", "old")
	var b store.Batch
	b.Put([]byte("a"), []byte("1"))
	b.Put([]byte("a"), []byte("2"))
	b.Put([]byte("b"), []byte("1"))
	b.Delete([]byte("b"))
	b.Delete([]byte("c"))
	b.Put([]byte("c"), []byte("new"))
	commit(t, s, &b)
	snap := s.Snapshot()
	defer snap.Close()
	checkScan(t, snap, nil, nil, "a=2", "c=new")
}

func emptyBatch(t *testing.T, s store.Store) {
	commit(t, s, &store.Batch{})
	put(t, s, "a", "1")
	commit(t, s, &store.Batch{})
	check(t, s, "a", "1")
}

func scanBounds(t *testing.T, s store.Store) {
	var b store.Batch
	for _, key := range []string{"b", "a", "ab", "c\xff\xff", "c", "\x00", "\xff", "a\x00"} {
		b.Put([]byte(key), []byte(key[:1]))
	}
	commit(t, s, &b)
	remove(t, s, "c")
	snap := s.Snapshot()
	defer snap.Close()

	key := func(k string) []byte { return []byte(k) }
	all := []string{"\x00=\x00", "a=a", "a\x00=a", "ab=a", "b=b", "c\xff\xff=c", "\xff=\xff"}
	checkScan(t, snap, nil, nil, all...)
	checkScan(t, snap, key(""), nil, all...)
	checkScan(t, snap, key("\x00"), key("\xff"), all[:6]...)
	checkScan(t, snap, key("a"), key("b"), all[1:4]...)
	checkScan(t, snap, key("a"), key("ab"), all[1:3]...)
	checkScan(t, snap, key("a\x00"), key("ab\x00"), all[2:4]...)
	checkScan(t, snap, key("aa"), key("bb"), all[3:5]...)
	checkScan(t, snap, key("c"), key("c\xff\xff"))
	checkScan(t, snap, key("c"), key("d"), all[5])
	checkScan(t, snap, key("b"), nil, all[4:]...)
	checkScan(t, snap, key("\xff\x00"), nil)
	checkScan(t, snap, key("b"), key("b"))
	checkScan(t, snap, key("c"), key("a"))
	checkScan(t, snap, nil, key(""))
}

func scanStops(t *testing.T, s store.Store) {
	var b store.Batch
	for i := range 10 {
		b.Put(fmt.Appendf(nil, "k%d", i), nil)
	}
	commit(t, s, &b)
	snap := s.Snapshot()
	defer snap.Close()
	enough := errors.New("enough")
	visited := 0
	err := snap.Scan(nil, nil, func(key, _ []byte) error {
		if visited++; visited == 3 {
			return enough
		}
		return nil
	})
	if err != enough || visited != 3 {
		t.Fatalf("Scan returned %v after %d keys, want the error of visit after 3", err, visited)
	}
}

// scanNests: a visit may read the same snapshot, by Get and by Scan.
func scanNests(t *testing.T, s store.Store) {
	put(t, s, "a", "1")
	put(t, s, "b", "2")
	snap := s.Snapshot()
	defer snap.Close()
	var seen []string
	err := snap.Scan(nil, nil, func(outer, value []byte) error {
		checkIn(t, snap, "b", "2")
		return snap.Scan(nil, nil, func(inner, _ []byte) error {
			seen = append(seen, fmt.Sprintf("%s%s%s", outer, value, inner))
			return nil
		})
	})
	if want := "[a1a a1b b2a b2b]"; err != nil || fmt.Sprint(seen) != want {
		t.Fatalf("nested scans saw %v, %v; want %s", seen, err, want)
	}
}

func snapshotIsFrozen(t *testing.T, s store.Store) {
	put(t, s, "a", "1")
	put(t, s, "b", "1")
	snap := s.Snapshot()
	defer snap.Close()
	put(t, s, "a", "2")
	remove(t, s, "b")
	put(t, s, "c", "2")

	checkIn(t, snap, "a", "1")
	checkIn(t, snap, "b", "1")
	checkAbsentIn(t, snap, "c")
	checkScan(t, snap, nil, nil, "a=1", "b=1")
	later := s.Snapshot()
	defer later.Close()
	checkScan(t, later, nil, nil, "a=2", "c=2")

	// Also a scan that is under way does not see a commit.
	var seen []string
	err := later.Scan(nil, nil, func(key, value []byte) error {
		put(t, s, "b", "3")
		put(t, s, "c", "3")
		seen = append(seen, fmt.Sprintf("%s=%s", key, value))
		return nil
	})
	if want := "[a=2 c=2]"; err != nil || fmt.Sprint(seen) != want {
		t.Fatalf("a scan with commits under way saw %v, %v; want %s", seen, err, want)
	}
}

// snapshotOutlivesOthers: closing one, also twice, does nothing to another.
func snapshotOutlivesOthers(t *testing.T, s store.Store) {
	put(t, s, "a", "1")
	first, second := s.Snapshot(), s.Snapshot()
	put(t, s, "a", "2")
	third := s.Snapshot()
	first.Close()
	first.Close()
	if _, err := first.Get([]byte("a")); !errors.Is(err, store.ErrClosed) {
		t.Fatalf("Get of a closed snapshot: %v, want ErrClosed", err)
	}
	if err := first.Scan(nil, nil, nil); !errors.Is(err, store.ErrClosed) {
		t.Fatalf("Scan of a closed snapshot: %v, want ErrClosed", err)
	}
	checkIn(t, second, "a", "1")
	checkIn(t, third, "a", "2")
	second.Close()
	checkIn(t, third, "a", "2")
	third.Close()
	check(t, s, "a", "2")
}
