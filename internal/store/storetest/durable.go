package storetest

import (
	"fmt"
	"testing"

	"github.com/atolldb/atoll/internal/store"
)

func reopen(t *testing.T, open Open) {
	dir := t.TempDir()
	large := string(filled(1<<20+1, 'L'))
	s := open(t, dir)
	put(t, s, "large", large)
	put(t, s, "empty", "")
	put(t, s, "gone", "1")
	for round := range 5 {
		var b store.Batch
		for i := range 100 {
			b.Put(fmt.Appendf(nil, "k%02d", i), fmt.Append(nil, round*i))
		}
		b.Delete([]byte("gone"))
		commit(t, s, &b)
		if err := s.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}

		s = open(t, dir)
		check(t, s, "large", large)
		check(t, s, "empty", "")
		checkAbsent(t, s, "gone")
		for i := range 100 {
			check(t, s, fmt.Sprintf("k%02d", i), fmt.Sprint(round*i))
		}
	}
	snap := s.Snapshot()
	count := 0
	if err := snap.Scan(nil, nil, func(_, _ []byte) error { count++; return nil }); err != nil || count != 102 {
		t.Errorf("%d keys, %v; want 102", count, err)
	}
	snap.Close()
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}
