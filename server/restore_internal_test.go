package server

import (
	"errors"
	"fmt"
	"testing"

	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/badgerstore"
	"github.com/atolldb/atoll/replica"
)

// TestRestoreComesSecond: of two that make a directory at the same time, the one that
// comes second leaves what the first has made.
func TestRestoreComesSecond(t *testing.T) {
	dir := t.TempDir()
	r := Restore{Data: dir}
	identity := fmt.Appendf(nil, `{"format":%d,"shards":1}`, replica.Format)
	disk, err := badgerstore.Open(badgerstore.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	var b store.Batch
	b.Put([]byte("k"), []byte("v"))
	if err := disk.Commit(&b); err != nil {
		t.Fatal(err)
	}
	second := func(when string) {
		t.Helper()
		if err := r.put(t.Context(), identity, true); !errors.Is(err, ErrNotEmpty) {
			t.Fatalf("%s: %v; want ErrNotEmpty", when, err)
		}
	}
	second("while the first is at it")
	if err := disk.Close(); err != nil {
		t.Fatal(err)
	}
	second("after the first has ended")
	if disk, err = badgerstore.Open(badgerstore.Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	snap := disk.Snapshot()
	defer snap.Close()
	if v, err := snap.Get([]byte("k")); string(v) != "v" {
		t.Errorf("what the first has made is %q, %v", v, err)
	}
}
