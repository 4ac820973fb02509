package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/atolldb/atoll/internal/store"
)

func openBench(b *testing.B, durability Durability) *Store {
	b.Helper()
	s, err := Open(Options{Dir: b.TempDir(), Durability: durability})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// benchKey spreads keys over the order, as the engine's hashed keys do.
func benchKey(i uint64) []byte {
	const odd = 0x9e3779b97f4a7c15
	key := append(make([]byte, 0, 40), "e-shard-00-"...)
	key = binary.BigEndian.AppendUint64(key, i*odd)
	return append(key, "/some-key/element"...)
}

// BenchmarkCommit: batches of writes of 100 bytes. "raw" is Badger with the same
// settings, without the merging of concurrent batches.
func BenchmarkCommit(b *testing.B) {
	for _, durability := range []Durability{Fsync, OS} {
		for _, size := range []int{1, 64, 1000} {
			for _, committers := range []int{1, 4} {
				for _, raw := range []bool{true, false} {
					name := fmt.Sprintf("%s/writes=%d/committers=%d/raw=%v", durability, size, committers, raw)
					b.Run(name, func(b *testing.B) { benchCommit(b, durability, size, committers, raw) })
				}
			}
		}
	}
}

func benchCommit(b *testing.B, durability Durability, size, committers int, raw bool) {
	s := openBench(b, durability)
	commit := s.Commit
	if raw {
		commit = func(batch *store.Batch) error { return rawCommit(s.db, batch) }
	}
	value := make([]byte, 100-len(benchKey(0)))
	b.ReportAllocs()
	b.ResetTimer()
	var group sync.WaitGroup
	for c := range committers {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(c), 1))
			var batch store.Batch
			for range b.N / committers {
				batch.Reset()
				for range size {
					batch.Put(benchKey(random.Uint64N(1e6)), value)
				}
				if err := commit(&batch); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	commits := float64(b.N / committers * committers)
	b.ReportMetric(commits/b.Elapsed().Seconds(), "commits/s")
	b.ReportMetric(commits*float64(size)/b.Elapsed().Seconds(), "writes/s")
}

func rawCommit(db *badger.DB, batch *store.Batch) error {
	return db.Update(func(txn *badger.Txn) error {
		for _, w := range batch.Writes() {
			if err := txn.Set(w.Key, w.Value); err != nil {
				return err
			}
		}
		return nil
	})
}

// BenchmarkRead: a store of 1,000,000 keys that was closed and opened again, so
// that all of them are in tables.
func BenchmarkRead(b *testing.B) {
	const keys = 1_000_000
	dir := b.TempDir()
	s := fillBench(b, dir, keys)
	defer s.Close()

	get := func(b *testing.B, offset uint64, want error) {
		snap := s.Snapshot()
		defer snap.Close()
		random := rand.New(rand.NewPCG(1, 2))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := snap.Get(benchKey(offset + random.Uint64N(keys))); !errors.Is(err, want) {
				b.Fatal(err)
			}
		}
	}
	b.Run("get=present", func(b *testing.B) { get(b, 0, nil) })
	b.Run("get=absent", func(b *testing.B) { get(b, keys, store.ErrNotFound) })
	for _, length := range []int{10, 1000} {
		b.Run(fmt.Sprintf("scan=%d", length), func(b *testing.B) {
			snap := s.Snapshot()
			defer snap.Close()
			random := rand.New(rand.NewPCG(1, 2))
			enough := errors.New("enough")
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				snap.Scan(benchKey(random.Uint64N(keys)), nil, func(_, _ []byte) error {
					if n++; n == length {
						return enough
					}
					return nil
				})
			}
		})
	}
}

func fillBench(b *testing.B, dir string, keys int) *Store {
	b.Helper()
	open := func() *Store {
		s, err := Open(Options{Dir: dir, Durability: OS})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	s := open()
	var batch store.Batch
	value := make([]byte, 64)
	for i := 0; i < keys; i += 1000 {
		batch.Reset()
		for j := range 1000 {
			batch.Put(benchKey(uint64(i+j)), value)
		}
		if err := s.Commit(&batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return open()
}

// BenchmarkSnapshot: taking and closing a snapshot, alone and beside a writer
// that syncs all the time.
func BenchmarkSnapshot(b *testing.B) {
	for _, writing := range []bool{false, true} {
		b.Run(fmt.Sprintf("writing=%v", writing), func(b *testing.B) {
			s := openBench(b, Fsync)
			stop := make(chan struct{})
			var writer sync.WaitGroup
			if writing {
				writer.Go(func() {
					var batch store.Batch
					batch.Put(benchKey(1), nil)
					for {
						select {
						case <-stop:
							return
						default:
							s.Commit(&batch)
						}
					}
				})
			}
			b.ReportAllocs()
			for b.Loop() {
				s.Snapshot().Close()
			}
			close(stop)
			writer.Wait()
		})
	}
}

// BenchmarkOpen: opening and closing an empty store, and what one that is open
// takes of memory and disk.
func BenchmarkOpen(b *testing.B) {
	before := residentMiB()
	held := openBench(b, Fsync)
	held.Snapshot().Close()
	resident := residentMiB() - before
	for b.Loop() {
		s, err := Open(Options{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(resident, "MiB-RSS")
}

// residentMiB is the memory of this process in RAM, 0 where it is not known.
func residentMiB() float64 {
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	return 0
}
