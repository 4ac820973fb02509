package replica

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/atolldb/atoll/internal/store"
)

// formatVersion is the version of the layout on disk.
const formatVersion = 2

// ErrForeign says that the data on disk belongs to another cluster or member,
// or was written with other settings that cannot change.
var ErrForeign = errors.New("replica: the data directory does not fit")

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
	// Digest is that of a fixed entry: it tells another digest key.
	Digest string `json:"digest"`
}

// claim checks whether the store was made for this member, and returns what it
// says of itself, nothing if it is empty, and what it is to say from now on.
func (r *Replica) claim() (found, mine identity, err error) {
	o := r.options
	r.cluster = r.hasher.Entry(fmt.Sprintf("cluster %s %d", o.Cluster, o.Shards), nil).Low
	mine = identity{
		Format: formatVersion, Cluster: o.Cluster, Member: o.Member, Region: o.Region, Shards: o.Shards,
		Digest: r.hasher.Entry("identity", nil).String(), Volatile: o.Volatile,
	}
	snap := r.store.Snapshot()
	defer snap.Close()
	value, err := snap.Get([]byte("c"))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return found, mine, nil
	case err != nil:
		return found, mine, err
	}
	if err := json.Unmarshal(value, &found); err != nil {
		return found, mine, fmt.Errorf("%w: identity: %w", store.ErrCorrupt, err)
	}
	return found, mine, found.accept(mine)
}

// settle ends the actors of copies that may have lost events, and then writes
// down whose the store is. The order matters: a crash in between ends them
// once more.
func (r *Replica) settle(found, mine identity) error {
	var b store.Batch
	if found.Volatile || mine.Volatile {
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
	case found.Format != mine.Format:
		return fmt.Errorf("%w: it has format %d, this program reads format %d", ErrForeign, found.Format, mine.Format)
	case found.Cluster != mine.Cluster:
		return differ("the cluster", found.Cluster, mine.Cluster)
	case found.Member != mine.Member:
		return differ("the member", found.Member, mine.Member)
	case found.Region != mine.Region:
		return differ("the region", found.Region, mine.Region)
	case found.Shards != mine.Shards:
		return fmt.Errorf("%w: it was made for %d shards, not %d; start with that, or use an empty directory", ErrForeign, found.Shards, mine.Shards)
	case found.Digest != mine.Digest:
		return fmt.Errorf("%w: it was made with another cluster secret", ErrForeign)
	}
	return nil
}
