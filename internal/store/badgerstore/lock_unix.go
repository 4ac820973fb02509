//go:build linux || darwin

package badgerstore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/atolldb/atoll/internal/store"
)

// lockHeld says that dirLock does what Badger's lock does, which is then off.
const lockHeld = true

// dirLock is an exclusive flock on the directory, the same that Badger and its
// tools take. It is ours because the files are checked before Badger opens them.
type dirLock struct {
	dir *os.File
	pid string // path of the file that names the holder, for people only
}

func lockDir(path string) (*dirLock, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	l := &dirLock{dir: dir, pid: filepath.Join(path, "LOCK")}
	switch err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case err == syscall.EWOULDBLOCK:
		dir.Close()
		return nil, fmt.Errorf("%w: %s is held by process %s: stop that process or choose another directory",
			store.ErrInUse, path, l.holder())
	case err != nil:
		dir.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	if err := os.WriteFile(l.pid, fmt.Appendln(nil, os.Getpid()), 0o644); err != nil {
		dir.Close()
		return nil, fmt.Errorf("the data directory cannot be written: %w", err)
	}
	return l, nil
}

func (l *dirLock) holder() string {
	text, err := os.ReadFile(l.pid)
	if pid := strings.TrimSpace(string(text)); err == nil && pid != "" {
		return pid
	}
	return "unknown"
}

func (l *dirLock) release() error {
	err := os.Remove(l.pid)
	if e := l.dir.Close(); err == nil {
		err = e
	}
	return err
}
