package replica

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
)

// How does a directory of format 2 become one of format 3, without a flipped bit
// being sealed as what was written?
//
// Format 2 sealed the state of a shard and its log, and nothing else; it had no
// roles of copies, no system shard and no records of operations. So entries,
// digests and headers are sealed here: the entries of a leaf only once they were
// compared with its digest. A leaf that differs keeps its values as they are. No
// checksum fits these, so it is damaged to everybody who reads it, and is repaired
// as any other. Headers are counted anew. Copies are to be taken over, on top of
// what they have: as nobody knows yet who owns what, nobody takes them for whole.
//
// It is done before anything is loaded, shard by shard, in batches. Each says in
// the identity how far it has come, and that has a format meanwhile which no
// program takes for its own. Who is interrupted goes on from there.

const (
	// upgrading is the format of a directory that is half brought there.
	upgrading = -2
	// upgradeReport is how often the log says how far it has come.
	upgradeReport = 5 * time.Second
)

// upgrade brings a directory from OldestFormat to Format.
type upgrade struct {
	replica *Replica
	is      identity // as the next batch writes it
	batch   store.Batch
	hasher  *merkle.Hasher
	scratch []byte

	sealed, damaged int // entries, leaves
}

// upgrade brings the store that found speaks of to Format, and returns what
// it says of itself then.
func (r *Replica) upgrade(found identity) (identity, error) {
	u := &upgrade{replica: r, is: found, hasher: r.hasher.Clone()}
	began := r.options.Now()
	shard, at, err := u.resume()
	if err != nil {
		return found, err
	}
	r.log.Info("the data directory is upgraded", "from", OldestFormat, "to", Format, "shard", shard, "shards", found.Shards)
	told := began
	for ; shard < found.Shards && err == nil; shard, at = shard+1, "" {
		if now := r.options.Now(); now.Sub(told) >= upgradeReport {
			r.log.Info("the data directory is being upgraded", "shard", shard, "shards", found.Shards, "entries", u.sealed)
			told = now
		}
		err = u.shard(shard, at)
	}
	if err == nil {
		u.is.Format, u.is.Upgraded = Format, ""
		err = u.commit()
	}
	if err != nil {
		return found, fmt.Errorf("upgrading the data directory from format %d to %d, which goes on at the next start: %w", OldestFormat, Format, err)
	}
	r.log.Info("the data directory was upgraded", "to", Format, "entries", u.sealed, "damaged_leaves", u.damaged, "took", r.options.Now().Sub(began))
	return u.is, nil
}

// resume returns the shard, and the position in it, below which all is done.
func (u *upgrade) resume() (shard int, at crdt.Position, err error) {
	if u.is.Format == OldestFormat {
		u.reached(0, "")
		return 0, "", nil
	}
	key, err := hex.DecodeString(u.is.Upgraded)
	if err != nil || len(key) < shardPrefixBytes || key[0] != 'e' {
		return 0, "", fmt.Errorf("%w: how far an upgrade has come: %.40q", store.ErrCorrupt, u.is.Upgraded)
	}
	return int(key[1])<<8 | int(key[2]), positionOf(key), nil
}

// reached notes what the next batch has done.
func (u *upgrade) reached(shard int, at crdt.Position) {
	u.is.Format, u.is.Upgraded = upgrading, hex.EncodeToString(entryKey(shard, at))
}

// commitFull commits the batch if it is full.
func (u *upgrade) commitFull() error {
	if u.batch.Bytes() < maxGroupSize && len(u.batch.Writes()) < maxTrimmed {
		return nil
	}
	return u.commit()
}

func (u *upgrade) commit() error {
	value, err := json.Marshal(u.is)
	if err != nil {
		return err
	}
	u.batch.Put([]byte("c"), value)
	err = u.replica.store.Commit(&u.batch)
	u.batch.Reset()
	return err
}

// shard brings a shard to the format, from a position on.
func (u *upgrade) shard(shard int, at crdt.Position) error {
	for at < crdt.End {
		snap := u.replica.store.Snapshot()
		leaf, err := nextLeaf(snap, shard, at)
		if err == nil && leaf < leaves {
			err = u.leaf(snap, shard, leaf, max(at, leafStart(leaf)))
		}
		snap.Close()
		if err != nil {
			return err
		}
		at = leafStart(min(leaf+1, leaves))
		u.reached(shard, at)
	}
	if len(u.batch.Writes()) > 0 {
		if err := u.commit(); err != nil {
			return err
		}
	}
	err := u.rest(shard)
	u.reached(shard+1, "")
	return err
}

// rest removes the headers of objects that are not there, which nothing has sealed,
// and says what the copy is.
func (u *upgrade) rest(shard int) error {
	snap := u.replica.store.Snapshot()
	defer snap.Close()
	err := scanAll(snap, shardKey('h', shard, 0), shardEnd('h', shard), func(key, value []byte, unreadable error) error {
		if _, sound := unseal(key, value); sound && unreadable == nil {
			return nil
		}
		u.batch.Delete(slices.Clone(key))
		return u.commitFull()
	})
	if err != nil {
		return err
	}
	if _, err = snap.Get(vectorKey(shard)); errors.Is(err, store.ErrNotFound) {
		return nil // there is no copy
	}
	key := roleKey(shard)
	u.batch.Put(key, seal(key, []byte{byte(joining)}))
	if errors.Is(err, store.ErrCorrupt) {
		return nil // what it has heard cannot be read, which is found when it is loaded
	}
	return err
}

