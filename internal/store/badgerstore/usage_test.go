package badgerstore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/atolldb/atoll/internal/store"
)

// Usage counts what files take, not how long they are, and what is left.
func TestUsage(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, Options{Dir: dir, ReserveBytes: 1})
	defer s.Close()
	usage, err := s.Usage()
	if err != nil || usage.Used <= 0 || usage.Used > 32<<20 || usage.Free <= 0 || usage.Reserve != 1 {
		t.Errorf("an empty store: %+v, %v", usage, err)
	}
	before := dirBytes(dir)
	more := make([]byte, 3<<20)
	_, _ = rand.Read(more) // some disks compress
	if err := os.WriteFile(filepath.Join(dir, "more"), more, 0o600); err != nil {
		t.Fatal(err)
	}
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	if err == nil {
		err = sparse.Truncate(1 << 30)
	}
	if err == nil {
		err = sparse.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if n := dirBytes(dir) - before; n < 3<<20 || n > 4<<20 {
		t.Errorf("3 MiB and a hole take %d bytes", n)
	}
	if n := dirBytes(filepath.Join(dir, "absent")); n != 0 {
		t.Errorf("a directory that is not there takes %d bytes", n)
	}
}

// Err tells of what is not over by itself, and of nothing else.
func TestErr(t *testing.T) {
	s := openTest(t, Options{Dir: t.TempDir()})
	defer s.Close()
	if err := s.Err(); err != nil {
		t.Errorf("a new store: %v", err)
	}
	s.opts.ReserveBytes = 1 << 62
	var b store.Batch
	b.Put([]byte("k"), nil)
	if err := s.Commit(&b); !errors.Is(err, store.ErrNoSpace) || s.Err() != nil {
		t.Errorf("a full disk: %v, Err %v; it goes on once there is space", err, s.Err())
	}
	s.opts.ReserveBytes = 0
	gone := errors.New("the disk is gone")
	s.failed.Store(&gone)
	if err := s.Err(); !errors.Is(err, gone) {
		t.Errorf("after a failed commit: %v", err)
	}
	damage := fmt.Errorf("%w: a table", store.ErrCorrupt)
	s.damage.Store(&damage)
	if err := s.Err(); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("with a damaged table: %v", err)
	}
}
