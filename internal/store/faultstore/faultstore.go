package faultstore

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/atolldb/atoll/internal/store"
)

// ErrFault is the error of commits that fail.
var ErrFault = errors.New("faultstore: the disk failed")

// Fate is what becomes of a commit.
type Fate int

const (
	// Pass lets the commit through.
	Pass Fate = iota
	// Vanish fails the commit, nothing of which is applied. The caller cannot
	// tell it from Linger.
	Vanish
	// Linger fails the commit, all of which is applied.
	Linger
	// NoSpace refuses the commit for want of space.
	NoSpace
	// Late fails the commit, which is applied when the store is reopened, beneath
	// what was committed since: of a key that was written again nothing shows.
	Late
)

// Store is a store with faults. Close closes the store behind it.
type Store struct {
	behind store.Store

	mu       sync.Mutex
	onCommit func(n int, b *store.Batch) Fate
	commits  int
	hidden   map[string]bool
	broken   error
	late     []*store.Batch // oldest first
}

var _ store.Store = (*Store)(nil)

// New returns a store in front of another, with no fault armed.
func New(behind store.Store) *Store {
	return &Store{behind: behind, hidden: map[string]bool{}}
}

// OnCommit has f decide the fate of every commit that is not empty, counted
// from 1 since this call; nil lets all pass. Calls of f come one at a time.
func (s *Store) OnCommit(f func(n int, b *store.Batch) Fate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onCommit, s.commits = f, 0
}

// Rot replaces the value of a key by what change makes of it, or removes the
// key if that is nil, as a disk does that loses or changes what was written.
// It returns store.ErrNotFound if the key is absent.
func (s *Store) Rot(key []byte, change func(value []byte) []byte) error {
	snap := s.behind.Snapshot()
	defer snap.Close()
	value, err := snap.Get(key)
	if err != nil {
		return err
	}
	var b store.Batch
	if value = change(bytes.Clone(value)); value == nil {
		b.Delete(key)
	} else {
		b.Put(key, value)
	}
	return s.behind.Commit(&b)
}

// Hide makes the value of a key unreadable until the key is written or deleted.
func (s *Store) Hide(key []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hidden[string(key)] = true
}

// Break has every call answer the error from now on, as a store does that has
// found damage in its files; nil mends it.
func (s *Store) Break(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
}

// Snapshot implements store.Store.
func (s *Store) Snapshot() store.Snapshot { return &snapshot{s.behind.Snapshot(), s} }

// Commit implements store.Store.
func (s *Store) Commit(b *store.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	fate, err := s.fate(b)
	switch {
	case err != nil:
		return err
	case fate == Vanish:
		return ErrFault
	case fate == Late:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.late = append(s.late, without(b, nil))
		return ErrFault
	case fate == NoSpace:
		return fmt.Errorf("%w: faultstore is full", store.ErrNoSpace)
	}
	if err := s.behind.Commit(b); err != nil {
		return err
	}
	s.show(b)
	if fate == Linger {
		return ErrFault
	}
	return nil
}

func (s *Store) fate(b *store.Batch) (Fate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil || s.onCommit == nil || len(b.Writes()) == 0 {
		return Pass, s.broken
	}
	s.commits++
	return s.onCommit(s.commits, b), nil
}

// show ends the hiding of keys that were written, and leaves them out of what
// comes late.
func (s *Store) show(b *store.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.hidden) == 0 && len(s.late) == 0 {
		return
	}
	written := map[string]bool{}
	for _, w := range b.Writes() {
		written[string(w.Key)] = true
		delete(s.hidden, string(w.Key))
	}
	for i, late := range s.late {
		s.late[i] = without(late, written)
	}
}

// without returns a copy of a batch without some keys.
func without(b *store.Batch, keys map[string]bool) *store.Batch {
	left := &store.Batch{}
	for _, w := range b.Writes() {
		switch {
		case keys[string(w.Key)]:
		case w.Value == nil:
			left.Delete(bytes.Clone(w.Key))
		default:
			left.Put(bytes.Clone(w.Key), bytes.Clone(w.Value))
		}
	}
	return left
}

// Reopen does what closing a store and opening it again does: what was to come
// late comes.
func (s *Store) Reopen() error {
	s.mu.Lock()
	late := s.late
	s.late = nil
	s.mu.Unlock()
	for _, b := range late {
		if err := s.behind.Commit(b); err != nil {
			return err
		}
	}
	return nil
}

// Close implements store.Store.
func (s *Store) Close() error { return s.behind.Close() }

type snapshot struct {
	store.Snapshot
	store *Store
}

// fault returns why the key cannot be read.
func (s *snapshot) fault(key []byte) error {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	switch {
	case s.store.broken != nil:
		return s.store.broken
	case s.store.hidden[string(key)]:
		return &store.UnreadableError{Key: bytes.Clone(key)}
	}
	return nil
}

func (s *snapshot) Get(key []byte) ([]byte, error) {
	if err := s.fault(key); err != nil {
		return nil, err
	}
	return s.Snapshot.Get(key)
}

func (s *snapshot) Scan(lo, hi []byte, visit func(key, value []byte) error) error {
	if err := s.fault(nil); err != nil {
		return err
	}
	return s.Snapshot.Scan(lo, hi, func(key, value []byte) error {
		if err := s.fault(key); err != nil {
			return err
		}
		return visit(key, value)
	})
}
