package replica

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/atolldb/atoll/internal/store"
)

// unfinished is the format of a directory into which a restore has begun, so
// that no member starts on what is half there.
const unfinished = -1

// restoredPlace is no place: the member finds that its data was copied, and
// goes on under new actors.
const restoredPlace = "restored"

// ErrOccupied says that a store into which a backup is to be put is not empty.
var ErrOccupied = errors.New("a backup is restored into an empty directory only")

// Restore puts what backups of one member have into an empty store: a full one,
// and increments in their order.
type Restore struct {
	store store.Store
	batch store.Batch
	mine  identity
	shard int
	// marks of the shard, until the first pair that is none; nil after that.
	marks map[int]string
}

// NewRestore begins with what the full backup says of the directory it is of.
// A name or region that is not empty takes the place of the one there.
func NewRestore(s store.Store, of []byte, member, region string) (*Restore, error) {
	r := &Restore{store: s, shard: -1}
	if err := json.Unmarshal(of, &r.mine); err != nil {
		return nil, fmt.Errorf("%w: identity: %w", store.ErrCorrupt, err)
	}
	if r.mine.Format != Format {
		return nil, fmt.Errorf("%w: the backup has disk format %d, and this Atoll restores format %d: restore it with the Atoll that made it", ErrForeign, r.mine.Format, Format)
	}
	snap := s.Snapshot()
	err := snap.Scan(nil, nil, func([]byte, []byte) error { return errStop })
	snap.Close()
	if err == errStop {
		return nil, ErrOccupied
	}
	if err != nil {
		return nil, err
	}
	if member != "" {
		r.mine.Member = member
	}
	if region != "" {
		r.mine.Region = region
	}
	r.mine.Place = restoredPlace
	return r, r.claim(unfinished)
}

// claim writes whose the store is.
func (r *Restore) claim(format int) error {
	is := r.mine
	is.Format = format
	value, err := json.Marshal(is)
	if err != nil {
		return err
	}
	r.batch.Put([]byte("c"), value)
	return r.flush()
}

func (r *Restore) flush() error {
	err := r.store.Commit(&r.batch)
	r.batch.Reset()
	return err
}

// Shard begins a shard.
func (r *Restore) Shard(shard int) error {
	if err := r.replace(); err != nil {
		return err
	}
	if shard < 0 || shard > r.mine.Shards {
		return fmt.Errorf("%w: shard %d of %d", store.ErrCorrupt, shard, r.mine.Shards)
	}
	r.shard, r.marks = shard, map[int]string{}
	return nil
}

// Put takes a pair of the shard; it keeps neither.
func (r *Restore) Put(key, value []byte) error {
	if r.shard < 0 || len(key) < shardPrefixBytes || !strings.ContainsRune(backupKinds, rune(key[0])) ||
		!bytes.HasPrefix(key, shardKey(key[0], r.shard, 0)) {
		return fmt.Errorf("%w: %.20x is no key of shard %d", store.ErrCorrupt, key, r.shard)
	}
	if _, sound := unseal(key, value); !sound && key[0] != 'o' {
		return fmt.Errorf("%w: the value of %.20x", store.ErrCorrupt, key)
	}
	if key[0] == 'm' && r.marks != nil {
		leaf, err := leafIn(key)
		if err != nil {
			return err
		}
		r.marks[leaf] = string(value)
		return nil
	}
	if err := r.replace(); err != nil {
		return err
	}
	return r.put(slices.Clone(key), slices.Clone(value))
}

func (r *Restore) put(key, value []byte) error {
	r.batch.Put(key, value)
	if r.batch.Bytes() < maxGroupSize && len(r.batch.Writes()) < maxTrimmed {
		return nil
	}
	return r.flush()
}

// replace removes what earlier backups had of the shard, but for the leaves that
// did not change, and puts the digests of all leaves.
func (r *Restore) replace() error {
	if r.marks == nil {
		return nil
	}
	marks := r.marks
	r.marks = nil
	if err := r.flush(); err != nil { // the snapshot is to have what came before
		return err
	}
	snap := r.store.Snapshot()
	defer snap.Close()
	before, err := readMarks(snap, r.shard)
	if err != nil {
		return err
	}
	var gone [][2][]byte
	for _, kind := range []byte(strings.ReplaceAll(backupKinds, "e", "")) {
		gone = append(gone, [2][]byte{shardKey(kind, r.shard, 0), shardEnd(kind, r.shard)})
	}
	for leaf, mark := range before {
		if marks[leaf] != mark {
			gone = append(gone, leafRange(r.shard, leaf))
		}
	}
	for _, part := range gone {
		err := snap.Scan(part[0], part[1], func(key, _ []byte) error {
			r.batch.Delete(slices.Clone(key))
			if len(r.batch.Writes()) < maxTrimmed {
				return nil
			}
			return r.flush()
		})
		if err != nil {
			return err
		}
	}
	for leaf, mark := range marks {
		if err := r.put(leafKey(r.shard, leaf), []byte(mark)); err != nil {
			return err
		}
	}
	return nil
}

// Finish makes a member's directory of it, once all was put.
func (r *Restore) Finish() error {
	if err := errors.Join(r.replace(), r.flush()); err != nil {
		return err
	}
	return r.claim(Format)
}
