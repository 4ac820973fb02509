package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A file comes to its place with links and without, and takes no other's.
func TestPlace(t *testing.T) {
	for name, link := range map[string]func(file, path string) error{
		"links": os.Link,
		"EPERM": noLinks(syscall.EPERM), "ENOTSUP": noLinks(syscall.ENOTSUP), "ENOSYS": noLinks(syscall.ENOSYS),
	} {
		dir := t.TempDir()
		file, path := filepath.Join(dir, "file"), filepath.Join(dir, "path")
		for _, text := range []string{"first", "second"} {
			_ = os.Remove(file) // a link to the path
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := place(link, file, path); errors.Is(err, fs.ErrExist) != (text == "second") || err != nil && text == "first" {
				t.Errorf("%s: the %s: %v", name, text, err)
			}
		}
		if text, err := os.ReadFile(path); string(text) != "first" || err != nil {
			t.Errorf("%s: %q, %v; want the first", name, text, err)
		}
		if _, err := os.Stat(file); err != nil {
			t.Errorf("%s: what was not placed: %v", name, err)
		}
	}
	full := func(string, string) error { return &os.LinkError{Op: "link", Err: syscall.ENOSPC} }
	path := filepath.Join(t.TempDir(), "path")
	if err := place(full, path, path); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("on a full disk: %v", err)
	}
	if err := place(noLinks(syscall.EPERM), path+".not", path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := notThere(path); err != nil {
		t.Errorf("what failed has left a file: %v", err)
	}
}

// noLinks are those of a file system that has none, and says so like that.
func noLinks(err error) func(file, path string) error {
	return func(file, path string) error { return &os.LinkError{Op: "link", Old: file, New: path, Err: err} }
}
