package replica

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/atolldb/atoll/internal/store"
)

// Format is the version of the layout on disk, and OldestFormat the oldest that is
// brought to it.
const (
	Format       = 3
	OldestFormat = 2
)

// ErrForeign says that the data on disk belongs to another cluster or member,
// or was written with other settings that cannot change.
var ErrForeign = errors.New("the data directory does not fit")

// identity is what a data directory was made for. It is kept as JSON under
// the key "c".
type identity struct {
	Format  int    `json:"format"`
	Cluster string `json:"cluster"`
	Member  string `json:"member"`
	Region  string `json:"region"`
	Shards  int    `json:"shards"`
	// Volatile says of the last run that what it had written may be lost.
	Volatile bool `json:"volatile,omitempty"`
	// Place is where the last run found the data. A copy lies elsewhere.
	Place string `json:"place,omitempty"`
	// Starts counts the starts of the member, and more where data was restored.
	Starts uint64 `json:"starts"`
	// Scrubbed is when all was last compared with its digests, in milliseconds.
	// There is nothing to compare at first.
	Scrubbed int64 `json:"scrubbed"`
	// Digest is that of a fixed entry: it tells another digest key.
	Digest string `json:"digest"`
	// Upgraded is how far an upgrade has come that is not finished: the key of an
	// entry, in hexadecimal, below which all is done.
	Upgraded string `json:"upgraded,omitempty"`
}

// MadeFor returns the cluster's name and number of shards that a store was made
// for, nothing if it is empty.
func MadeFor(s store.Store) (cluster string, shards int, err error) {
	snap := s.Snapshot()
	defer snap.Close()
	found, err := readIdentity(snap)
	return found.Cluster, found.Shards, err
}

// readIdentity reads what a store says of whose it is, nothing if it is empty.
func readIdentity(snap store.Snapshot) (found identity, err error) {
	value, err := snap.Get([]byte("c"))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return found, nil
	case err != nil:
		return found, err
	}
	if err := json.Unmarshal(value, &found); err != nil {
		return found, fmt.Errorf("%w: identity: %w", store.ErrCorrupt, err)
	}
	return found, nil
}

// claim checks whether the store was made for this member, and returns what it
// says of itself, nothing if it is empty, and what it is to say from now on.
func (r *Replica) claim() (found, mine identity, err error) {
	o := r.options
	r.cluster = r.hasher.Entry(fmt.Sprintf("cluster %s %d", o.Cluster, o.Shards), nil).Low
	mine = identity{
		Format: Format, Cluster: o.Cluster, Member: o.Member, Region: o.Region, Shards: o.Shards,
		Digest: r.hasher.Entry("identity", nil).String(), Volatile: o.Volatile, Scrubbed: o.Now().UnixMilli(), Starts: uint64(max(1, o.Now().UnixMilli())),
	}
	if mine.Place, err = o.Place(false); err != nil {
		return found, mine, err
	}
	snap := r.store.Snapshot()
	defer snap.Close()
	if found, err = readIdentity(snap); err != nil || found == (identity{}) {
		return found, mine, err
	}
	mine.Scrubbed, mine.Starts = found.Scrubbed, max(found.Starts+1, mine.Starts)
	return found, mine, found.accept(mine)
}

// settle ends the actors of copies that may have lost events, or that others
// may go on with, and then writes down whose the store is, and where. The order
// matters: a crash in between ends them once more.
//
// Data that lies elsewhere than the last run left it was copied: it may be a
// backup, which lacks what was written since, or the other copy may be running
// still. Either way nobody may write under its actors again. So that a backup
// that is put back in place is told from what it replaces, the place is another
// after each start.
func (r *Replica) settle(found, mine identity) (err error) {
	moved := found.Format != 0 && found.Place != mine.Place
	if moved {
		r.log.Warn("the data was copied or restored since the member last ran; it goes on under new actors")
	}
	var b store.Batch
	if found.Volatile || mine.Volatile || moved {
		for _, s := range r.shards {
			if s.actor == 0 {
				continue
			}
			b.Put(vectorKey(s.index), s.encode(0, s.heard, s.root))
			s.set(0, s.heard, s.root)
			if b.Bytes() < maxGroupSize {
				continue
			}
			if err := r.store.Commit(&b); err != nil {
				return err
			}
			b.Reset()
		}
	}
	if mine.Place, err = r.options.Place(true); err != nil {
		return err
	}
	r.identity = mine
	r.keeper.state.LastMs = mine.Scrubbed
	if found != mine {
		value, err := json.Marshal(mine)
		if err != nil {
			return err
		}
		b.Put([]byte("c"), value)
	}
	if len(b.Writes()) == 0 {
		return nil
	}
	return r.store.Commit(&b)
}

// accept says whether a directory made for found can be opened as mine.
func (found identity) accept(mine identity) error {
	differ := func(what string, was, is any) error {
		return fmt.Errorf("%w: it was made for %s %v, not %v; start with that, or use an empty directory", ErrForeign, what, was, is)
	}
	switch {
	case found.Format == unfinished:
		return fmt.Errorf("%w: a restore into it was not finished; empty it and restore again", ErrForeign)
	case found.Format > Format:
		return fmt.Errorf("%w: it was written by a newer Atoll, format %d; this one reads %d and %d: start the newer one, or use an empty directory", ErrForeign, found.Format, OldestFormat, Format)
	case found.Format < OldestFormat && found.Format != upgrading:
		return fmt.Errorf("%w: format %d is too old; this Atoll reads %d and %d: use an empty directory, which takes over what other members have", ErrForeign, found.Format, OldestFormat, Format)
	case found.Cluster != mine.Cluster:
		return differ("the cluster", found.Cluster, mine.Cluster)
	case found.Member != mine.Member:
		return differ("the member", found.Member, mine.Member)
	case found.Region != mine.Region:
		return differ("the region", found.Region, mine.Region)
	case found.Shards != mine.Shards:
		return fmt.Errorf("%w: it was made for %d shards, not %d; start with that, or use an empty directory", ErrForeign, found.Shards, mine.Shards)
	case found.Digest != mine.Digest:
		return fmt.Errorf("%w: it was made with another cluster secret; start with that, or use an empty directory", ErrForeign)
	}
	return nil
}

// maxNamesakes bounds for how many of them actors are ended.
const maxNamesakes = 16

// namesakes are the processes that were met under this member's name.
type namesakes struct {
	mu  sync.Mutex
	met map[uint64]bool
}

// part ends all actors when a namesake is met for the first time: it may run on
// a copy of the same data. It does the same, and from then on no two write under
// one actor.
func (r *Replica) part(from uint64) {
	n := &r.namesakes
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.met == nil {
		n.met = map[uint64]bool{}
	}
	if n.met[from] || len(n.met) >= maxNamesakes {
		return
	}
	n.met[from] = true
	r.tasksWG.Go(func() {
		for _, s := range r.shards {
			end := func(l *loop) error {
				g := l.newGroup()
				if s.actor != 0 {
					g.change(s).become(0)
				}
				return g.commitOne(s)
			}
			if err := r.submitAndWait(r.tasks, task{shard: s, alone: end}); err != nil {
				r.log.Error("an actor could not be ended", "shard", s.index, "error", err)
			}
		}
	})
}
