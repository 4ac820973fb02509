package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/atolldb/atoll/internal/store"
)

func closed(t *testing.T, s store.Store) {
	put(t, s, "a", "1")
	before := s.Snapshot()
	if err := s.Close(); err != nil {
		t.Fatalf("Close with an open snapshot: %v", err)
	}
	after := s.Snapshot()
	for name, snap := range map[string]store.Snapshot{"before": before, "after": after} {
		if _, err := snap.Get([]byte("a")); !errors.Is(err, store.ErrClosed) {
			t.Errorf("Get of a snapshot from %s Close: %v, want ErrClosed", name, err)
		}
		if err := snap.Scan(nil, nil, nil); !errors.Is(err, store.ErrClosed) {
			t.Errorf("Scan of a snapshot from %s Close: %v, want ErrClosed", name, err)
		}
		snap.Close()
		snap.Close()
	}
	var b store.Batch
	if err := s.Commit(&b); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Commit of nothing after Close: %v, want ErrClosed", err)
	}
	b.Put([]byte("a"), nil)
	if err := s.Commit(&b); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Commit after Close: %v, want ErrClosed", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// closeDuringUse: calls that race with Close succeed or answer ErrClosed.
func closeDuringUse(t *testing.T, s store.Store) {
	put(t, s, "a", "1")
	var users sync.WaitGroup
	var started sync.WaitGroup
	for worker := range 4 {
		started.Add(1)
		users.Go(func() {
			var once sync.Once
			defer once.Do(started.Done)
			for {
				var b store.Batch
				b.Put(fmt.Appendf(nil, "w%d", worker), filled(100, 'v'))
				err := s.Commit(&b)
				if err == nil {
					err = readAll(s)
				}
				once.Do(started.Done)
				if err != nil {
					if !errors.Is(err, store.ErrClosed) {
						t.Errorf("a call during Close: %v, want ErrClosed", err)
					}
					return
				}
			}
		})
	}
	started.Wait()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	users.Wait()
}

// readAll gets every key of a scan from within it.
func readAll(s store.Store) error {
	snap := s.Snapshot()
	defer snap.Close()
	return snap.Scan(nil, nil, func(key, _ []byte) error {
		_, err := snap.Get(key)
		return err
	})
}

// concurrentWriters: each writer owns its keys, sees each of its commits at
// once, and loses none to the others.
func concurrentWriters(t *testing.T, s store.Store) {
	const writers, rounds = 8, 25
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			key := fmt.Sprintf("w%d", w)
			for round := range rounds {
				var b store.Batch
				b.Put([]byte(key), fmt.Append(nil, round))
				b.Put(fmt.Appendf(nil, "%s/%03d", key, round), nil)
				if err := s.Commit(&b); err != nil {
					t.Errorf("Commit: %v", err)
					return
				}
				snap := s.Snapshot()
				got, err := snap.Get([]byte(key))
				if want := fmt.Sprint(round); err != nil || string(got) != want {
					t.Errorf("after its commit a writer read %q, %v; want %q", got, err, want)
				}
				snap.Close()
			}
		})
	}
	group.Wait()
	snap := s.Snapshot()
	defer snap.Close()
	count := 0
	err := snap.Scan(nil, nil, func(_, _ []byte) error { count++; return nil })
	if want := writers * (rounds + 1); err != nil || count != want {
		t.Fatalf("%d keys, %v; want %d", count, err, want)
	}
}

// batchesAreAtomic: a reader never sees a part of a batch, and never goes back.
func batchesAreAtomic(t *testing.T, s store.Store) {
	const keys, rounds = 20, 50
	write := func(round int) {
		var b store.Batch
		for k := range keys {
			b.Put(fmt.Appendf(nil, "k%02d", k), fmt.Appendf(nil, "%04d", round))
		}
		if err := s.Commit(&b); err != nil {
			t.Errorf("Commit: %v", err)
		}
	}
	write(0)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			last := ""
			for {
				seen := map[string]int{}
				snap := s.Snapshot()
				err := snap.Scan(nil, nil, func(_, value []byte) error {
					seen[string(value)]++
					return nil
				})
				snap.Close()
				if err != nil || len(seen) != 1 {
					t.Errorf("a snapshot holds values %v, %v; want one value %d times", seen, err, keys)
					return
				}
				for value, n := range seen {
					if n != keys || value < last {
						t.Errorf("a snapshot holds %q %d times after %q", value, n, last)
						return
					}
					last = value
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for round := range rounds {
		write(round + 1)
	}
	close(done)
	readers.Wait()
}
