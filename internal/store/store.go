package store

import (
	"bytes"
	"errors"
	"fmt"
)

var (
	// ErrNotFound says that a key is absent.
	ErrNotFound = errors.New("key not found")
	// ErrClosed says that the store was closed by its owner.
	ErrClosed = errors.New("closed")
	// ErrInUse says that another process holds the data directory.
	ErrInUse = errors.New("data directory is in use by another process")
	// ErrCorrupt says that the data on disk cannot be read.
	ErrCorrupt = errors.New("data on disk is damaged")
	// ErrTooLarge says that a batch exceeds MaxKeyBytes, MaxBatchBytes or
	// MaxBatchWrites. Nothing of it was applied.
	ErrTooLarge = errors.New("batch too large")
	// ErrBadKey says that a key is empty or starts with ReservedPrefix.
	// Nothing of its batch was applied.
	ErrBadKey = errors.New("key not allowed")
	// ErrNoSpace says that the disk is too full to write. Nothing of the batch
	// was applied; reads go on, and so do commits once there is space again.
	ErrNoSpace = errors.New("not enough disk space")
)

// UnreadableError is ErrCorrupt of one value. What is beside it can be read,
// and the key can be written or deleted.
type UnreadableError struct {
	// Key belongs to the one who gets the error.
	Key []byte
}

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("%v: the value of %.40q cannot be read", ErrCorrupt, e.Key)
}

// Is makes it an ErrCorrupt.
func (e *UnreadableError) Is(target error) bool { return target == ErrCorrupt }

// Bounds: every store accepts what is equal to them and refuses what is above.
const (
	MaxKeyBytes    = 60_000
	MaxBatchBytes  = 8 << 20 // sum of all keys and values
	MaxBatchWrites = 40_000
)

// ReservedPrefix starts the keys that belong to the store itself.
const ReservedPrefix = "!badger!"

// Store is an ordered map of byte strings on disk. Its methods may be called
// concurrently.
type Store interface {
	// Snapshot returns the state as of now: everything committed before the
	// call, nothing of what comes later. The caller closes it.
	Snapshot() Snapshot

	// Commit applies all of the batch or nothing, and returns once it is as
	// durable as the store was opened to make it. An empty batch does nothing.
	// After an error other than ErrTooLarge, ErrBadKey, ErrNoSpace and
	// ErrClosed it is not known whether the batch was applied: snapshots may show
	// it at once, or when the store is opened again, beneath what was committed
	// since, or never. It is applied once a commit of the same batch succeeds.
	// The batch may be reused afterwards.
	Commit(*Batch) error

	// Close waits for calls in progress, flushes and releases the store. Every
	// later call, of the store and of its snapshots, answers ErrClosed; a
	// second Close returns nil.
	Close() error
}

// Snapshot is a frozen view of a store. It may be used by one goroutine at a time.
type Snapshot interface {
	// Get returns the value of key, or ErrNotFound, or an UnreadableError. The
	// value is valid until Close and must not be changed.
	Get(key []byte) ([]byte, error)

	// Scan visits the keys in [lo, hi) in ascending order; a nil hi has no
	// end. Key and value are valid during the call of visit only. It stops at
	// the first error of visit and returns it as it is, and at a value that it
	// cannot read, with an UnreadableError. Visit may read the snapshot.
	Scan(lo, hi []byte, visit func(key, value []byte) error) error

	// Close releases the snapshot; it may be called more than once.
	Close()
}

// Batch collects writes. A later write of a key replaces an earlier one. The
// zero value is empty and ready. It keeps the slices it is given, which must
// not be changed until the batch was committed or reset.
type Batch struct {
	writes []Write
	bytes  int
}

// Write is one change of a batch: Value nil deletes Key.
type Write struct{ Key, Value []byte }

// Put sets key to value; a nil value is stored as an empty one.
func (b *Batch) Put(key, value []byte) {
	if value == nil {
		value = []byte{}
	}
	b.add(Write{key, value})
}

// Delete removes key, present or not.
func (b *Batch) Delete(key []byte) { b.add(Write{key, nil}) }

func (b *Batch) add(w Write) {
	b.writes = append(b.writes, w)
	b.bytes += len(w.Key) + len(w.Value)
}

// Writes returns the changes in the order made. The slice is the batch's own.
func (b *Batch) Writes() []Write { return b.writes }

// Bytes returns the sum of the lengths of all keys and values.
func (b *Batch) Bytes() int { return b.bytes }

// Truncate takes back all but the first n writes.
func (b *Batch) Truncate(n int) {
	for _, w := range b.writes[n:] {
		b.bytes -= len(w.Key) + len(w.Value)
	}
	b.writes = b.writes[:n]
}

// Reset empties the batch for reuse.
func (b *Batch) Reset() {
	clear(b.writes) // let go of the keys and values
	b.writes, b.bytes = b.writes[:0], 0
}

// Check returns ErrTooLarge or ErrBadKey, with the numbers, if the batch is not
// one that a store accepts.
func (b *Batch) Check() error {
	if len(b.writes) > MaxBatchWrites {
		return fmt.Errorf("%w: %d writes, at most %d", ErrTooLarge, len(b.writes), MaxBatchWrites)
	}
	if b.bytes > MaxBatchBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, b.bytes, MaxBatchBytes)
	}
	for _, w := range b.writes {
		switch {
		case len(w.Key) == 0:
			return fmt.Errorf("%w: it is empty", ErrBadKey)
		case len(w.Key) > MaxKeyBytes:
			return fmt.Errorf("%w: a key of %d bytes, at most %d", ErrTooLarge, len(w.Key), MaxKeyBytes)
		case bytes.HasPrefix(w.Key, []byte(ReservedPrefix)):
			return fmt.Errorf("%w: %q is reserved", ErrBadKey, ReservedPrefix)
		}
	}
	return nil
}
