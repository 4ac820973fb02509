package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// notThere refuses the name of a file that is there.
func notThere(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return usagef("%s is there already; name another file", path)
	}
	return nil
}

// newFile has a file written beside its place, and puts it there once all of it is
// on disk.
func newFile(path string, write func(io.Writer) error) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(file, 1<<20)
	if err = write(w); err == nil {
		err = errors.Join(w.Flush(), file.Sync())
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Link(file.Name(), path) // which takes no other's place
	}
	return errors.Join(err, os.Remove(file.Name()))
}
