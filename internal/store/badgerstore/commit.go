package badgerstore

import (
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/atolldb/atoll/internal/store"
)

// pending is a batch that waits in the queue.
type pending struct {
	batch *store.Batch
	done  chan error // receives the result; one place, so the leader never waits
}

// Commit implements store.Store.
//
// Badger syncs its log once per transaction, also when several wait. So the
// batches that wait are merged here: whoever finds no leader leads, takes what
// is in the queue up to the bounds of one batch and commits it as one
// transaction, with one sync.
func (s *Store) Commit(b *store.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.gate.leave()
	if len(b.Writes()) == 0 {
		return nil
	}
	p := &pending{batch: b, done: make(chan error, 1)}
	s.queueMu.Lock()
	s.queue = append(s.queue, p)
	s.queueMu.Unlock()

	select {
	case err := <-p.done:
		return err
	case s.leader <- struct{}{}:
	}
	defer func() { <-s.leader }()
	for {
		select {
		case err := <-p.done:
			return err
		default:
		}
		group := s.takeGroup()
		err := s.commitGroup(group)
		for _, member := range group {
			member.done <- err
		}
	}
}

// takeGroup removes from the front of the queue what fits into one batch, at
// least one.
func (s *Store) takeGroup() []*pending {
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	n, writes, bytes := 0, 0, 0
	for _, p := range s.queue {
		writes += len(p.batch.Writes())
		bytes += p.batch.Bytes()
		if writes > store.MaxBatchWrites || bytes > store.MaxBatchBytes {
			break
		}
		n++
	}
	group := s.queue[:n:n]
	s.queue = s.queue[n:]
	return group
}

// commitGroup writes the batches of a group in one transaction and lets
// snapshots see it. Only the leader calls it.
func (s *Store) commitGroup(group []*pending) error {
	if failed := s.failed.Load(); failed != nil {
		return fmt.Errorf("no commits since one failed: close the store and open it again: %w", *failed)
	}
	if err := checkSpace(s.opts.Dir, s.opts.ReserveBytes); err != nil {
		return err
	}
	if err := s.write(group); err != nil {
		// What is in memory and what is on disk may differ now, and a sync that
		// failed once may succeed the next time without having written. So
		// nothing is built on top of it; snapshots stay at the last good commit.
		s.failed.Store(&err)
		return fmt.Errorf("commit: %w", err)
	}
	s.publish()
	return nil
}

func (s *Store) write(group []*pending) (err error) {
	defer recovered("commit", &err)
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	for _, p := range group {
		for _, w := range p.batch.Writes() {
			if w.Value == nil {
				err = txn.Delete(w.Key)
			} else {
				err = txn.SetEntry(&badger.Entry{Key: w.Key, Value: w.Value})
			}
			if err != nil {
				return err
			}
		}
	}
	return txn.Commit()
}
