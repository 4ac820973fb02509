package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// placeFile is the file whose identity Place tells.
const placeFile = "PLACE"

// Place tells the files from copies of them: by the inode of one of them, and
// when that last changed. Whoever copies the directory, or puts a copy back
// into it, makes another file or changes this one. A snapshot of a whole volume
// cannot be told from the volume. Open removes the file where damage has cut a log
// short. If renew is set, the file is made anew, and the place is another from now
// on. It is "" if there is no such file yet, or on systems that do not tell.
func (s *Store) Place(renew bool) (string, error) {
	path := filepath.Join(s.opts.Dir, placeFile)
	if renew {
		if err := makePlace(path); err != nil {
			return "", fmt.Errorf("data directory: %w", err)
		}
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	return placeOf(info), nil
}

func makePlace(path string) error {
	if err := forgetPlace(path); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString("This file tells the directory from copies of it.\n")
	return errors.Join(err, file.Sync(), file.Close())
}

func forgetPlace(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
