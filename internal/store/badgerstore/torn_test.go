package badgerstore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/internal/store"
)

// TestTornLog: wherever a crash tears the log, what is there afterwards is the
// first so many batches, each of them whole.
func TestTornLog(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const batches, keys = 60, 7
	files, log := withLog(t, Options{Durability: OS}, batches, keys, func() []byte { return make([]byte, random.IntN(300)) })
	good := files[log].data
	end := len(good)
	seen := map[int]bool{}
	for range 25 {
		at := random.IntN(end)
		torn := slices.Clone(good)
		clear(torn[at:])
		if random.IntN(2) == 0 { // a page that was written before those in front of it
			if later := at + random.IntN(end-at); later < end {
				copy(torn[later:end], good[later:end])
			}
		}
		seen[wholeBatches(t, copyOf(t, files, log, torn), at, keys)] = true
	}
	if len(seen) < 10 {
		t.Errorf("the log was torn in %d places only", len(seen))
	}
}

// batchKey is where batches come from the first to the last, and so do their keys.
func batchKey(batch, key int) []byte { return fmt.Appendf(nil, "%03d-%d", batch, key) }

// withLog returns the files of a store that is open, and the name of the log in
// which batches of so many keys were committed.
func withLog(t *testing.T, o Options, batches, keys int, value func() []byte) (files map[string]sparse, log string) {
	t.Helper()
	o.Dir = t.TempDir()
	s := openTest(t, o)
	defer s.Close()
	if _, err := s.Place(true); err != nil {
		t.Fatal(err)
	}
	var b store.Batch
	for batch := range batches {
		b.Reset()
		for key := range keys {
			b.Put(batchKey(batch, key), value())
		}
		if err := s.Commit(&b); err != nil {
			t.Fatal(err)
		}
	}
	return readDir(t, o.Dir), filepath.Base(only(t, o.Dir, "*.mem"))
}

// copyOf makes a directory of files, one of which holds something else.
func copyOf(t *testing.T, files map[string]sparse, changed string, data []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, f := range files {
		if name == changed {
			f.data = data
		}
		f.write(t, filepath.Join(dir, name))
	}
	return dir
}

// sparse is a file: Badger's logs are long and empty behind what is written.
type sparse struct {
	data []byte // without the zeros at the end
	size int64
}

func readDir(t *testing.T, dir string) map[string]sparse {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]sparse{}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = sparse{bytes.TrimRight(data, "\x00"), int64(len(data))}
	}
	return files
}

func (f sparse) write(t *testing.T, path string) {
	t.Helper()
	err := os.WriteFile(path, f.data, 0o600)
	if err == nil {
		err = os.Truncate(path, f.size)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// wholeBatches opens what is left and returns how many batches are there.
func wholeBatches(t *testing.T, dir string, at, keys int) int {
	t.Helper()
	s := openTest(t, Options{Dir: dir, Durability: OS})
	defer s.Close()
	snap := s.Snapshot()
	defer snap.Close()
	n := 0
	err := snap.Scan(nil, nil, func(key, _ []byte) error {
		if want := batchKey(n/keys, n%keys); !bytes.Equal(key, want) {
			t.Errorf("torn at %d: %q is there, want %s next", at, key, want)
		}
		n++
		return nil
	})
	if err != nil || n%keys != 0 {
		t.Errorf("torn at %d: %d keys, %v; batches have %d", at, n, err, keys)
	}
	return n / keys
}

// TestDamagedLog: what a kill leaves of a log is where it was. Of a log that was
// damaged before its last commit, what is in front is there, and lies elsewhere.
func TestDamagedLog(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const batches, keys = 40, 5
	files, log := withLog(t, Options{}, batches, keys, func() []byte {
		return []byte(lastKey + strings.Repeat("x", random.IntN(300)))
	})
	good := files[log].data
	for i := range 20 {
		batch := random.IntN(batches - 1)
		at := bytes.Index(good, batchKey(batch, random.IntN(keys))) + random.IntN(len(batchKey(0, 0)))
		changed, damaged := slices.Clone(good), i%2 == 0
		if damaged {
			changed[at] ^= byte(1 + random.IntN(255))
		} else {
			clear(changed[at:])
		}
		dir := copyOf(t, files, log, changed)
		if whole := wholeBatches(t, dir, at, keys); whole != batch {
			t.Errorf("changed at %d, in batch %d: %d batches are there", at, batch, whole)
		}
		_, err := os.Stat(filepath.Join(dir, placeFile))
		if kept := err == nil; kept == damaged {
			t.Errorf("batch %d is damaged: %v; the place is kept: %v", batch, damaged, kept)
		}
	}
}
