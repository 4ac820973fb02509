package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/atolldb/atoll/internal/store"
)

func keyBounds(t *testing.T, s store.Store) {
	longest := filled(store.MaxKeyBytes, 'k')
	var b store.Batch
	b.Put(longest, []byte("long"))
	b.Put([]byte("!badger"), []byte("short of reserved"))
	commit(t, s, &b)
	check(t, s, string(longest), "long")
	check(t, s, "!badger", "short of reserved")

	refuse(t, s, store.ErrTooLarge, func(b *store.Batch) { b.Put(filled(store.MaxKeyBytes+1, 'k'), nil) })
	refuse(t, s, store.ErrTooLarge, func(b *store.Batch) { b.Delete(filled(store.MaxKeyBytes+1, 'k')) })
	refuse(t, s, store.ErrBadKey, func(b *store.Batch) { b.Put(nil, []byte("x")) })
	refuse(t, s, store.ErrBadKey, func(b *store.Batch) { b.Delete([]byte{}) })
	refuse(t, s, store.ErrBadKey, func(b *store.Batch) { b.Put([]byte(store.ReservedPrefix+"x"), nil) })
}

func batchBounds(t *testing.T, s store.Store) {
	key := func(i int) []byte { return fmt.Appendf(nil, "k%06d", i) }

	// The most writes and the most bytes at once; the first value makes it exact.
	each := store.MaxBatchBytes/store.MaxBatchWrites - len(key(0))
	rest := store.MaxBatchBytes % store.MaxBatchWrites
	var b store.Batch
	b.Put(key(0), filled(each+rest, 'v'))
	for i := 1; i < store.MaxBatchWrites; i++ {
		b.Put(key(i), filled(each, 'v'))
	}
	if len(b.Writes()) != store.MaxBatchWrites || b.Bytes() != store.MaxBatchBytes {
		t.Fatalf("the largest batch has %d writes and %d bytes", len(b.Writes()), b.Bytes())
	}
	commit(t, s, &b)
	check(t, s, string(key(0)), string(filled(each+rest, 'v')))
	check(t, s, string(key(store.MaxBatchWrites-1)), string(filled(each, 'v')))

	// The most bytes in long keys.
	b.Reset()
	for i := range store.MaxBatchBytes / store.MaxKeyBytes {
		b.Put(append(key(i), filled(store.MaxKeyBytes-len(key(i)), 'k')...), nil)
	}
	commit(t, s, &b)

	refuse(t, s, store.ErrTooLarge, func(b *store.Batch) {
		for i := range store.MaxBatchWrites + 1 {
			b.Put(key(i), nil)
		}
	})
	refuse(t, s, store.ErrTooLarge, func(b *store.Batch) {
		for range store.MaxBatchWrites + 1 { // however few keys they are
			b.Delete(key(0))
		}
	})
	refuse(t, s, store.ErrTooLarge, func(b *store.Batch) {
		b.Put([]byte("x"), filled(store.MaxBatchBytes, 'v'))
	})
}

func largeValues(t *testing.T, s store.Store) {
	// Around the sizes where a store may change how it keeps a value.
	for i, size := range []int{1<<20 - 1, 1 << 20, 1<<20 + 1, 3 << 20, store.MaxBatchBytes - 1} {
		value := string(filled(size, byte('a'+i)))
		put(t, s, "v", value)
		check(t, s, "v", value)
		snap := s.Snapshot()
		checkScan(t, snap, nil, nil, "v="+value)
		snap.Close()
	}

	var b store.Batch
	for i := range 7 {
		b.Put(fmt.Appendf(nil, "w%d", i), filled(1<<20+i, byte('0'+i)))
	}
	commit(t, s, &b)
	snap := s.Snapshot()
	defer snap.Close()
	for i := range 7 {
		remove(t, s, fmt.Sprintf("w%d", i))
		checkIn(t, snap, fmt.Sprintf("w%d", i), string(filled(1<<20+i, byte('0'+i))))
	}
	checkAbsent(t, s, "w0")
}

func refusedBatchChangesNothing(t *testing.T, s store.Store) {
	put(t, s, "a", "1")
	refuse(t, s, store.ErrTooLarge, func(b *store.Batch) {
		b.Put([]byte("a"), []byte("2"))
		b.Put([]byte("b"), filled(store.MaxBatchBytes, 'v'))
	})
	refuse(t, s, store.ErrBadKey, func(b *store.Batch) {
		b.Put([]byte("a"), []byte("2"))
		b.Put(nil, nil)
		b.Put([]byte("b"), nil)
	})
	snap := s.Snapshot()
	defer snap.Close()
	checkScan(t, snap, nil, nil, "a=1")
	put(t, s, "a", "3")
	check(t, s, "a", "3")
}

// refuse wants the batch that fill makes to be refused with the error want.
func refuse(t *testing.T, s store.Store, want error, fill func(*store.Batch)) {
	t.Helper()
	var b store.Batch
	fill(&b)
	if err := s.Commit(&b); !errors.Is(err, want) {
		t.Fatalf("Commit of %d writes, %d bytes: %v, want %v", len(b.Writes()), b.Bytes(), err, want)
	}
}
