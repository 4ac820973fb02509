package replica

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/atolldb/atoll/internal/store"
)

// formatVersion is the version of the layout on disk.
const formatVersion = 1

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
	// Digest is that of a fixed entry: it tells another digest key.
	Digest string `json:"digest"`
}

// claim writes the identity into an empty store, or checks it in a used one.
func (r *Replica) claim() error {
	o := r.options
	r.cluster = r.hasher.Entry(fmt.Sprintf("cluster %s %d", o.Cluster, o.Shards), nil).Low
	mine := identity{formatVersion, o.Cluster, o.Member, o.Region, o.Shards, r.hasher.Entry("identity", nil).String()}
	snap := r.store.Snapshot()
	value, err := snap.Get([]byte("c"))
	var found identity
	if err == nil {
		if err := json.Unmarshal(value, &found); err != nil {
			snap.Close()
			return fmt.Errorf("%w: identity: %w", store.ErrCorrupt, err)
		}
	}
	snap.Close()
	if errors.Is(err, store.ErrNotFound) {
		value, err := json.Marshal(mine)
		if err != nil {
			return err
		}
		var b store.Batch
		b.Put([]byte("c"), value)
		return r.store.Commit(&b)
	}
	if err != nil {
		return err
	}
	return found.accept(mine)
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
