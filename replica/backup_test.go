package replica

import (
	"errors"
	"strings"
	"testing"

	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/memstore"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport/memnet"
)

// contents returns all that is on a disk but for whose it is.
func contents(t *testing.T, s store.Store) map[string]string {
	t.Helper()
	snap := s.Snapshot()
	defer snap.Close()
	all := map[string]string{}
	err := snap.Scan(nil, nil, func(key, value []byte) error {
		all[string(key)] = string(value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	delete(all, "c")
	return all
}

// TestBackupIsAll: what a backup has, restored, is all that was on disk, value by
// value, however long; and there is one backup at a time.
func TestBackupIsAll(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	m := c.start("eu", nil)
	m.do(incr("n", 3))
	m.do(add("s", "a", "", "\xff\x00"))
	m.do(set("big", strings.Repeat("x", answerBytes+answerBytes/2)))
	m.do(incr("r", 3))
	m.do(reset("r"))
	m.idle()
	want := contents(t, m.disk)
	page, err := m.serveBackup(&pb.BackupQuery{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.serveBackup(&pb.BackupQuery{}); !errors.Is(err, ErrBusy) {
		t.Errorf("a second backup: %v", err)
	}
	m.do(incr("n", 1)) // after its moment
	origin := page.GetOrigin()
	into := memstore.New()
	r, err := NewRestore(into, origin.GetIdentity(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(m.options, into); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "not finished") {
		t.Errorf("a member on half a restore: %v", err)
	}
	for shard := range testShards + 1 {
		if err := r.Shard(shard); err != nil {
			t.Fatal(err)
		}
		query, value := &pb.BackupQuery{Session: origin.GetSession(), Shard: uint32(shard)}, []byte(nil)
		for more := true; more; {
			page, err := m.serveBackup(query)
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range page.GetPairs() {
				value = append(value, p.GetValue()...)
				query.After, query.Offset = p.GetKey(), 0
				if page.GetPart() && i == len(page.GetPairs())-1 {
					query.Offset = uint64(len(value))
					break
				}
				if err := r.Put(p.GetKey(), value); err != nil {
					t.Fatal(err)
				}
				value = nil
			}
			more = page.GetMore()
		}
	}
	if err := r.Finish(); err != nil {
		t.Fatal(err)
	}
	got := contents(t, into)
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%.40q: %d bytes, %d on disk", key, len(got[key]), len(value))
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d keys, %d on disk", len(got), len(want))
	}
	m.backups.end(0)
	if _, err := m.serveBackup(&pb.BackupQuery{Session: origin.GetSession()}); err == nil {
		t.Error("a backup that is over was answered")
	}
}

// TestBackupHostile: whatever is asked or put is refused, not believed.
func TestBackupHostile(t *testing.T) {
	m := newCluster(t, memnet.Options{}).start("eu", nil)
	m.do(incr("n", 3))
	page, err := m.serveBackup(&pb.BackupQuery{})
	if err != nil {
		t.Fatal(err)
	}
	session := page.GetOrigin().GetSession()
	for what, q := range map[string]*pb.BackupQuery{
		"another session": {Session: session + 1}, "a shard that is not there": {Session: session, Shard: 1 << 20},
		"marks of no leaf": {Session: session, Known: []byte("x")},
		"a long offset":    {Session: session, Shard: uint32(shardOf("n")), After: vectorKey(shardOf("n")), Offset: 1 << 40},
	} {
		if _, err := m.serveBackup(q); err == nil {
			t.Errorf("%s was answered", what)
		}
	}
	r, err := NewRestore(memstore.New(), page.GetOrigin().GetIdentity(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Shard(1); err != nil {
		t.Fatal(err)
	}
	for _, key := range [][]byte{nil, []byte("c"), vectorKey(2), vectorKey(1), []byte("x\x00\x01")} {
		if r.Put(key, []byte("what nobody sealed")) == nil {
			t.Errorf("%q was put", key)
		}
	}
}
