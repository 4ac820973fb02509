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
	// table; its log on disk is a sparse file of twice the size. An idle store
	// takes 2 MiB of memory. One that is written as fast as it can takes up to
	// ten times MemtableBytes from Go's heap (six under a GOMEMLIMIT), besides
	// the mapped files, whose pages the system takes back when it needs them.
	// At least 60 MiB, which the largest batch needs. Default 64 MiB.
	MemtableBytes int64

	// ReserveBytes is the free space of the file system under which Open and
	// Commit refuse to write (store.ErrNoSpace): Badger writes through memory
	// maps, where a full disk kills the process, and compaction needs room for
	// new tables before it deletes the old. Default 512 MiB.
	ReserveBytes int64

	// VerifyBytes is how much of the tables, newest first, Open reads to check
	// every block. Of the rest it checks the indexes; the background task reads
	// it soon after. A GiB takes about half a second if it is in the page
	// cache. Negative: none. Default 1 GiB.
	VerifyBytes int64

	// VerifyInterval is the time between two readings of all tables in the
	// background. Damage makes the store answer store.ErrCorrupt to everything:
	// Badger would take what it cannot read for absent. Default 24 hours.
	VerifyInterval time.Duration

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
	setDefault(&o.ReserveBytes, 512<<20)
	setDefault(&o.VerifyBytes, 1<<30)
	setDefault(&o.VerifyInterval, 24*time.Hour)
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
	case o.VerifyInterval < 0:
		return fmt.Errorf("badgerstore: VerifyInterval is %v: it must not be negative", o.VerifyInterval)
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
