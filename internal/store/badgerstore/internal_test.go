package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/store"
)

// TestMerge: batches that wait together become one transaction.
func TestMerge(t *testing.T) {
	s := openTest(t, Options{Dir: t.TempDir()})
	defer s.Close()
	before := s.db.MaxVersion()
	s.leader <- struct{}{} // lead, so that everybody else waits
	const batches = 20
	var group sync.WaitGroup
	for i := range batches {
		group.Go(func() {
			var b store.Batch
			b.Put(fmt.Appendf(nil, "%d", i), nil)
			if err := s.Commit(&b); err != nil {
				t.Errorf("Commit: %v", err)
			}
		})
	}
	await(t, "all batches in the queue", func() bool {
		s.queueMu.Lock()
		defer s.queueMu.Unlock()
		return len(s.queue) == batches
	})
	<-s.leader
	group.Wait()
	if n := s.db.MaxVersion() - before; n != 1 {
		t.Errorf("%d batches took %d transactions, want 1", batches, n)
	}
	if n, err := countKeys(s); err != nil || n != batches {
		t.Errorf("%d keys, %v; want %d", n, err, batches)
	}
}

// TestMergeFails: when the commit of a group fails, nobody in it is told that
// it did not.
func TestMergeFails(t *testing.T) {
	s := openTest(t, Options{Dir: t.TempDir()})
	defer s.Close()
	s.leader <- struct{}{}
	gone := errors.New("the disk is gone")
	s.failed.Store(&gone) // as the leader
	const batches = 20
	errs := make(chan error, batches)
	for i := range batches {
		go func() {
			var b store.Batch
			b.Put(fmt.Appendf(nil, "%d", i), nil)
			errs <- s.Commit(&b)
		}()
	}
	await(t, "all batches in the queue", func() bool {
		s.queueMu.Lock()
		defer s.queueMu.Unlock()
		return len(s.queue) == batches
	})
	<-s.leader
	for range batches {
		if err := <-errs; !errors.Is(err, gone) {
			t.Errorf("Commit: %v", err)
		}
	}
	if n, err := countKeys(s); err != nil || n != 0 {
		t.Errorf("%d keys, %v", n, err)
	}
}

// TestMergeBound: a group is never larger than the largest batch, and batches
// keep their order.
func TestMergeBound(t *testing.T) {
	s := openTest(t, Options{Dir: t.TempDir(), Durability: OS})
	defer s.Close()
	sizes := []int{store.MaxBatchBytes - 100, 50, 51, store.MaxBatchBytes - 1, 1}
	for _, size := range sizes {
		var b store.Batch
		b.Put([]byte("k"), make([]byte, size-1))
		s.queue = append(s.queue, &pending{batch: &b})
	}
	var got []int
	for len(s.queue) > 0 {
		got = append(got, len(s.takeGroup()))
	}
	if want := "[2 1 2]"; fmt.Sprint(got) != want {
		t.Errorf("groups of %v batches, want %s", got, want)
	}
}

// TestFull: without space commits are refused, reads go on, and so do commits
// when there is space again.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(Options{Dir: dir, ReserveBytes: math.MaxInt64}); !errors.Is(err, store.ErrNoSpace) {
		t.Fatalf("Open: %v, want ErrNoSpace", err)
	}
	s := openTest(t, Options{Dir: dir})
	defer s.Close()
	var b store.Batch
	b.Put([]byte("a"), nil)
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
	reserve := s.opts.ReserveBytes
	s.opts.ReserveBytes = math.MaxInt64
	b.Put([]byte("b"), nil)
	if err := s.Commit(&b); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("Commit: %v, want ErrNoSpace", err)
	}
	if n, err := countKeys(s); err != nil || n != 1 {
		t.Errorf("%d keys, %v; want 1", n, err)
	}
	s.opts.ReserveBytes = reserve
	if err := s.Commit(&b); err != nil {
		t.Errorf("Commit with space again: %v", err)
	}
	if n, err := countKeys(s); err != nil || n != 2 {
		t.Errorf("%d keys, %v; want 2", n, err)
	}
}

// TestFailedCommit: nothing is committed after a commit that may be there in part.
func TestFailedCommit(t *testing.T) {
	s := openTest(t, Options{Dir: t.TempDir()})
	defer s.Close()
	s.db.Close() // so that Badger fails
	var b store.Batch
	b.Put([]byte("a"), nil)
	if err := s.Commit(&b); err == nil {
		t.Fatal("Commit to a closed database succeeded")
	}
	if err := s.Commit(&b); err == nil || !strings.Contains(err.Error(), "open it again") {
		t.Errorf("Commit after a failed one: %v, want what to do", err)
	}
}