// nextLeaf returns the first leaf from a position on that has entries or a digest,
// or leaves.
func nextLeaf(snap store.Snapshot, shard int, from crdt.Position) (int, error) {
	next := leaves
	err := scanAll(snap, entryKey(shard, from), shardEnd('e', shard), func(key, _ []byte, _ error) error {
		next = leafOf(positionOf(key))
		return errStop
	})
	if err != nil && err != errStop {
		return 0, err
	}
	err = scanAll(snap, leafKey(shard, leafOf(from)), shardEnd('m', shard), func(key, _ []byte, _ error) error {
		leaf, err := leafIn(key)
		if next = min(next, leaf); err != nil {
			return err
		}
		return errStop
	})
	if err == errStop {
		err = nil
	}
	return next, err
}

// leaf seals what is in a leaf from a position on, and its digest, if that is the
// digest of the entries.
func (u *upgrade) leaf(snap store.Snapshot, shard, leaf int, from crdt.Position) error {
	digest, err := u.check(snap, shard, leaf, from)
	var wrong *damage
	if errors.As(err, &wrong) {
		u.damaged++
		u.is.Scrubbed = 0 // the next scrub is due at once
		u.replica.log.Error("a leaf is damaged; it is not sealed, but left to be repaired from other members", "shard", shard, "leaf", leaf, "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	err = snap.Scan(entryKey(shard, from), entryKey(shard, leafStart(leaf+1)), func(key, value []byte) error {
		key = slices.Clone(key)
		u.batch.Put(key, seal(key, value))
		u.sealed++
		u.reached(shard, positionOf(key)+"\x00")
		return u.commitFull()
	})
	if key := leafKey(shard, leaf); digest == (merkle.Digest{}) {
		u.batch.Delete(key)
	} else {
		u.batch.Put(key, encodeLeaf(key, digest))
	}
	return err
}

// check adds up a leaf, which is sealed below a position, and returns its digest.
// It fails with a damage if the entries are not what was written. On the way it
// counts the fields of the objects, and puts their headers.
func (u *upgrade) check(snap store.Snapshot, shard, leaf int, sealedBelow crdt.Position) (sum merkle.Digest, err error) {
	var wrong error
	var object crdt.Object
	var fields uint64
	header := func() error {
		if fields == 0 {
			return nil
		}
		key := headerKey(shard, object)
		u.batch.Put(key, encodeHeader(key, fields))
		return u.commitFull()
	}
	err = scanAll(snap, entryKey(shard, leafStart(leaf)), entryKey(shard, leafStart(leaf+1)), func(key, value []byte, err error) error {
		at := positionOf(key)
		if err == nil && at >= sealedBelow {
			value = seal(key, value) // so that both are read in one way
		}
		var es crdt.Entries
		if err == nil {
			_, es, err = decodeField(key, value)
		}
		if err != nil {
			wrong = err
		}
		sum, u.scratch = addField(u.hasher, sum, at, es, u.scratch)
		id, err := at.FieldID()
		if err != nil {
			return nil // nor could it be decoded
		}
		if id.Object != object {
			if err := header(); err != nil {
				return err
			}
			object, fields = id.Object, 0
		}
		fields++
		return nil
	})
	if err == nil {
		err = header()
	}
	if err != nil {
		return sum, err
	}
	kept, err := oldLeaf(snap, shard, leaf)
	switch {
	case err != nil && !errors.Is(err, store.ErrCorrupt):
		return sum, err
	case wrong != nil:
	case err == nil && kept == sum, proven(snap, shard, leaf, sum):
		return sum, nil
	case err != nil:
		wrong = err
	default:
		wrong = fmt.Errorf("%w: it holds %v, its digest says %v", store.ErrCorrupt, sum, kept)
	}
	return sum, &damage{leaf, wrong}
}

// oldLeaf returns the digest of a leaf on disk, sealed already or not.
func oldLeaf(snap store.Snapshot, shard, leaf int) (merkle.Digest, error) {
	key := leafKey(shard, leaf)
	value, err := snap.Get(key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return merkle.Digest{}, nil
	case err != nil:
		return merkle.Digest{}, err
	case len(value) == merkle.DigestBytes:
		return merkle.Decode(value)
	}
	return decodeLeaf(key, value)
}

// proven says that the entries of a leaf are right and its digest is not: with them
// all leaves add up to the root.
func proven(snap store.Snapshot, shard, leaf int, sum merkle.Digest) bool {
	for other := range leaves {
		if other == leaf {
			continue
		}
		digest, err := oldLeaf(snap, shard, other)
		if err != nil {
			return false
		}
		sum = sum.Add(digest)
	}
	root, err := readShardRoot(snap, shard)
	return err == nil && root == sum
}
