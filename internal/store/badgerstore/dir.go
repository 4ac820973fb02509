package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/atolldb/atoll/internal/store"
)

// prepareDir creates, locks and checks the directory, so that what can go wrong
// outside Badger has gone wrong before Badger opens it.
func prepareDir(o Options) (*dirLock, error) {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("the data directory cannot be created: %w", err)
	}
	if err := checkSpace(o.Dir, o.ReserveBytes); err != nil {
		return nil, err
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	err = verifyDir(o.Dir, o.VerifyBytes)
	if err == nil {
		err = checkLogs(o)
	}
	if err != nil {
		lock.release()
		return nil, err
	}
	return lock, nil
}

// checkSpace returns store.ErrNoSpace if less than reserve is free in dir.
func checkSpace(dir string, reserve int64) error {
	free, err := freeBytes(dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if free < reserve {
		return fmt.Errorf("%w: %d MiB are free in %s, %d MiB are kept in reserve",
			store.ErrNoSpace, free>>20, dir, reserve>>20)
	}
	return nil
}

// openError tells damage from a system that lacks something. Badger does not
// wrap what it got from the system, so its text is all there is.
func openError(dir string, err error) error {
	for _, lack := range []error{
		syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT,
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO,
	} {
		if errors.Is(err, lack) || strings.Contains(err.Error(), lack.Error()) {
			return fmt.Errorf("opening %s: %s", dir, firstLine(err))
		}
	}
	return fmt.Errorf("%w: opening %s: %s", store.ErrCorrupt, dir, firstLine(err))
}

// firstLine returns the first line with text of an error or a panic's value.
func firstLine(v any) string {
	line, _, _ := strings.Cut(strings.TrimSpace(fmt.Sprint(v)), "\n")
	return line
}
