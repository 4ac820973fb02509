package replica

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport/memnet"
)

var memnetOptions = memnet.Options{}

// holdUp has every loop wait in a commit. What is asked meanwhile is queued,
// and is one group, as far as it fits, once the function that it returns is
// called.
func (m *member) holdUp() (release func()) {
	m.cluster.t.Helper()
	waiting, goOn := make(chan struct{}), make(chan struct{})
	m.disk.onCommit(func(_ *store.Batch, commit func() error) error {
		waiting <- struct{}{}
		<-goOn
		return commit()
	})
	for shard := range m.loops {
		m.begin(set(keyIn(shard, "held", 0), ""))
	}
	for range m.loops {
		<-waiting
	}
	m.disk.onCommit(nil)
	return func() { close(goOn) }
}

// begin starts a request and returns where its error will come.
func (m *member) begin(ops ...*pb.Operation) chan error {
	done := make(chan error, 1)
	go func() {
		_, err := m.try(ops...)
		done <- err
	}()
	return done
}

// queued waits until n requests wait for the loops.
func (m *member) queued(n int) {
	m.cluster.t.Helper()
	eventually(m.cluster.t, fmt.Sprintf("%d requests wait", n), func() bool {
		waiting := 0
		for _, l := range m.loops {
			waiting += len(l.tasks)
		}
		return waiting >= n
	})
}

// What waits becomes one commit, and one event of each shard.
func TestGroupCommit(t *testing.T) {
	const writers = 200
	m := alone(t, func(o *Options) { o.Loops = 1 })
	release := m.holdUp()
	var done []chan error
	for i := range writers {
		done = append(done, m.begin(incr("hot", 1)), m.begin(incr(keyIn(i%testShards, "k", 0), 1)))
	}
	m.queued(2 * writers)
	before := m.disk.committed()
	release()
	for _, err := range done {
		if err := <-err; err != nil {
			t.Fatal(err)
		}
	}
	if n := m.disk.committed() - before; n != 2 { // the one held up, and the group
		t.Errorf("%d writes took %d commits", 2*writers, n-1)
	}
	if n := m.number(count("hot")); n != writers {
		t.Errorf("the counter is %d", n)
	}
	for shard := range testShards {
		events := uint64(0)
		for _, seq := range m.State(shard).Vector {
			events += seq
		}
		if shard == 0 { // where the commit was held up
			events--
		}
		if events != 1 {
			t.Errorf("shard %d has %d events for its part of the group", shard, events)
		}
	}
}

// Without anything held up, writers group by themselves behind a slow disk.
func TestGroupCommitUnderLoad(t *testing.T) {
	m := alone(t, nil)
	var syncs sync.Mutex
	m.disk.onCommit(func(_ *store.Batch, commit func() error) error {
		syncs.Lock()
		defer syncs.Unlock()
		return commit()
	})
	var writers sync.WaitGroup
	for range 64 {
		writers.Go(func() {
			for range 50 {
				m.do(incr("hot", 1))
			}
		})
	}
	writers.Wait()
	if n := m.number(count("hot")); n != 64*50 {
		t.Errorf("the counter is %d", n)
	}
	t.Logf("%d writes, %d commits", 64*50, m.disk.committed())
}

