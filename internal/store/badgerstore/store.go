package badgerstore

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/atolldb/atoll/internal/store"
)

// valueThreshold is the length from which Badger keeps a value in its value log
// instead of the tree: the largest it allows. It must never be lowered: readers
// take a shorter value for one that is not in the value log.
const valueThreshold = 1 << 20

// Store is a store.Store on disk.
type Store struct {
	opts Options
	db   *badger.DB
	lock *dirLock
	gate *gate

	// The queue of batches that wait for the leader, see commit.go.
	queueMu sync.Mutex
	queue   []*pending
	leader  chan struct{}         // holds one token while somebody leads
	failed  atomic.Pointer[error] // why commits are refused for good; set by the leader

	// The view of the last commit that succeeded, see snapshot.go.
	viewMu sync.Mutex
	view   *view

	damage atomic.Pointer[error] // what the background check found
	used   atomic.Int64          // bytes that the directory takes, see usage.go

	stop       chan struct{} // ends the background tasks
	background sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// Open opens the store in o.Dir, or creates it. Errors: store.ErrInUse,
// store.ErrCorrupt, store.ErrNoSpace, or one that says what is wrong with the
// options or the directory.
func Open(o Options) (*Store, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	lock, err := prepareDir(o)
	if err != nil {
		return nil, err
	}
	db, err := openBadger(o)
	if err != nil {
		lock.release()
		return nil, err
	}
	s := &Store{
		opts:   o,
		db:     db,
		lock:   lock,
		gate:   newGate(),
		leader: make(chan struct{}, 1),
		stop:   make(chan struct{}),
	}
	s.publish()
	s.used.Store(dirBytes(o.Dir))
	s.background.Go(s.clean)
	s.background.Go(s.verify)
	s.background.Go(s.measure)
	return s, nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	if !s.gate.close() {
		return nil
	}
	close(s.stop)
	s.background.Wait()
	err := s.db.Close()
	if e := s.lock.release(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("closing %s: %w", s.opts.Dir, err)
	}
	return nil
}

// openBadger opens the database in a directory that is prepared and locked.
func openBadger(o Options) (db *badger.DB, err error) {
	defer recovered("opening "+o.Dir, &err)
	log := bridge{o.Logger, new(atomic.Bool)}
	db, err = badger.Open(badgerOptions(o).WithLogger(log))
	if err != nil {
		return nil, openError(o.Dir, err)
	}
	log.opened.Store(true)
	return db, nil
}

// badgerOptions says why each setting differs from Badger's default.
func badgerOptions(o Options) badger.Options {
	b := badger.DefaultOptions(o.Dir)
	b.SyncWrites = o.Durability == Fsync
	b.BypassLockGuard = lockHeld // by dirLock, the same flock on the same directory

	// Each key has one writer, and nobody reads the past.
	b.DetectConflicts = false
	b.NumVersionsToKeep = 1
	b.MetricsEnabled = false

	// One transaction takes 15 % of this, the largest batch 8.5 MiB.
	b.MemTableSize = o.MemtableBytes
	b.NumMemtables = 1 // that wait to become tables, beside the one in use and the one in work
	b.NumCompactors = 2

	// Tables are read in place, from the page cache: no decompression, no
	// second cache. With Snappy they take half the space and a get takes 1.3
	// (all blocks cached) to 2 times as long.
	b.Compression = options.None
	b.BlockCacheSize = 0

	// The engine looks for many keys that are absent. Against Badger's 0.01
	// this costs 5 bits per key and nearly halves the time of such a get.
	b.BloomFalsePositive = 0.001

	// verify.go checks the tables. Badger would check each block it reads, and
	// take a damaged one for the end of the table.
	b.ChecksumVerificationMode = options.NoVerification

	// The value log holds only the few values that are too large for the tree,
	// so small files of it can be reclaimed early. It is mapped at twice its
	// size, as a sparse file.
	b.ValueThreshold = valueThreshold
	b.ValueLogFileSize = 64 << 20
	b.VerifyValueChecksum = true
	return b
}

// begin starts a call of the store or a snapshot. If it returns nil, the caller
// owes a gate.leave.
func (s *Store) begin() error {
	if !s.gate.enter() {
		return store.ErrClosed
	}
	if damage := s.damage.Load(); damage != nil {
		s.gate.leave()
		return *damage
	}
	return nil
}

// recovered, deferred, turns a panic of Badger into store.ErrCorrupt.
func recovered(doing string, err *error) {
	if r := recover(); r != nil {
		*err = panicError(doing, r)
	}
}

func panicError(doing string, r any) error {
	return fmt.Errorf("%w: %s: %s", store.ErrCorrupt, doing, firstLine(r))
}
