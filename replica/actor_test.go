package replica

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolldb/atoll/crdt"
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

// A copy that was put back without a word is told by the first answer that peers
// know more of it than it does. What comes with the answer may have it write by
// itself, as here, where a reset has left an increment of its own to be removed: it
// does so under a new actor, though what it has forgotten comes later.
func TestPutBackWritesNothingOnItsOwn(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	counting := func(first uint64, gossip time.Duration) func(*Options) {
		var next atomic.Uint64
		return func(o *Options) {
			o.NewActor, o.GossipInterval = func() crdt.Actor { return crdt.Actor(first + next.Add(1)) }, gossip
		}
	}
	eu := c.startOn("eu", &disk{Store: memstore.New(), keep: true}, counting(1000, 20*time.Millisecond))
	us := c.start("us", counting(0, time.Hour)) // the events of which come first
	shard := shardOf("k")
	eu.do(incr("k", 1))
	eventually(t, "us has heard of it", func() bool { return us.number(count("k")) == 1 })
	kept, actor := eu.disk.committed(), crdt.Actor(eu.shards[shard].writer.Load())
	c.network.CutRegion("us")
	us.do(reset("k"), set(keyIn(shard, "large", 0), string(make([]byte, answerBytes+1))))
	eu.do(incr(keyIn(shard, "other", 0), 5))
	c.network.RestoreRegion("us")
	eventually(t, "us has heard all", func() bool { return us.State(shard).Vector[actor] >= 2 })
	eu.restart(eu.disk.prefix(t, kept))
	if _, err := eu.fetch(t.Context(), "us", shard); err != nil {
		t.Fatal(err)
	}
	if again := eu.shards[shard].writer.Load(); crdt.Actor(again) == actor {
		t.Error("it goes on under its actor")
	}
	if n := eu.number(count(keyIn(shard, "other", 0))); n != 5 {
		t.Errorf("what it has forgotten is %d, want 5", n)
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

// A disk that gets full while a large set is deleted step by step: what has
// begun is not said to be undone, as it goes on once there is space.
func TestDiskFullHalfway(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.startFaulty("eu", nil)
	eu.fill("big", names(3*maxStepSize/fieldSize, "e"))
	full := eu.disk.Store.(*faultstore.Store)
	full.OnCommit(func(commits int, _ *store.Batch) faultstore.Fate {
		if commits > 1 {
			return faultstore.NoSpace
		}
		return faultstore.Pass
	})
	if _, err := eu.try(del("big", 0)); EncodeError(err).Code.String() != "UNAVAILABLE" {
		t.Errorf("a delete of which a step was done: %v, code %v; want UNAVAILABLE", err, EncodeError(err).Code)
	}
	full.OnCommit(nil)
	eventually(t, "it goes on with space again", func() bool { return eu.number(card("big")) == 0 })
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
	eu.Scrub(false)
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