// Nothing of a group is told or shown before it is on disk, and nothing at all
// if it does not get there: a dot that was sent is one that is never used again.
func TestNothingLeavesBeforeTheDisk(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	m := c.start("eu", nil)
	c.start("us", nil)
	for _, failure := range []error{nil, errDisk} {
		m.do(incr("c", 1))
		m.idle()
		sent, before := c.network.Traffic("delta.").Messages, m.State(shardOf("c"))
		reached, goOn := make(chan struct{}), make(chan struct{})
		m.disk.onCommit(func(_ *store.Batch, commit func() error) error {
			close(reached)
			<-goOn
			if failure != nil {
				return failure
			}
			return commit()
		})
		done := m.begin(incr("c", 1))
		<-reached
		m.disk.onCommit(nil)
		if n := c.network.Traffic("delta.").Messages; n != sent || fmt.Sprint(m.State(shardOf("c"))) != fmt.Sprint(before) || len(done) > 0 {
			t.Errorf("while the commit was under way: %d events were sent, the state is %v, an answer: %v", n-sent, m.State(shardOf("c")), len(done) > 0)
		}
		close(goOn)
		if err := <-done; !errors.Is(err, failure) {
			t.Errorf("answered %v, want %v", err, failure)
		}
		m.idle()
		if n := c.network.Traffic("delta.").Messages; failure != nil && n != sent {
			t.Errorf("%d events were sent that are not on disk", n-sent)
		}
	}
	c.converge()
}

// Groups of more than 512 KiB become several events; none is larger, unless
// one request is.
func TestEventsAreSplit(t *testing.T) {
	const writes, bytes = 24, 60 << 10
	c := newCluster(t, memnet.Options{})
	m, peer := c.start("eu", nil), c.start("us", nil)
	release := m.holdUp()
	var done []chan error
	for i := range writes {
		done = append(done, m.begin(set(keyIn(1, "large", i), strings.Repeat("x", bytes))))
	}
	m.queued(writes)
	release()
	for _, err := range done {
		if err := <-err; err != nil {
			t.Fatal(err)
		}
	}
	c.converge()
	events := audit(t, m.disk, m.options)[1].log
	for dot, raw := range events {
		if len(raw) > maxEventBytes+1024 {
			t.Errorf("event %v has %d bytes", dot, len(raw))
		}
	}
	if n := len(events); n < 1+writes*bytes/maxEventBytes || n > 1+2*writes*bytes/maxEventBytes {
		t.Errorf("%d writes of %d bytes made %d events", writes, bytes, n)
	}
	if got := peer.values(keyIn(1, "large", 0)); len(got) != 1 || len(got[0]) != bytes {
		t.Errorf("the peer has %d values", len(got))
	}
}

// The largest values pass, alone and many at once, and reach the peers by all
// ways.
func TestLargestValues(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	m, peer := c.start("eu", nil), c.start("us", nil)
	value := strings.Repeat("v", crdt.MaxValueBytes)
	write := func(kind string) {
		var done []chan error
		for i := range 6 {
			done = append(done, m.begin(set(keyIn(i%2, kind, i), value)))
		}
		for _, err := range done {
			if err := <-err; err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(kind string) {
		t.Helper()
		c.converge()
		for i := range 6 {
			if got := peer.values(keyIn(i%2, kind, i)); len(got) != 1 || got[0] != value {
				t.Errorf("%s: the peer has %d values", kind, len(got))
			}
		}
	}
	write("broadcast")
	check("broadcast")
	c.network.CutRegion("us")
	write("log")
	c.network.RestoreRegion("us")
	check("log")
	late := c.start("ap", func(o *Options) { o.LogLimit = 1 })
	c.converge()
	if late.Counters()["walks"] == 0 && late.Counters()["events_fetched"] == 0 {
		t.Error("the late one has neither fetched nor walked")
	}
}

// More concurrent siblings and larger sets than a batch takes at once.
func TestManyLargeSiblings(t *testing.T) {
	c, eu, us, ap := three(t, nil)
	value := strings.Repeat("v", crdt.MaxValueBytes-1)
	for _, region := range []string{"eu", "us", "ap"} {
		c.network.CutRegion(region)
	}
	for i := range 4 {
		for n, m := range []*member{eu, us, ap} {
			m.do(set(keyIn(0, "r", i), value+fmt.Sprint(n)))
		}
	}
	for _, region := range []string{"eu", "us", "ap"} {
		c.network.RestoreRegion(region)
	}
	c.converge()
	for i := range 4 {
		if got := us.values(keyIn(0, "r", i)); len(got) != 3 {
			t.Errorf("register %d has %d siblings", i, len(got))
		}
	}
}
