package sim

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/memstore"
)

var (
	errBroken = errors.New("sim: the disk reports an error")
	errPower  = errors.New("sim: the power is off")
)

// keptStates is how many of its last states a disk remembers, for a crash that
// loses what was not synced.
const keptStates = 12

// disk is a store in memory that is slow, full, broken, or gone.
//
// A commit that fails is not there, or it is there at once, or it comes late: it
// shows when the member is started again, where nothing has been written over it
// since. Once a commit has failed, the disk may fail all others until then.
type disk struct {
	store.Store
	chance chance
	// begun is called when a commit begins, and wrote in the step in which it
	// is applied, with what begun returned.
	begun func([]store.Write) any
	wrote func([]store.Write, any)
	came  func([]store.Write) // is called before a batch comes late, with all of it

	mu      sync.Mutex
	pace    time.Duration // that a commit takes at least; twice that at most
	full    bool
	failing int              // of a thousand commits
	dead    bool             // crashed
	off     chan struct{}    // closed by a crash
	states  []store.Snapshot // the last ones, oldest first
	pending []*pending
	stuck   bool     // commits fail until the member is started again
	late    []*batch // those to come, without what was written since; oldest first
	// tries counts the commits of a batch that have failed, and notes holds what
	// begun returned at the first of them, by the key of the batch.
	tries map[uint64]uint64
	notes map[uint64]any
	tally diskTally
}

// diskTally counts what became of commits.
type diskTally struct{ applied, refused, failed, unknown, late, shown, stuck int }

// pending is a commit under way.
type pending struct {
	batch *store.Batch
	key   uint64
	note  any
}

// batch is what is left of one that comes late.
type batch struct {
	whole, writes []store.Write // as it was, and what is left
	note          any
}

// newDisk returns a disk with what a snapshot holds, empty if it is nil.
func newDisk(c chance, content store.Snapshot) (*disk, error) {
	d := &disk{Store: memstore.New(), chance: c, pace: time.Millisecond, off: make(chan struct{}), tries: map[uint64]uint64{}, notes: map[uint64]any{}}
	if content != nil {
		var b store.Batch
		err := content.Scan(nil, nil, func(key, value []byte) error {
			b.Put(slices.Clone(key), slices.Clone(value))
			return nil
		})
		if err == nil {
			err = d.Store.Commit(&b)
		}
		if err != nil {
			return nil, fmt.Errorf("copying a disk: %w", err)
		}
	}
	d.states = []store.Snapshot{d.Store.Snapshot()}
	return d, nil
}

// Commit implements store.Store.
func (d *disk) Commit(b *store.Batch) error {
	if len(b.Writes()) == 0 {
		return nil
	}
	p := &pending{batch: b, key: d.key(b)}
	d.mu.Lock()
	if d.dead {
		d.mu.Unlock()
		return errPower
	}
	tries := d.tries[p.key]
	if p.note = d.notes[p.key]; tries == 0 {
		p.note = d.begun(b.Writes())
	}
	d.pending = append(d.pending, p)
	rest := d.pace + time.Duration(d.chance.draw(p.key)%uint64(d.pace))
	d.mu.Unlock()
	rest += time.Duration(time.Now().Add(rest).Nanosecond()+1) % 2 // messages arrive at even moments
	select {
	case <-time.After(rest):
	case <-d.off:
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.pending, p) {
		return errPower
	}
	d.pending = slices.DeleteFunc(d.pending, func(o *pending) bool { return o == p })
	switch {
	case d.full:
		d.tally.refused++
		return fmt.Errorf("%w: sim", store.ErrNoSpace)
	case !d.stuck && !d.chance.happens(d.failing, p.key+tries, 1):
		return d.apply(p)
	}
	d.fail(p)
	return errBroken
}

// fail decides what comes of a commit that fails. d.mu is held.
func (d *disk) fail(p *pending) {
	tries := d.tries[p.key]
	d.tries[p.key], d.notes[p.key] = tries+1, p.note
	switch {
	case d.stuck:
		d.tally.stuck++
		return
	case d.chance.happens(500, p.key+tries, 2):
		d.tally.unknown++
		_ = d.apply(p)
		return
	case d.chance.happens(500, p.key+tries, 4):
		d.tally.late++
		late := &batch{note: p.note}
		for _, w := range p.batch.Writes() {
			late.writes = append(late.writes, store.Write{Key: slices.Clone(w.Key), Value: slices.Clone(w.Value)})
		}
		late.whole = slices.Clone(late.writes)
		d.late = append(d.late, late)
	default:
		d.tally.failed++
	}
	d.stuck = d.chance.happens(400, p.key+tries, 5)
}

// restart has what comes late come, and mends what needs it. The member is down.
func (d *disk) restart() {
	d.mu.Lock()
	defer d.mu.Unlock()
	late := d.late
	d.late, d.stuck = nil, false
	for _, l := range late {
		var b store.Batch
		for _, w := range l.writes {
			if w.Value == nil {
				b.Delete(w.Key)
			} else {
				b.Put(w.Key, w.Value)
			}
		}
		d.tally.shown++
		d.came(l.whole)
		_ = d.apply(&pending{batch: &b, note: l.note})
	}
}

// doubtful says that a restart changes something.
func (d *disk) doubtful() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stuck || len(d.late) > 0
}

// key names a batch, whatever the order of its writes.
func (d *disk) key(b *store.Batch) uint64 {
	sum := uint64(len(b.Writes()))
	for _, w := range b.Writes() {
		sum += mix(text(w.Key) ^ mix(text(w.Value)))
	}
	return sum
}

func (d *disk) apply(p *pending) error {
	if err := d.Store.Commit(p.batch); err != nil {
		return err
	}
	d.tally.applied++
	d.late = slices.DeleteFunc(d.late, func(l *batch) bool {
		l.writes = slices.DeleteFunc(l.writes, func(w store.Write) bool {
			return slices.ContainsFunc(p.batch.Writes(), func(o store.Write) bool { return bytes.Equal(o.Key, w.Key) })
		})
		return len(l.writes) == 0
	})
	if d.states = append(d.states, d.Store.Snapshot()); len(d.states) > keptStates {
		d.states = d.states[1:]
	}
	d.wrote(p.batch.Writes(), p.note)
	return nil
}

// crash turns the power off: commits under way are applied or not, later ones
// fail.
func (d *disk) crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.SortFunc(d.pending, func(a, b *pending) int {
		if a.key < b.key {
			return -1
		}
		return 1
	})
	for _, p := range d.pending {
		if !d.full && d.chance.happens(500, p.key, 3) {
			_ = d.apply(p) // what does not fit is not applied
		}
	}
	d.pending, d.dead = nil, true
	close(d.off)
}

// earlier returns the state so many commits ago, or the oldest that is known.
func (d *disk) earlier(commits int) store.Snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.states[max(0, len(d.states)-1-commits)]
}

func (d *disk) set(change func(*disk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

// unwell says that commits may fail.
func (d *disk) unwell() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full || d.stuck || d.failing > 0
}

func (d *disk) isStuck() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stuck
}
