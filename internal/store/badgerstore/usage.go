package badgerstore

import (
	"io/fs"
	"path/filepath"
	"time"
)

// usageInterval is the time between two measurements of the directory.
const usageInterval = 30 * time.Second

// Usage is what a store takes of its disk, in bytes.
type Usage struct {
	// Used is what the directory takes, as of at most half a minute ago. Files
	// that are mapped are sparse: what counts is what they take, not how long
	// they are.
	Used int64
	// Free is what the file system has left for the store, and Reserve the part
	// of it that the store leaves alone: below, it refuses to write.
	Free, Reserve int64
}

// Usage returns what the store takes, and what is left. It costs the same
// however much that is.
func (s *Store) Usage() (Usage, error) {
	free, err := freeBytes(s.opts.Dir)
	return Usage{Used: s.used.Load(), Free: free, Reserve: s.opts.ReserveBytes}, err
}

// Err returns why the store refuses everything, or all commits, until it is
// opened again; nil if it does not.
func (s *Store) Err() error {
	if damage := s.damage.Load(); damage != nil {
		return *damage
	}
	if failed := s.failed.Load(); failed != nil {
		return *failed
	}
	return nil
}

// measure looks at the directory from time to time, until the store is closed.
// Open has done so first.
func (s *Store) measure() {
	for s.pause(usageInterval) {
		s.used.Store(dirBytes(s.opts.Dir))
	}
}

// dirBytes returns what the files of a directory take on disk. Files that are
// deleted meanwhile do not count.
func dirBytes(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil
		}
		if info, err := entry.Info(); err == nil {
			sum += diskBytes(info)
		}
		return nil
	})
	return sum
}
