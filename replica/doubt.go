package replica

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atolldb/atoll/internal/store"
)

// What is on disk after a commit has failed?
//
// Nobody knows. The batch may be there, or not, or show up when the store is opened
// again, beneath what was committed since: then there would be entries of events
// that were never heard, or, if the actor had gone on, two events of one dot. A
// new actor prevents only the second. So the loop commits the same batch again,
// before anything else of its shards, until that succeeds: it is there then,
// whatever had become of it. Meanwhile reads show what the store does, and writes
// are refused. A restart instead has nothing to make sure of: what is on disk is
// all of the batch or nothing, and nothing is on top of it.

// doubt is a batch of which it is not known whether it is on disk.
type doubt struct {
	batch  store.Batch
	shards []*shard // that it changes
	err    error    // of its last commit; nil if there is no doubt
}

// commit writes a batch that changes some shards of the loop. All that the loop
// writes goes through here, but for what a copy is.
func (l *loop) commit(b *store.Batch, shards ...*shard) error {
	if err := l.doubtful(); err != nil {
		return err
	}
	err := l.replica.store.Commit(b)
	if isDoubtful(err) {
		l.doubt = doubt{*b, shards, err}
		*b = store.Batch{}
		l.retryLater()
	}
	return err
}

// doubtful returns why nothing may be written now, if so.
func (l *loop) doubtful() error {
	if l.doubt.err == nil {
		return nil
	}
	return fmt.Errorf("a commit failed and has to be repeated first: %w", l.doubt.err)
}

// isDoubtful says whether a commit that ended so may have written its batch.
func isDoubtful(err error) bool {
	certain := []error{store.ErrTooLarge, store.ErrBadKey, store.ErrNoSpace, store.ErrClosed}
	return err != nil && !slices.ContainsFunc(certain, func(is error) bool { return errors.Is(err, is) })
}

// makeSure repeats the commit that has failed, if there is one. If it fails again
// nothing can be written.
func (l *loop) makeSure() {
	if l.doubt.err == nil {
		return
	}
	shards := l.doubt.shards
	err := l.replica.store.Commit(&l.doubt.batch)
	if err == nil {
		l.doubt = doubt{}
	} else {
		l.doubt.err = err
		l.retryLater()
	}
	for _, s := range shards {
		l.reload(s) // also if it failed: it may be there now
		if err == nil {
			l.drain(s)
		}
	}
}

// recall makes sure that a copy is on disk what it is in memory, after it failed to
// be declared something else.
func (l *loop) recall(s *shard, err error) {
	if isDoubtful(err) {
		l.doubt.batch = declaration(role(s.role.Load()), s)
		l.doubt.err = err
		l.retryLater()
	}
}

// reload returns a shard to what is on disk.
func (l *loop) reload(s *shard) {
	r := l.replica
	snap := r.store.Snapshot()
	defer snap.Close()
	err := r.loadShard(s, snap)
	if err == nil && s.is(hinted) {
		err = s.weighHints(snap)
	}
	if err != nil {
		r.log.Error("a shard could not be read again", "shard", s.index, "error", err)
	}
	s.recorded = -1
}

// retryLater has the loop try again what failed, also if it is given nothing to do.
func (l *loop) retryLater() {
	if l.retry == nil {
		l.retry = time.After(retryPause)
	}
}
