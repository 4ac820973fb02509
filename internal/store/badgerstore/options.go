package badgerstore

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Durability says what a commit waits for.
type Durability string

const (
	// Fsync: a commit is on the disk when it returns, and survives the loss of
	// power.
	Fsync Durability = "fsync"
	// OS: a commit is in the operating system's memory when it returns. It
	// survives the death of the process. The loss of power may take back
	// commits, and not only the last ones.
	OS Durability = "os"
)

const minMemtableBytes = 60 << 20

// Options configure Open. Only Dir is required.
type Options struct {
	// Dir holds all files. It is created if it does not exist.
	Dir string

	// Durability of commits: Fsync or OS. Default Fsync.
	Durability Durability

	// Logger receives what Badger and the background tasks have to tell; the
	// routine part at level Debug. Default: nothing is logged.
	Logger *slog.Logger

	// MemtableBytes is how much is collected in memory before it becomes a
	// table. A store takes up to three times as much memory plus a half under
	// heavy writing, and one log file of twice this size (sparse). At least
	// 60 MiB, which the largest batch needs. Default 64 MiB.
	MemtableBytes int64

	// ReserveBytes is the free space of the file system under which Open and
	// Commit refuse to write (store.ErrNoSpace): Badger writes through memory
	// maps, where a full disk kills the process. Default 256 MiB.
	ReserveBytes int64

	// CleanInterval is the time between two attempts to reclaim the space of
	// large values that were replaced or deleted. Default 10 minutes.
	CleanInterval time.Duration
}

// validate fills in the defaults and reports what makes no sense.
func (o *Options) validate() error {
	if o.Dir == "" {
		return errors.New("badgerstore: Dir is empty: name the data directory")
	}
	setDefault(&o.Durability, Fsync)
	setDefault(&o.MemtableBytes, 64<<20)
	setDefault(&o.ReserveBytes, 256<<20)
	setDefault(&o.CleanInterval, 10*time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.Durability != Fsync && o.Durability != OS:
		return fmt.Errorf("badgerstore: Durability is %q: it must be %q or %q", o.Durability, Fsync, OS)
	case o.MemtableBytes < minMemtableBytes || o.MemtableBytes > 1<<30:
		return fmt.Errorf("badgerstore: MemtableBytes is %d: it must be between %d and %d", o.MemtableBytes, minMemtableBytes, 1<<30)
	case o.ReserveBytes < 0:
		return fmt.Errorf("badgerstore: ReserveBytes is %d: it must not be negative", o.ReserveBytes)
	case o.CleanInterval < 0:
		return fmt.Errorf("badgerstore: CleanInterval is %v: it must not be negative", o.CleanInterval)
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
