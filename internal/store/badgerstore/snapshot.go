package badgerstore

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/atolldb/atoll/internal/store"
)

// view is a read transaction shared by all snapshots of one commit. Badger lets
// a new read transaction wait for the commits in progress, and so for their
// syncs; a shared one, begun when no commit was in progress, waits for nobody.
// Reading a read-only transaction from several goroutines is safe.
type view struct {
	txn  *badger.Txn
	refs int // snapshots, and the store for its current view; guarded by Store.viewMu
}

// publish makes the latest commit visible. The caller is the leader, or Open.
func (s *Store) publish() {
	next := &view{txn: s.db.NewTransaction(false), refs: 1}
	s.viewMu.Lock()
	last := s.view
	s.view = next
	s.viewMu.Unlock()
	if last != nil {
		s.release(last)
	}
}

func (s *Store) release(v *view) {
	s.viewMu.Lock()
	v.refs--
	unused := v.refs == 0
	s.viewMu.Unlock()
	if unused {
		v.txn.Discard()
	}
}

// Snapshot implements store.Store. It waits for no commit.
func (s *Store) Snapshot() store.Snapshot {
	s.viewMu.Lock()
	defer s.viewMu.Unlock()
	s.view.refs++
	return &snapshot{store: s, view: s.view}
}

type snapshot struct {
	store *Store
	view  *view // nil once closed
}

// Get implements store.Snapshot.
func (s *snapshot) Get(key []byte) (value []byte, err error) {
	if s.view == nil {
		return nil, store.ErrClosed
	}
	if err := s.store.begin(); err != nil {
		return nil, err
	}
	defer s.store.gate.leave()
	defer recovered("get", &err)
	if len(key) == 0 {
		return nil, store.ErrNotFound
	}
	// The value log's cleaner may move the value between the look into the tree
	// and the look into the log; then the tree knows the new place.
	for range 3 {
		item, err := s.view.txn.Get(key)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil, store.ErrNotFound
		}
		if err != nil {
			return nil, fmt.Errorf("get: %w", err)
		}
		if value, ok := valueOf(item); ok {
			return value, nil
		}
	}
	return nil, &store.UnreadableError{Key: bytes.Clone(key)}
}

// valueOf returns the item's value, never nil, or false if the value log does
// not have it or has something else. It copies only what lies in the value log:
// anything else is the item's own copy already.
func valueOf(item *badger.Item) ([]byte, bool) {
	var value []byte
	err := item.Value(func(v []byte) error {
		if value = v; len(v) >= valueThreshold {
			value = bytes.Clone(v)
		}
		return nil
	})
	if err != nil || unreadable(item, value) {
		return nil, false
	}
	if value == nil {
		return []byte{}, true
	}
	return value, true
}

// unreadable reports whether value is not that of the item: what Badger cannot
// read from the value log, it logs and returns as nothing.
func unreadable(item *badger.Item, value []byte) bool {
	return len(value) == 0 && item.ValueSize() != 0
}

// Scan implements store.Snapshot.
func (s *snapshot) Scan(lo, hi []byte, visit func(key, value []byte) error) (err error) {
	if s.view == nil {
		return store.ErrClosed
	}
	if err := s.store.begin(); err != nil {
		return err
	}
	defer s.store.gate.leave()
	visiting := false
	defer func() {
		if visiting {
			return // a panic of visit is the caller's
		}
		if r := recover(); r != nil {
			err = panicError("scan", r)
		}
	}()
	it := s.view.txn.NewIterator(badger.IteratorOptions{Prefix: commonPrefix(lo, hi)})
	defer it.Close()
	var item *badger.Item
	readable := false
	each := func(value []byte) error {
		if readable = !unreadable(item, value); !readable {
			return nil
		}
		visiting = true
		err := visit(item.Key(), value)
		visiting = false
		return err
	}
	for it.Seek(lo); it.Valid(); it.Next() {
		item = it.Item()
		if hi != nil && bytes.Compare(item.Key(), hi) >= 0 {
			return nil
		}
		readable = false
		err := item.Value(each)
		if !readable {
			return &store.UnreadableError{Key: item.KeyCopy(nil)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// commonPrefix returns what every key in [lo, hi) starts with, which saves the
// iterator from looking at tables without it.
func commonPrefix(lo, hi []byte) []byte {
	n := 0
	for n < len(lo) && n < len(hi) && lo[n] == hi[n] {
		n++
	}
	return lo[:n]
}

// Close implements store.Snapshot.
func (s *snapshot) Close() {
	if s.view == nil {
		return
	}
	v := s.view
	s.view = nil
	if s.store.gate.enter() { // else Badger is gone, with all its transactions
		s.store.release(v)
		s.store.gate.leave()
	}
}
