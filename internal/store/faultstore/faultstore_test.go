package faultstore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/badgerstore"
	"github.com/atolldb/atoll/internal/store/faultstore"
	"github.com/atolldb/atoll/internal/store/memstore"
	"github.com/atolldb/atoll/internal/store/storetest"
)

// With no fault armed it is a store like any other.
func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T, string) store.Store { return faultstore.New(memstore.New()) })
}

// So it is on disk.
func TestDurable(t *testing.T) {
	storetest.RunDurable(t, func(t *testing.T, dir string) store.Store {
		s, err := badgerstore.Open(badgerstore.Options{Dir: dir, Durability: badgerstore.OS})
		if err != nil {
			t.Fatal(err)
		}
		return faultstore.New(s)
	})
}

func batch(round int) *store.Batch {
	var b store.Batch
	for i := range 5 {
		b.Put(fmt.Append(nil, "key", i), fmt.Append(nil, round))
	}
	return &b
}

// read returns the values of a batch's keys.
func read(s store.Store) (values []string, err error) {
	snap := s.Snapshot()
	defer snap.Close()
	err = snap.Scan([]byte("key"), nil, func(_, value []byte) error {
		values = append(values, string(value))
		return nil
	})
	return values, err
}

// Whatever becomes of a commit, its batch is there as a whole or not at all.
func TestFates(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := faultstore.New(memstore.New())
	defer s.Close()
	if err := s.Commit(batch(0)); err != nil {
		t.Fatal(err)
	}
	var fate faultstore.Fate
	count := 0
	s.OnCommit(func(n int, _ *store.Batch) faultstore.Fate { count = n; return fate })
	there := 0
	for round := 1; round < 100; round++ {
		fate = faultstore.Fate(random.IntN(4))
		err := s.Commit(batch(round))
		want := map[faultstore.Fate]error{
			faultstore.Vanish: faultstore.ErrFault, faultstore.Linger: faultstore.ErrFault, faultstore.NoSpace: store.ErrNoSpace,
		}[fate]
		if !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Fatalf("fate %d: %v, want %v", fate, err, want)
		}
		if fate == faultstore.Pass || fate == faultstore.Linger {
			there = round
		}
		values, err := read(s)
		if want := fmt.Sprint(there); err != nil || fmt.Sprint(values) != fmt.Sprint([]string{want, want, want, want, want}) {
			t.Fatalf("fate %d: %v, %v; want all %s", fate, values, err, want)
		}
		if err := s.Commit(&store.Batch{}); err != nil || count != round {
			t.Fatalf("an empty batch: %v; %d commits, want %d", err, count, round)
		}
	}
}

// What comes late comes when the store is reopened, but for what was written since.
func TestLate(t *testing.T) {
	s := faultstore.New(memstore.New())
	defer s.Close()
	if err := s.Commit(batch(1)); err != nil {
		t.Fatal(err)
	}
	s.OnCommit(func(int, *store.Batch) faultstore.Fate { return faultstore.Late })
	var b store.Batch
	b.Put([]byte("key0"), []byte("late"))
	b.Delete([]byte("key1"))
	b.Put([]byte("key2"), []byte("late"))
	b.Delete([]byte("key3"))
	if err := s.Commit(&b); !errors.Is(err, faultstore.ErrFault) {
		t.Errorf("a commit that is to be late: %v", err)
	}
	s.OnCommit(nil)
	b.Reset()
	b.Put([]byte("key2"), []byte("2"))
	b.Put([]byte("key3"), []byte("2"))
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"[1 1 2 2 1]", "[late 2 2 1]", "[late 2 2 1]"} {
		if values, err := read(s); err != nil || fmt.Sprint(values) != want {
			t.Errorf("%v, %v; want %s", values, err, want)
		}
		if err := s.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
}

// What rots is read as it is now; what is hidden cannot be read, and what is
// beside it can, until it is written again.
func TestValues(t *testing.T) {
	s := faultstore.New(memstore.New())
	defer s.Close()
	if err := s.Commit(batch(1)); err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Rot([]byte("key0"), func([]byte) []byte { return []byte("rotten") }))
	must(s.Rot([]byte("key1"), func([]byte) []byte { return nil }))
	if err := s.Rot([]byte("absent"), func([]byte) []byte { return nil }); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an absent value rots: %v", err)
	}
	s.Hide([]byte("key3"))
	values, err := read(s)
	var unreadable *store.UnreadableError
	if fmt.Sprint(values) != "[rotten 1]" || !errors.As(err, &unreadable) || string(unreadable.Key) != "key3" || !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("%v, %v", values, err)
	}
	snap := s.Snapshot()
	defer snap.Close()
	if _, err := snap.Get([]byte("key3")); !errors.As(err, &unreadable) {
		t.Errorf("Get of what is hidden: %v", err)
	}
	if _, err := snap.Get([]byte("key4")); err != nil {
		t.Errorf("Get beside it: %v", err)
	}
	must(s.Commit(batch(2)))
	if values, err := read(s); err != nil || fmt.Sprint(values) != "[2 2 2 2 2]" {
		t.Errorf("written again: %v, %v", values, err)
	}
}

// A store that is broken answers one thing only.
func TestBreak(t *testing.T) {
	s := faultstore.New(memstore.New())
	defer s.Close()
	s.Break(store.ErrCorrupt)
	_, readErr := read(s)
	snap := s.Snapshot()
	defer snap.Close()
	_, getErr := snap.Get([]byte("key0"))
	if err := s.Commit(batch(1)); !errors.Is(err, store.ErrCorrupt) || !errors.Is(readErr, store.ErrCorrupt) {
		t.Errorf("commit %v, scan %v", err, readErr)
	}
	if !errors.Is(getErr, store.ErrCorrupt) {
		t.Errorf("get %v", getErr)
	}
	s.Break(nil)
	if err := s.Commit(batch(1)); err != nil {
		t.Error(err)
	}
}