// TestClean: the space of large values that were replaced comes back, while
// they are read. Badger finds out what is garbage when it merges tables. If it
// does so in the moment of opening them, it takes all that is old for something
// that a transaction may still read, and finds none, or not all: then it is tried
// again.
func TestClean(t *testing.T) {
	for range 10 {
		if cleans(t) {
			return
		}
	}
	t.Error("not all files were cleaned")
}

// cleans says whether all that is garbage was found.
func cleans(t *testing.T) bool {
	const keys, rounds = 4, 7
	o := Options{Dir: t.TempDir(), Durability: OS}
	var s *Store
	for round := range rounds { // each makes a table and a value log file
		s = openTest(t, o)
		var b store.Batch
		for key := range keys {
			value := make([]byte, valueThreshold)
			value[0], value[1] = byte(key), byte(round)
			b.Put(fmt.Appendf(nil, "%d", key), value)
		}
		if round == 0 {
			b.Put([]byte("kept"), bytes.Repeat([]byte("k"), valueThreshold))
		}
		if err := s.Commit(&b); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s = openTest(t, o)
	defer s.Close()
	if err := s.db.Flatten(1); err != nil { // merges the tables
		t.Fatal(err)
	}
	files := func() int {
		paths, _ := filepath.Glob(filepath.Join(o.Dir, "*.vlog"))
		return len(paths)
	}
	before := files()
	snap := s.Snapshot()
	defer snap.Close()
	kept, err := snap.Get([]byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	stop := keepReading(t, s, keys, rounds-1)
	cleaned := 0
	for s.cleanOne() {
		cleaned++
	}
	stop()
	if cleaned < rounds-2 {
		return false
	}
	if files() >= before {
		t.Errorf("%d files cleaned, %d left of %d", cleaned, files(), before)
	}
	again, err := snap.Get([]byte("kept"))
	if err != nil || !bytes.Equal(kept, again) || string(kept[:2]) != "kk" {
		t.Errorf("a value whose file was cleaned: %d bytes, then %d, %v", len(kept), len(again), err)
	}
	return true
}

// keepReading reads all keys until the function it returns is called.
func keepReading(t *testing.T, s *Store, keys, round int) (stop func()) {
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			snap := s.Snapshot()
			for key := range keys {
				value, err := snap.Get(fmt.Appendf(nil, "%d", key))
				if err != nil || len(value) != valueThreshold || int(value[0]) != key || int(value[1]) != round {
					t.Errorf("Get(%d) while cleaning: %d bytes, %v", key, len(value), err)
				}
			}
			snap.Close()
			select {
			case <-done:
				return
			default:
			}
		}
	})
	return func() { close(done); group.Wait() }
}

func TestOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]Options{
		"Dir is empty":     {},
		"Durability":       {Dir: t.TempDir(), Durability: "none"},
		"MemtableBytes":    {Dir: t.TempDir(), MemtableBytes: minMemtableBytes - 1},
		"ReserveBytes":     {Dir: t.TempDir(), ReserveBytes: -1},
		"VerifyInterval":   {Dir: t.TempDir(), VerifyInterval: -time.Second},
		"CleanInterval":    {Dir: t.TempDir(), CleanInterval: -time.Second},
		"not a directory":  {Dir: file},
		"cannot be create": {Dir: filepath.Join(file, "sub")},
	} {
		s, err := Open(o)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Open: %v, want one line with %q", err, want)
		}
	}
}

// TestDurability: what Badger waits for. The sync itself cannot be seen without
// cutting the power.
func TestDurability(t *testing.T) {
	for durability, sync := range map[Durability]bool{"": true, Fsync: true, OS: false} {
		s := openTest(t, Options{Dir: t.TempDir(), Durability: durability})
		if got := s.db.Opts().SyncWrites; got != sync {
			t.Errorf("Durability %q: SyncWrites is %v, want %v", durability, got, sync)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSmallestMemtable takes the largest batch.
func TestSmallestMemtable(t *testing.T) {
	s := openTest(t, Options{Dir: t.TempDir(), Durability: OS, MemtableBytes: minMemtableBytes})
	defer s.Close()
	var b store.Batch
	for i := range store.MaxBatchWrites {
		key := fmt.Appendf(nil, "%05d", i)
		b.Put(key, make([]byte, store.MaxBatchBytes/store.MaxBatchWrites-len(key)))
	}
	if err := s.Commit(&b); err != nil {
		t.Error(err)
	}
}

// await polls a condition that has no event of its own.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
		runtime.Gosched()
	}
}
