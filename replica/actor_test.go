package replica

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/faultstore"
	"github.com/atolldb/atoll/internal/store/memstore"
	"github.com/atolldb/atoll/transport/memnet"
)

// place is where data lies, for tests: a copy is given another one.
type place struct {
	name  string
	fails error
}

func (p *place) tell(renew bool) (string, error) {
	if renew {
		p.name = fmt.Sprint(rand.Uint64())
	}
	return p.name, p.fails
}

// A backup that is put back may lack what its copy has written since. It goes on
// under new actors from the start, without having met anybody who knows: what it
// writes then is not taken for what it has forgotten.
func TestRestoredBackup(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	lies := &place{}
	eu := c.startOn("eu", &disk{Store: memstore.New(), keep: true}, func(o *Options) { o.Place = lies.tell })
	eu.do(incr("c", 1))
	kept := eu.disk.committed()
	eu.do(incr("c", 1), incr("c", 1))
	us := c.start("us", nil)
	c.converge()
	actor := eu.shards[shardOf("c")].actor
	eu.stop()
	eu.open()
	if again := eu.shards[shardOf("c")].actor; again != actor {
		t.Errorf("at the same place it goes on under %v, was %v", again, actor)
	}
	eu.stop()
	eu.disk, lies.name = eu.disk.prefix(t, kept), "another inode"
	eu.open()
	eu.do(incr("c", 100), incr("c", 100)) // before it has met anybody
	eu.meet()
	c.converge()
	for _, m := range []*member{eu, us} {
		if n := m.number(count("c")); n != 203 {
			t.Errorf("%s: the counter is %d, want 203", m.options.Member, n)
		}
	}
}

// A crash after the place was renewed, and before that was written down, ends
// the actors once more, and does no harm.
func TestPlaceIsNotWrittenDown(t *testing.T) {
	lies := &place{}
	o := testOptions("eu")
	o.Place = lies.tell
	d := &disk{Store: memstore.New()}
	open := func() (*Replica, error) { return Open(o, d) }
	r, err := open()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	d.onCommit(func(*store.Batch, func() error) error { return errDisk })
	if _, err := open(); !errors.Is(err, errDisk) {
		t.Errorf("a start on a disk that fails: %v", err)
	}
	d.onCommit(nil)
	lies.fails = errors.New("no such file system")
	if _, err := open(); !errors.Is(err, lies.fails) {
		t.Errorf("a start at a place that cannot be told: %v", err)
	}
	lies.fails = nil
	if r, err = open(); err != nil {
		t.Fatal(err)
	}
	r.Close()
}

// Two processes under one name, on copies of the same data that nobody can tell
// apart: from when they meet, they write under different actors.
func TestNamesakeOnACopy(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.startOn("eu", &disk{Store: memstore.New(), keep: true}, nil)
	us := c.start("us", nil)
	eu.do(incr("c", 1))
	c.converge()
	copied := &member{cluster: c, options: testOptions("eu"), disk: eu.disk.prefix(t, eu.disk.committed())}
	copied.open()
	end, err := c.network.Join("eu", "other")
	if err != nil {
		t.Fatal(err)
	}
	copied.end = end
	if err := copied.Start(end); err != nil {
		t.Fatal(err)
	}
	c.members = append(c.members, copied)
	shard := shardOf("c")
	for _, m := range []*member{eu, copied} {
		eventually(t, "the actor is ended", func() bool { return m.shards[shard].writer.Load() == 0 })
	}
	for range 10 {
		eu.do(incr("c", 1))
		copied.do(incr("c", 100))
	}
	if a, b := eu.shards[shard].writer.Load(), copied.shards[shard].writer.Load(); a == b {
		t.Errorf("both write under %v", a)
	}
	eventually(t, "a third has the writes of both", func() bool { return us.number(count("c")) == 1011 })
}

// A full disk: writes are refused, and said not to be done; reads go on. With
// space again all goes on without a restart, under the same actor, and what
// peers have sent meanwhile is there.
func TestFullDisk(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu, us := c.startFaulty("eu", nil), c.start("us", nil)
	eu.do(incr("c", 1))
	c.converge()
	actor := eu.shards[shardOf("c")].writer.Load()
	full := eu.disk.Store.(*faultstore.Store)
	full.OnCommit(func(int, *store.Batch) faultstore.Fate { return faultstore.NoSpace })
	for range 3 {
		_, err := eu.try(incr("c", 1))
		if !errors.Is(err, store.ErrNoSpace) || EncodeError(err).Code.String() != "NO_SPACE" {
			t.Errorf("a write to a full disk: %v, code %v", err, EncodeError(err).Code)
		}
		us.do(incr("c", 10))
	}
	if n := eu.number(count("c")); n != 1 {
		t.Errorf("a read on a full disk: %d", n)
	}
	eventually(t, "events of peers are refused, too", func() bool { return eu.Counters()["commit_errors"] > 3 })
	full.OnCommit(nil)
	eu.do(incr("c", 1))
	c.converge()
	if n, now := eu.number(count("c")), eu.shards[shardOf("c")].writer.Load(); n != 32 || now != actor {
		t.Errorf("with space again: the counter is %d, want 32; the actor %x, was %x", n, now, actor)
	}
}

// A store that has found damage in its files answers nothing: the member says
// so, stays closable, and goes on once the files are whole.
func TestBrokenStore(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.startFaulty("eu", nil)
	us := c.start("us", nil)
	eu.do(incr("c", 1))
	c.converge()
	broken := eu.disk.Store.(*faultstore.Store)
	broken.Break(fmt.Errorf("%w: table 7", store.ErrCorrupt))
	for _, op := range []func() error{
		func() error { _, err := eu.try(incr("c", 1)); return err },
		func() error { _, err := eu.try(count("c")); return err },
	} {
		if err := op(); !errors.Is(err, ErrUnavailable) || !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("on a broken store: %v", err)
		}
	}
	us.do(incr("c", 1))
	eu.Scrub()
	eu.stop()
	if r, err := Open(eu.options, eu.disk); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("a start on a broken store: %v, %v", r, err)
	}
	broken.Break(nil)
	eu.open()
	eu.meet()
	c.converge()
	if n := eu.number(count("c")); n != 2 {
		t.Errorf("the counter is %d, want 2", n)
	}
}

// Repairs on a disk the writes of which fail now and then, done or not, come to
// the same end.
func TestRepairOnAFailingDisk(t *testing.T) {
	random := seeded(t)
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, memnet.Options{})
			few := func(o *Options) { o.LogLimit = 3 }
			eu, us := c.start("eu", few), c.startFaulty("us", few)
			eu.do(add("{d}s", names(20, "e")...), set("{d}r", "kept"))
			for range 5 {
				eu.do(incr("{d}c", 1))
			}
			c.converge()
			damage(us)
			var mu sync.Mutex
			us.disk.Store.(*faultstore.Store).OnCommit(func(n int, _ *store.Batch) faultstore.Fate {
				mu.Lock()
				defer mu.Unlock()
				if n > 6 {
					return faultstore.Pass
				}
				return faultstore.Fate(random.IntN(4))
			})
			for range 3 {
				us.scrubbed()
			}
			us.disk.Store.(*faultstore.Store).OnCommit(nil)
			us.scrubbed()
			eventually(t, "it is repaired", func() bool { return len(us.Status(false).Damages) == 0 })
			c.converge()
			for _, m := range c.members {
				m.wantAll(5)
			}
		})
	}
}
