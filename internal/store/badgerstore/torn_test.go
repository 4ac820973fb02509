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
	master := t.TempDir()
	s := openTest(t, Options{Dir: master, Durability: OS})
	defer s.Close()
	var b store.Batch
	for n := range batches {
		b.Reset()
		for k := range keys {
			b.Put(fmt.Appendf(nil, "%03d-%d", n, k), make([]byte, random.IntN(300)))
		}
		if err := s.Commit(&b); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Base(only(t, master, "*.mem"))
	files := readDir(t, master)
	good := files[log].data
	end := len(good)
	seen := map[int]bool{}
	for range 25 {
		dir := t.TempDir()
		at := random.IntN(end)
		torn := slices.Clone(good)
		clear(torn[at:])
		if random.IntN(2) == 0 { // a page that was written before those in front of it
			if later := at + random.IntN(end-at); later < end {
				copy(torn[later:end], good[later:end])
			}
		}
		for name, f := range files {
			if name == log {
				f.data = torn
			}
			f.write(t, filepath.Join(dir, name))
		}
		seen[wholeBatches(t, dir, at, keys)] = true
	}
	if len(seen) < 10 {
		t.Errorf("the log was torn in %d places only", len(seen))
	}
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
		if want := fmt.Sprintf("%03d-%d", n/keys, n%keys); string(key) != want {
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
	key := func(n, k int) []byte { return fmt.Appendf(nil, "%03d-%d", n, k) }
	master := t.TempDir()
	s := openTest(t, Options{Dir: master})
	defer s.Close()
	if _, err := s.Place(true); err != nil {
		t.Fatal(err)
	}
	var b store.Batch
	for n := range batches {
		b.Reset()
		for k := range keys {
			b.Put(key(n, k), []byte(lastKey+strings.Repeat("x", random.IntN(300))))
		}
		if err := s.Commit(&b); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Base(only(t, master, "*.mem"))
	files := readDir(t, master)
	good := files[log].data
	for i := range 20 {
		batch := random.IntN(batches - 1)
		at := bytes.Index(good, key(batch, random.IntN(keys))) + random.IntN(len(key(0, 0)))
		changed, damaged := slices.Clone(good), i%2 == 0
		if damaged {
			changed[at] ^= byte(1 + random.IntN(255))
		} else {
			clear(changed[at:])
		}
		dir := t.TempDir()
		for name, f := range files {
			if name == log {
				f.data = changed
			}
			f.write(t, filepath.Join(dir, name))
		}
		if whole := wholeBatches(t, dir, at, keys); whole != batch {
			t.Errorf("changed at %d, in batch %d: %d batches are there", at, batch, whole)
		}
		_, err := os.Stat(filepath.Join(dir, placeFile))
		if kept := err == nil; kept == damaged {
			t.Errorf("batch %d is damaged: %v; the place is kept: %v", batch, damaged, kept)
		}
	}
}
