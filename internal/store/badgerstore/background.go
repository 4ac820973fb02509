package badgerstore

import (
	"errors"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"

	"github.com/atolldb/atoll/internal/store"
)

// discardRatio is the part of a value log file that must be garbage to make
// rewriting it worth while.
const discardRatio = 0.5

// clean reclaims value log files until the store is closed.
func (s *Store) clean() {
	for s.pause(s.opts.CleanInterval) {
		for s.pause(0) && s.cleanOne() {
		}
	}
}

// cleanOne rewrites one file and reports whether there may be more to do.
func (s *Store) cleanOne() (more bool) {
	if checkSpace(s.opts.Dir, s.opts.ReserveBytes) != nil {
		return false // rewriting takes space before it gives any
	}
	var err error
	func() {
		defer recovered("cleaning the value log", &err)
		err = s.db.RunValueLogGC(discardRatio)
	}()
	if err != nil && err != badger.ErrNoRewrite && err != badger.ErrRejected {
		s.opts.Logger.Error("store: cleaning the value log", "dir", s.opts.Dir, "err", err)
	}
	return err == nil
}

// verify reads all tables, again and again, until the store is closed or it has
// found damage. It begins at once unless Open has read them all.
func (s *Store) verify() {
	var bytes int64
	for _, info := range s.db.Tables() {
		bytes += int64(info.OnDiskSize)
	}
	if bytes <= s.opts.VerifyBytes && !s.pause(s.opts.VerifyInterval) {
		return
	}
	for s.verifyAll() && s.pause(s.opts.VerifyInterval) {
	}
}

// verifyAll reads the tables of now. It rests three times as long as it reads.
func (s *Store) verifyAll() (sound bool) {
	for _, info := range s.db.Tables() {
		start := time.Now()
		_, err := verifyTable(table.NewFilename(info.ID, s.opts.Dir), true)
		if err != nil && !s.hasTable(info.ID) {
			err = nil // compaction has deleted it meanwhile
		}
		if errors.Is(err, store.ErrCorrupt) {
			s.damage.Store(&err)
			s.opts.Logger.Error("store: damage found", "dir", s.opts.Dir, "err", err)
			return false
		}
		if err != nil {
			s.opts.Logger.Warn("store: a table could not be checked", "dir", s.opts.Dir, "err", err)
		}
		if !s.pause(3 * time.Since(start)) {
			return false
		}
	}
	return true
}

func (s *Store) hasTable(id uint64) bool {
	return slices.ContainsFunc(s.db.Tables(), func(info badger.TableInfo) bool { return info.ID == id })
}

// pause waits for d and reports whether the store is still open.
func (s *Store) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.stop:
		return false
	case <-timer.C:
		return true
	}
}
