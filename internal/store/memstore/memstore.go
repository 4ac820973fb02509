package memstore

import (
	"bytes"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/atolldb/atoll/internal/store"
)

// Store is a store.Store in memory.
type Store struct {
	seed   maphash.Seed
	commit sync.Mutex // one commit at a time
	state  atomic.Pointer[state]
}

// state is all that changes, swapped as a whole.
type state struct {
	root   *node
	closed bool
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	s := &Store{seed: maphash.MakeSeed()}
	s.state.Store(&state{})
	return s
}

// Snapshot implements store.Store in constant time.
func (s *Store) Snapshot() store.Snapshot {
	return &snapshot{store: s, root: s.state.Load().root}
}

// Commit implements store.Store. It copies the batch's keys and values.
func (s *Store) Commit(b *store.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	s.commit.Lock()
	defer s.commit.Unlock()
	now := s.state.Load()
	if now.closed {
		return store.ErrClosed
	}
	root := now.root
	for _, w := range b.Writes() {
		if w.Value == nil {
			root = root.remove(w.Key)
		} else {
			root = root.put(s.seed, bytes.Clone(w.Key), bytes.Clone(w.Value))
		}
	}
	s.state.Store(&state{root: root})
	return nil
}

// Close implements store.Store and forgets everything. Unlike a store on disk
// it has nothing to wait for: a scan in progress ends undisturbed.
func (s *Store) Close() error {
	s.commit.Lock()
	defer s.commit.Unlock()
	s.state.Store(&state{closed: true})
	return nil
}

type snapshot struct {
	store *Store
	root  *node
}

func (s *snapshot) Get(key []byte) ([]byte, error) {
	if s.unusable() {
		return nil, store.ErrClosed
	}
	n := s.root.get(key)
	if n == nil {
		return nil, store.ErrNotFound
	}
	return n.value, nil
}

func (s *snapshot) Scan(lo, hi []byte, visit func(key, value []byte) error) error {
	if s.unusable() {
		return store.ErrClosed
	}
	return s.root.scan(lo, hi, visit)
}

func (s *snapshot) Close() { s.store, s.root = nil, nil }

func (s *snapshot) unusable() bool { return s.store == nil || s.store.state.Load().closed }
