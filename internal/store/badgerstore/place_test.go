package badgerstore

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// TestPlace: the place stays what it is until it is renewed, and no copy of the
// directory has it, wherever it is put.
func TestPlace(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("files have no identity here")
	}
	dir := t.TempDir()
	place := func(dir string, renew bool) string {
		t.Helper()
		s := openTest(t, Options{Dir: dir, Durability: OS})
		defer s.Close()
		p, err := s.Place(renew)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := place(dir, false); p != "" {
		t.Errorf("a new directory has the place %q", p)
	}
	first := place(dir, true)
	if again := place(dir, false); first == "" || again != first {
		t.Errorf("the place %q is %q when opened again", first, again)
	}
	backup := filepath.Join(t.TempDir(), "backup")
	copied := func(from, to string) {
		t.Helper()
		if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	copied(dir, backup)
	if p := place(backup, false); p == first {
		t.Error("a copy is at the same place")
	}
	second := place(dir, true)
	if second == first {
		t.Error("it was not renewed")
	}
	copied(backup+"/.", dir) // over the files
	if p := place(dir, false); p == second || p == first {
		t.Errorf("put back in place it is at %q, was at %q and %q", p, first, second)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	copied(backup, dir)
	if p := place(dir, false); p == second || p == first {
		t.Errorf("put back anew it is at %q, was at %q and %q", p, first, second)
	}
}
