package replica

import (
	"errors"
	"testing"

	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/faultstore"
	"github.com/atolldb/atoll/transport/memnet"
)

// After a failed commit nobody knows whether it is on disk, or will be after a
// restart. So it is repeated before anything else is written: no dot is used twice,
// and nothing is built on what is not there, or on top of what comes late.
func TestFailedCommitIsRepeated(t *testing.T) {
	for _, fate := range []faultstore.Fate{faultstore.Vanish, faultstore.Linger, faultstore.Late} {
		for _, restarts := range []bool{false, true} {
			c := newCluster(t, memnet.Options{})
			m := c.startFaulty("eu", nil)
			faulty := m.disk.Store.(*faultstore.Store)
			m.do(incr("c", 1))
			actor := m.shards[shardOf("c")].actor
			faulty.OnCommit(func(n int, _ *store.Batch) faultstore.Fate {
				if n > 1 && !restarts {
					return faultstore.Linger // repeated in vain, and there
				}
				return fate
			})
			if _, err := m.try(incr("c", 10), add("{c}s", "failed")); !errors.Is(err, ErrUnavailable) {
				t.Errorf("fate %d: a failed write: %v", fate, err)
			}
			want := int64(1111)
			if !restarts {
				if _, err := m.try(incr("c", 5)); !errors.Is(err, ErrUnavailable) || !errors.Is(err, faultstore.ErrFault) {
					t.Errorf("fate %d: a write before that is repeated: %v", fate, err)
				}
				faulty.OnCommit(nil)
			} else {
				if fate == faultstore.Vanish {
					want -= 10
				}
				m.stop()
				faulty.OnCommit(nil)
				if err := faulty.Reopen(); err != nil {
					t.Fatal(err)
				}
				m.open()
				m.meet()
			}
			m.do(incr("c", 100))
			if after := m.shards[shardOf("c")].actor; after != actor {
				t.Errorf("fate %d, restarts %v: it goes on under %v, was %v", fate, restarts, after, actor)
			}
			m.stop()
			if err := faulty.Reopen(); err != nil {
				t.Fatal(err)
			}
			m.open()
			m.meet()
			m.do(incr("c", 1000))
			if n := m.number(count("c")); n != want {
				t.Errorf("fate %d, restarts %v: the counter is %d, want %d", fate, restarts, n, want)
			}
			m.stop()
			audit(t, m.disk, m.options)
			m.open()
			m.meet()
		}
	}
}

// What failed is repeated also if nothing else is to be written.
func TestFailedCommitIsRepeatedAlone(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu, us := c.startFaulty("eu", nil), c.start("us", nil)
	eu.do(incr("c", 1))
	c.converge()
	faulty := eu.disk.Store.(*faultstore.Store)
	faulty.OnCommit(func(int, *store.Batch) faultstore.Fate { return faultstore.Late })
	if _, err := eu.try(incr("c", 10)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a failed write: %v", err)
	}
	faulty.OnCommit(nil)
	eventually(t, "a peer hears of it", func() bool { return us.number(count("c")) == 11 })
}

// A copy that could not be declared to be removed stays, and takes writes. That the
// declaration was on disk after all does not take them away after a restart.
func TestLateDropIsRecalled(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.startFaulty("eu-1", inRegion("eu"))
	c.agreeOnAll()
	eu.do(incr("c", 1))
	s := eu.shards[shardOf("c")]
	faulty := eu.disk.Store.(*faultstore.Store)
	faulty.OnCommit(func(_ int, b *store.Batch) faultstore.Fate {
		if string(b.Writes()[0].Key) == string(roleKey(s.index)) {
			return faultstore.Late
		}
		return faultstore.Pass
	})
	if err := eu.drop(s, everything(s.spoken.Load())); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a copy that cannot be removed: %v", err)
	}
	faulty.OnCommit(nil)
	eu.do(incr("c", 1))
	eu.stop()
	if err := faulty.Reopen(); err != nil {
		t.Fatal(err)
	}
	eu.open()
	if again := eu.shards[s.index]; !again.whole() {
		t.Errorf("after a restart the copy is %d", again.role.Load())
	}
	eu.meet()
	if n := eu.number(count("c")); n != 2 {
		t.Errorf("the counter is %d, want 2", n)
	}
}
