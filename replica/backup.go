package replica

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	pb "github.com/atolldb/atoll/proto"
)

// A backup is what a member has on disk, key by key, as of one snapshot of the
// whole store: entries, digests, log and vectors are in step as after any
// commit. Restored, it is what a copy of the directory of a stopped member is,
// which goes on under new actors. A leaf whose digest is that of an earlier
// backup is left out of an increment.

const (
	// backupKinds are the kinds of keys of a shard, in the order of a backup: the
	// digests of the leaves first, so that a reader knows which leaves come.
	backupKinds = "mehlosv"
	// backupIdle is after how long without a question a backup ends by itself: an
	// open snapshot keeps what was deleted on disk.
	backupIdle = time.Minute
)

// backups holds the backup under way, of which there is one at a time.
type backups struct {
	mu      sync.Mutex
	session uint64 // 0: none
	snap    store.Snapshot
	idle    *time.Timer
}

// end ends a session if it is still open, any if it is 0.
func (b *backups) end(session uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session == 0 || session != 0 && session != b.session {
		return
	}
	b.idle.Stop()
	b.snap.Close()
	b.session, b.snap, b.idle = 0, nil, nil
}

// serveBackup answers the next page of a backup.
func (r *Replica) serveBackup(q *pb.BackupQuery) (*pb.BackupPage, error) {
	b := &r.backups
	switch {
	case q.GetSession() == 0:
		return r.beginBackup()
	case q.GetEnd():
		b.end(q.GetSession())
		return &pb.BackupPage{}, nil
	case int(q.GetShard()) > r.System():
		return nil, fmt.Errorf("%w: there is no shard %d", ErrWrongShard, q.GetShard())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session != q.GetSession() {
		return nil, fmt.Errorf("%w: the backup is over: it ends by itself after %v without a question; begin another one", crdt.ErrInvalid, backupIdle)
	}
	b.idle.Reset(backupIdle)
	return readBackup(b.snap, q)
}

func (r *Replica) beginBackup() (*pb.BackupPage, error) {
	b := &r.backups
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-r.stopping:
		return nil, ErrClosed
	default:
	}
	if b.session != 0 {
		return nil, fmt.Errorf("%w: another backup of this member is under way", ErrBusy)
	}
	snap := r.store.Snapshot()
	found, err := readIdentity(snap)
	if err != nil {
		snap.Close()
		return nil, err
	}
	identity, err := json.Marshal(found)
	if err != nil {
		snap.Close()
		return nil, err
	}
	b.session, b.snap = uint64(randomActor()), snap
	session := b.session
	b.idle = time.AfterFunc(backupIdle, func() { b.end(session) })
	return &pb.BackupPage{Origin: &pb.BackupOrigin{
		Session: session, Cluster: found.Cluster, Shards: uint32(found.Shards), Member: found.Member, Region: found.Region,
		Version: r.options.Version, Format: Format, Identity: identity,
	}}, nil
}

// readBackup reads a page of a shard: what comes after a key, or the rest of its
// value.
func readBackup(snap store.Snapshot, q *pb.BackupQuery) (*pb.BackupPage, error) {
	shard, after, size := int(q.GetShard()), q.GetAfter(), 0
	ranges, err := backupRanges(snap, shard, q.GetKnown())
	if err != nil {
		return nil, err
	}
	page := &pb.BackupPage{}
	offset := q.GetOffset()
	visit := func(key, value []byte) error {
		if size >= answerBytes {
			page.More = true
			return errStop
		}
		if key[0] != 'o' {
			if _, sound := unseal(key, value); !sound {
				return fmt.Errorf("%w: %x; crdtctl scrub repairs it from other members, then begin again", store.ErrCorrupt, key)
			}
		}
		if offset > uint64(len(value)) {
			return fmt.Errorf("%w: offset %d in a value of %d bytes", crdt.ErrInvalid, offset, len(value))
		}
		value, offset = value[offset:], 0
		if page.Part = len(value) > answerBytes; page.Part {
			value = value[:answerBytes]
		}
		size += len(key) + len(value)
		page.Pairs = append(page.Pairs, &pb.Pair{Key: slices.Clone(key), Value: slices.Clone(value)})
		if page.Part {
			page.More = true
			return errStop
		}
		return nil
	}
	for _, part := range resumed(ranges, after, offset > 0) {
		if err := snap.Scan(part[0], part[1], visit); err == errStop {
			break
		} else if err != nil {
			return nil, err
		}
	}
	return page, nil
}

// resumed returns what of the ranges comes after a key, or from it on.
func resumed(ranges [][2][]byte, after []byte, again bool) [][2][]byte {
	if len(after) == 0 {
		return ranges
	}
	from := slices.Clone(after)
	if !again {
		from = append(from, 0)
	}
	for i, part := range ranges {
		if bytes.Compare(part[0], after) <= 0 && bytes.Compare(after, part[1]) < 0 {
			return append([][2][]byte{{from, part[1]}}, ranges[i+1:]...)
		}
	}
	return nil
}

// backupRanges returns the ranges of keys that belong to the backup of a shard,
// without leaves that are known.
func backupRanges(snap store.Snapshot, shard int, known []byte) (ranges [][2][]byte, err error) {
	for _, kind := range []byte(backupKinds) {
		if kind != 'e' || len(known) == 0 {
			ranges = append(ranges, [2][]byte{shardKey(kind, shard, 0), shardEnd(kind, shard)})
			continue
		}
		theirs, err := decodeMarks(known)
		if err != nil {
			return nil, err
		}
		mine, err := readMarks(snap, shard)
		if err != nil {
			return nil, err
		}
		for leaf := range leaves {
			if mark, here := mine[leaf]; here && mark != theirs[leaf] {
				ranges = append(ranges, leafRange(shard, leaf))
			}
		}
	}
	return ranges, nil
}

func leafRange(shard, leaf int) [2][]byte {
	end := shardEnd('e', shard)
	if leaf < leaves-1 {
		end = entryKey(shard, leafStart(leaf+1))
	}
	return [2][]byte{entryKey(shard, leafStart(leaf)), end}
}

// markBytes is the length of what BackupMark returns: leaf and sealed digest.
const markBytes = 2 + 24 + sealBytes

// BackupMark returns what a pair of a backup says of a leaf, nil if it says
// nothing. All marks of a shard, one after the other, are what an increment
// after that backup is asked for with.
func BackupMark(key, value []byte) []byte {
	if len(key) != shardPrefixBytes+2 || key[0] != 'm' || len(value) != markBytes-2 {
		return nil
	}
	return append(slices.Clone(key[shardPrefixBytes:]), value...)
}

func decodeMarks(known []byte) (map[int]string, error) {
	if len(known)%markBytes != 0 || len(known) > leaves*markBytes {
		return nil, fmt.Errorf("%w: %d bytes of marks of leaves", crdt.ErrInvalid, len(known))
	}
	marks := map[int]string{}
	for ; len(known) > 0; known = known[markBytes:] {
		marks[int(binary.BigEndian.Uint16(known))] = string(known[2:markBytes])
	}
	return marks, nil
}

func readMarks(snap store.Snapshot, shard int) (map[int]string, error) {
	marks := map[int]string{}
	return marks, snap.Scan(shardKey('m', shard, 0), shardEnd('m', shard), func(key, value []byte) error {
		leaf, err := leafIn(key)
		marks[leaf] = string(value)
		return err
	})
}
