package main

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
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
		err = place(os.Link, file.Name(), path)
	}
	if left := os.Remove(file.Name()); !errors.Is(left, fs.ErrNotExist) {
		err = errors.Join(err, left)
	}
	if err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

// place gives a file another name, and takes no other's place: by a link, or where
// there are none, by taking the name first.
func place(link func(file, path string) error, file, path string) error {
	err := link(file, path)
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	taken, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_ = taken.Close() // it is empty
	if err := os.Rename(file, path); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// syncDirectory has the names in a directory on disk, where that is not up to the
// file system alone.
func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	err = directory.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	return errors.Join(err, directory.Close())
}
