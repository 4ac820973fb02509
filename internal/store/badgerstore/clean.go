package badgerstore

import (
	"time"

	"github.com/dgraph-io/badger/v4"
)

// discardRatio is the part of a value log file that must be garbage to make
// rewriting it worth while.
const discardRatio = 0.5

// clean reclaims value log files until the store is closed.
func (s *Store) clean() {
	ticker := time.NewTicker(s.opts.CleanInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
			for s.cleanOne() {
			}
		}
	}
}

// cleanOne rewrites one file and reports whether there may be more to do.
func (s *Store) cleanOne() (more bool) {
	select {
	case <-s.stop:
		return false
	default:
	}
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
