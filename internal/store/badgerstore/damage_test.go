package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/store"
)

const damageKeys = 2000

// filledDir returns a directory with a table, a log that is not a table yet and a value
// log with one value, as a killed process leaves it.
func filledDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := openTest(t, Options{Dir: dir, Durability: OS})
	write := func(from, to int) {
		var b store.Batch
		for i := from; i < to; i++ {
			b.Put(fmt.Appendf(nil, "key%05d", i), fmt.Appendf(nil, "value of %d", i))
		}
		if err := s.Commit(&b); err != nil {
			t.Fatal(err)
		}
	}
	write(0, damageKeys/2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, Options{Dir: dir, Durability: OS})
	write(damageKeys/2, damageKeys)
	var b store.Batch
	b.Put([]byte("large"), make([]byte, valueThreshold))
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
	killed := t.TempDir()
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The logs are mostly holes, which the copy has filled.
	for _, pattern := range []string{"*.mem", "000002.vlog"} {
		if err := os.Truncate(only(t, killed, pattern), 2<<20); err != nil {
			t.Fatal(err)
		}
	}
	return killed
}

func openTest(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func countKeys(s *Store) (n int, err error) {
	snap := s.Snapshot()
	defer snap.Close()
	err = snap.Scan(nil, nil, func(_, _ []byte) error { n++; return nil })
	return n, err
}

// only returns the path of the one file in dir that matches.
func only(t *testing.T, dir, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(paths) != 1 {
		t.Fatalf("%s in %s: %v, %v; want one file", pattern, dir, paths, err)
	}
	return paths[0]
}

// TestDamage: damage of what is needed is ErrCorrupt, in one line that names the
// directory, and nothing is deleted: with the file restored all is there.
func TestDamage(t *testing.T) {
	flip := func(at func(size int) int) func([]byte) []byte {
		return func(b []byte) []byte { b[at(len(b))] ^= 0x10; return b }
	}
	first := func(int) int { return 0 }
	keep := func(n func(size int) int) func([]byte) []byte {
		return func(b []byte) []byte { return b[:n(len(b))] }
	}
	tests := []struct {
		name, file string
		damage     func([]byte) []byte // nil: the file is gone
	}{
		{"table: a block", "*.sst", flip(func(int) int { return 100 })},
		{"table: first byte", "*.sst", flip(first)},
		{"table: index", "*.sst", flip(func(n int) int { return n - 100 })},
		{"table: checksum length", "*.sst", flip(func(n int) int { return n - 4 })},
		{"table: checksum", "*.sst", flip(func(n int) int { return n - 6 })},
		{"table: short by a byte", "*.sst", keep(func(n int) int { return n - 1 })},
		{"table: half", "*.sst", keep(func(n int) int { return n / 2 })},
		{"table: three bytes", "*.sst", keep(func(int) int { return 3 })},
		{"table: empty", "*.sst", keep(first)},
		{"table: zeros at the end", "*.sst", func(b []byte) []byte { return append(b, make([]byte, 4096)...) }},
		{"table: all zeros", "*.sst", func(b []byte) []byte { clear(b); return b }},
		{"table: gone", "*.sst", nil},
		{"manifest: magic", "MANIFEST", flip(first)},
		{"manifest: a change", "MANIFEST", flip(func(n int) int { return n - 2 })},
		{"manifest: empty", "MANIFEST", keep(first)},
		{"manifest: gone", "MANIFEST", nil},
		{"key registry", "KEYREGISTRY", flip(func(n int) int { return n - 2 })},
	}
	dir := filledDir(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := only(t, dir, test.file)
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if test.damage == nil {
				err = os.Remove(path)
			} else {
				err = os.WriteFile(path, test.damage(append([]byte(nil), good...)), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			s, err := Open(Options{Dir: dir})
			if err == nil {
				s.Close()
			}
			if !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("Open: %v, want ErrCorrupt", err)
			} else if !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error %q is not one line with %q", err, dir)
			}
			if err := os.WriteFile(path, good, 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
	s := openTest(t, Options{Dir: dir})
	defer s.Close()
	if n, err := countKeys(s); err != nil || n != damageKeys+1 {
		t.Errorf("after all was restored: %d keys, %v; want %d", n, err, damageKeys+1)
	}
}

// TestManifestCut: after a clean close nothing can be torn, so a manifest that
// is cut is ErrCorrupt. Badger would delete the tables that it has forgotten.
func TestManifestCut(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, Options{Dir: dir})
	var b store.Batch
	b.Put([]byte("key"), []byte("value"))
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := only(t, dir, "MANIFEST")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if err := os.WriteFile(path, good[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(Options{Dir: dir})
		if err == nil {
			s.Close()
		}
		if !errors.Is(err, store.ErrCorrupt) {
			t.Fatalf("%d bytes of %d: %v, want ErrCorrupt", n, len(good), err)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, Options{Dir: dir})
	defer s.Close()
	if n, err := countKeys(s); err != nil || n != 1 {
		t.Errorf("after all was restored: %d keys, %v; want 1", n, err)
	}
}

// TestDamageAnywhere: whatever happens to whichever file, Open and what follows
// answer; they do not panic.
func TestDamageAnywhere(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	master := filledDir(t)
	files, err := os.ReadDir(master)
	if err != nil {
		t.Fatal(err)
	}
	for range 25 {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(master)); err != nil {
			t.Fatal(err)
		}
		file := files[random.IntN(len(files))].Name()
		what := damageFile(t, random, filepath.Join(dir, file))
		s, err := Open(Options{Dir: dir, Durability: OS})
		if err != nil {
			t.Logf("%s, %s: %v", file, what, err)
			continue
		}
		n, err := countKeys(s)
		t.Logf("%s, %s: %d keys, %v", file, what, n, err)
		if err := s.Close(); err != nil {
			t.Logf("%s, %s: %v", file, what, err)
		}
	}
}

// damageFile flips a byte of the file's first 64 KiB, or shortens it.
func damageFile(t *testing.T, random *rand.Rand, path string) (what string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() == 0 {
		return "nothing"
	}
	at := random.Int64N(min(info.Size(), 64<<10))
	if random.IntN(3) == 0 {
		if err := os.Truncate(path, at); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("cut at %d", at)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	one := make([]byte, 1)
	if _, err := file.ReadAt(one, at); err != nil {
		t.Fatal(err)
	}
	one[0] ^= byte(1 + random.IntN(255))
	if _, err := file.WriteAt(one, at); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("changed at %d", at)
}

// TestEmptyLogs: files that a crash left empty do not keep the store from opening.
func TestEmptyLogs(t *testing.T) {
	dir := filledDir(t)
	for _, name := range []string{"00077.mem", "000077.vlog"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := openTest(t, Options{Dir: dir})
	defer s.Close()
	if n, err := countKeys(s); err != nil || n != damageKeys+1 {
		t.Errorf("%d keys, %v; want %d", n, err, damageKeys+1)
	}
}

// TestLargeValueGone: a value that the value log has lost is ErrCorrupt, not
// empty and not absent; what is beside it can be read.
func TestLargeValueGone(t *testing.T) {
	dir := filledDir(t)
	if err := os.Truncate(filepath.Join(dir, "000002.vlog"), valueThreshold/2); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, Options{Dir: dir})
	defer s.Close()
	snap := s.Snapshot()
	defer snap.Close()
	if value, err := snap.Get([]byte("large")); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Get: %d bytes, %v; want ErrCorrupt", len(value), err)
	}
	n, err := countKeys(s)
	var unreadable *store.UnreadableError
	if !errors.As(err, &unreadable) || string(unreadable.Key) != "large" {
		t.Errorf("Scan: %d keys, %v; want an UnreadableError of the key", n, err)
	}
	err = snap.Scan([]byte("large\x00"), nil, func(_, _ []byte) error { return nil })
	if err != nil {
		t.Errorf("Scan behind it: %v", err)
	}
	if _, err := snap.Get([]byte("key00000")); err != nil {
		t.Errorf("Get beside it: %v", err)
	}
}

// TestDamageInBackground: what Open did not read is read soon after, and then
// the store answers nothing more.
func TestDamageInBackground(t *testing.T) {
	dir := filledDir(t)
	file, err := os.OpenFile(only(t, dir, "*.sst"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte("damage"), 100); err != nil {
		t.Fatal(err)
	}
	file.Close()

	log := make(signal, 1)
	s := openTest(t, Options{Dir: dir, VerifyBytes: -1, Logger: slog.New(log)})
	defer s.Close()
	select {
	case <-log:
	case <-time.After(10 * time.Second):
		t.Fatal("the damage was not found")
	}
	if n, err := countKeys(s); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Scan: %d keys, %v; want ErrCorrupt", n, err)
	}
	snap := s.Snapshot()
	defer snap.Close()
	if _, err := snap.Get([]byte("key00001")); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Get: %v, want ErrCorrupt", err)
	}
	var b store.Batch
	b.Put([]byte("x"), nil)
	if err := s.Commit(&b); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Commit: %v, want ErrCorrupt", err)
	}
}

// signal is a log handler that tells of the first error.
type signal chan struct{}

func (signal) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }
func (s signal) Handle(context.Context, slog.Record) error {
	select {
	case s <- struct{}{}:
	default:
	}
	return nil
}
func (s signal) WithAttrs([]slog.Attr) slog.Handler { return s }
func (s signal) WithGroup(string) slog.Handler      { return s }
