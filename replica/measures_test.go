package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/ring"
	"github.com/atolldb/atoll/internal/store"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/memnet"
)

// operations returns how many operations of a kind had a result.
func (m Measures) operations(kind, result string) (n uint64) {
	for _, o := range m.Operations {
		if o.Kind == kind && o.Result == result {
			n += o.Count
		}
	}
	return n
}

// Each operation is counted by what it is and how it ended, and each request
// timed by its kind and level.
func TestMeasureRequests(t *testing.T) {
	m := newCluster(t, memnet.Options{}).start("eu", nil)
	m.do(incr("{k}c", 2), count("{k}c"), add("{k}s", "a", "b"))
	m.do(get("{k}r"), card("{k}s"))
	if _, err := m.try(incr("{k}c", 1<<62), incr("{k}c", 1<<62)); err == nil {
		t.Fatal("a counter ran over")
	}
	if _, err := m.try(incr(strings.Repeat("k", 5000), 1)); err == nil {
		t.Fatal("a key was too long, and taken")
	}
	request := &pb.Request{Consistency: pb.Consistency_QUORUM.Enum(), Operations: []*pb.Operation{count("{k}c")}}
	if _, err := m.Do(t.Context(), shardOf("{k}c"), request); err != nil {
		t.Fatal(err)
	}
	now := m.Measure()
	for what, want := range map[[2]string]uint64{
		{"counter_add", "ok"}: 1, {"counter_add", "overflow"}: 2, {"counter_add", "invalid"}: 1, {"counter_get", "ok"}: 2,
		{"set_add", "ok"}: 1, {"set_card", "ok"}: 1, {"register_get", "ok"}: 1, {"delete", "ok"}: 0,
	} {
		if n := now.operations(what[0], what[1]); n != want {
			t.Errorf("%s with the result %s: %d, want %d", what[0], what[1], n, want)
		}
	}
	timed := map[[2]string]uint64{}
	for _, r := range now.Requests {
		if n := r.Count(); n > 0 {
			timed[[2]string{r.Kind, r.Level}] = n
			if r.Sum <= 0 {
				t.Errorf("%d requests at %s took %v", n, r.Level, r.Sum)
			}
		}
	}
	if len(timed) != 3 || timed[[2]string{"write", "one"}] != 3 || timed[[2]string{"read", "one"}] != 1 || timed[[2]string{"read", "quorum"}] != 1 {
		t.Errorf("requests by kind and level: %v", timed)
	}
	if n := now.Commits.Count(); n == 0 || n != now.Counters["commits"] {
		t.Errorf("%d commits were timed of %d", n, now.Counters["commits"])
	}
	if now.LogEvents == 0 || now.Shards != testShards+1 {
		t.Errorf("%d events in the logs of %d shards", now.LogEvents, now.Shards)
	}
}

// A bucket holds what took no longer than its bound.
func TestTimes(t *testing.T) {
	var kept times
	for _, d := range []time.Duration{0, TimeBounds[0], TimeBounds[0] + 1, time.Hour} {
		kept.add(d)
	}
	got := kept.load()
	if got.Buckets[0] != 2 || got.Buckets[1] != 1 || got.Buckets[len(TimeBounds)] != 1 || got.Count() != 4 {
		t.Errorf("buckets %v", got.Buckets)
	}
	if want := 2*TimeBounds[0] + 1 + time.Hour; got.Sum != want {
		t.Errorf("sum %v, want %v", got.Sum, want)
	}
	if !slices.IsSorted(TimeBounds[:]) {
		t.Errorf("the bounds are not in order: %v", TimeBounds)
	}
}

// What is sent is what went over the network, and what is received is what the
// others have sent: nobody counts what comes back to him.
func TestMeasureTraffic(t *testing.T) {
	c, eu, us, ap := three(t, nil)
	for i := range 20 {
		eu.do(incr(keyIn(i%testShards, "c", i), 1))
	}
	c.settle()
	members := []*member{eu, us, ap}
	sums := func(kind string) (sent, received uint64) {
		for _, m := range members {
			for _, f := range m.Measure().Traffic {
				if f.Kind == kind {
					sent, received = sent+f.Sent, received+f.Received
				}
			}
		}
		return sent, received
	}
	// What was fetched first may be on the way as an event yet.
	eventually(t, "all events arrive", func() bool {
		_, received := sums("events")
		return received >= 2*c.network.Traffic("delta.").Bytes
	})
	for _, m := range members {
		m.stop()
	}
	for kind, prefix := range map[string]string{"events": "delta.", "gossip": "gossip", "heartbeats": "heartbeat"} {
		sent, received := sums(kind)
		if bytes := c.network.Traffic(prefix).Bytes; sent == 0 || sent != bytes {
			t.Errorf("%s: %d bytes were sent by what members say, %d by what the network says", kind, sent, bytes)
		}
		// Some may have been on the way when the last members stopped.
		if received == 0 || received > 2*sent {
			t.Errorf("%s: %d bytes were received of %d that went to two others each", kind, received, sent)
		}
	}
	if sent, _ := sums("sync"); sent != c.network.Traffic("sync.").Bytes {
		t.Errorf("sync: %d bytes were sent by what members say, %d by what the network says", sent, c.network.Traffic("sync.").Bytes)
	}
	if _, received := sums("events"); received != 2*c.network.Traffic("delta.").Bytes {
		t.Errorf("events: %d bytes were received of %d that went to two others each", received, c.network.Traffic("delta.").Bytes)
	}
}

// What has gone nowhere is not counted as sent.
func TestMeasureNothingSent(t *testing.T) {
	c, _, _, _ := three(t, nil)
	end, err := c.network.Join("eu", "other")
	if err != nil {
		t.Fatal(err)
	}
	var flows [kindsOfTraffic]flow
	m := &metered{end, "other", &flows}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	request := func(ctx context.Context, want error) {
		t.Helper()
		if _, err := m.Request(ctx, transport.Sync("nobody"), []byte("hello")); !errors.Is(err, want) {
			t.Errorf("failed with %v, want %v", err, want)
		}
	}
	request(t.Context(), transport.ErrNoResponders)
	request(ended, context.Canceled)
	if err := end.Close(); err != nil {
		t.Fatal(err)
	}
	request(t.Context(), transport.ErrClosed)
	if n := flows[trafficSync].sent.Load(); n != 0 {
		t.Errorf("%d bytes were counted as sent", n)
	}
}

// lagOf returns how a peer stands to a member, nil if nothing is told of it.
func (m *member) lagOf(peer string) *PeerLag {
	for _, p := range m.Measure().Peers {
		if p.Member == peer {
			return &p
		}
	}
	return nil
}

// How far a peer is behind is told in events and time, from both sides, and
// ends when it has caught up.
func TestMeasureLag(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu, us := c.start("eu", nil), c.start("us", nil)
	eu.do(incr("a", 1))
	c.settle()
	eventually(t, "nobody is behind", func() bool {
		lag := eu.lagOf("us")
		return lag != nil && lag.Region == "us" && lag.Lag == 0 && lag.Behind == 0 && lag.Age == 0
	})
	c.network.CutRegion("us")
	began := time.Now()
	for i := range 5 {
		eu.do(incr(keyIn(i, "c", i), 1))
		us.do(incr("b", 1))
	}
	eventually(t, "us is 5 events behind, and has been for a while", func() bool {
		lag := eu.lagOf("us")
		return lag.Lag == 5 && lag.Age > 10*time.Millisecond && lag.Silent > 10*time.Millisecond
	})
	if lag := eu.lagOf("us"); lag.Age > time.Since(began)+time.Millisecond || lag.Behind != 0 {
		t.Errorf("%+v, %v after the first", *lag, time.Since(began))
	}
	c.network.RestoreRegion("us")
	c.settle()
	eventually(t, "nobody is behind again", func() bool {
		lag := eu.lagOf("us")
		return lag.Lag == 0 && lag.Behind == 0 && lag.Age == 0
	})
	if n := us.Measure().Repairs["fetch"]; n == 0 {
		t.Error("nothing was fetched")
	}
}

// A lag of many shards costs a bounded number of reads.
func TestMeasureAgesAreBounded(t *testing.T) {
	m := newCluster(t, memnet.Options{}).start("eu", nil)
	m.do(incr("c", 1))
	shard := shardOf("c")
	mine := m.State(shard)
	snap := m.store.Snapshot()
	defer snap.Close()
	mine.Vector = mine.Vector.Clone()
	for actor := range 10 {
		mine.Vector[crdt.Actor(actor+1)] = 1
	}
	none := m.State(0)
	none.Vector = nil
	looks := 3
	oldestMissing(snap, shard, mine, none, time.Now(), &looks)
	if looks != 0 {
		t.Errorf("%d looks are left of 3", looks)
	}
	oldestMissing(&untouchableSnapshot{t: t}, shard, mine, none, time.Now(), &looks)
}

// untouchableSnapshot fails the test when it is read.
type untouchableSnapshot struct {
	store.Snapshot
	t *testing.T
}

func (s *untouchableSnapshot) Get([]byte) ([]byte, error) {
	s.t.Error("it was read")
	return nil, store.ErrNotFound
}

// Members are counted by the state in which they are seen, and shards by what
// is wrong with them.
func TestMeasureMembersAndHealth(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu, us := c.start("eu", enrolled("1")), c.start("us", enrolled("1"))
	c.allKnow()
	eventually(t, "both are alive", func() bool { return eu.Measure().Members["alive"] == 2 })
	us.stop()
	eventually(t, "one has left", func() bool {
		states := eu.Measure().Members
		return states["alive"] == 1 && states["left"] == 1 && states["down"] == 0 && states["unknown"] == 0
	})
	us.restart(nil)
	if now := eu.Measure(); now.Damaged != 0 || now.NotWhole != 0 || now.Diverged != 0 {
		t.Errorf("%+v", now)
	}
	h := &eu.shards[1].health
	h.mu.Lock()
	h.damaged = map[int]error{3: errors.New("a test says so")}
	h.mu.Unlock()
	eu.republish(eu.shards[1])
	eventually(t, "a shard is damaged, and so not whole", func() bool {
		now := eu.Measure()
		return now.Damaged == 1 && now.NotWhole == 1
	})
	h.mu.Lock()
	h.damaged = nil
	h.mu.Unlock()
}

// A member is ready once it has what the others had when it came, and stays so
// without them.
func TestReady(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	joins := func(o *Options) { enrolled("1")(o); o.Joins = true }
	us := &member{cluster: c, options: testOptions("us"), disk: &disk{Store: newMemory()}}
	joins(&us.options)
	us.open()
	c.members = append(c.members, us)
	if err := us.Ready(); !errors.Is(err, errStarting) {
		t.Errorf("before its start: %v", err)
	}
	us.meet()
	if err := us.Ready(); !errors.Is(err, errUnmet) {
		t.Errorf("before it has met anybody: %v", err)
	}
	eu := c.start("eu", enrolled("1"))
	if err := eu.Ready(); err != nil {
		t.Errorf("one that was not told of others: %v", err)
	}
	eventually(t, "it has met another one", func() bool { return us.Ready() == nil })

	// What eu holds, and us has nothing of, is missing.
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	defer release()
	us.disk.onCommit(func(_ *store.Batch, commit func() error) error {
		<-held
		return commit()
	})
	eu.do(incr("k", 1))
	eventually(t, "it has heard of a shard that it lacks", func() bool {
		err := us.Ready()
		return err != nil && strings.Contains(err.Error(), "not pulled 1 of 9 shards")
	})
	release()
	eventually(t, "it has pulled that", func() bool { return us.Ready() == nil })

	eu.stop()
	us.restart(nil)
	if err := us.Ready(); err != nil {
		t.Errorf("alone, with all that it had: %v", err)
	}
	us.stop()
	if err := us.Ready(); !errors.Is(err, errStopping) {
		t.Errorf("after its end: %v", err)
	}
}

// One that joins a region is ready when it serves shards, and what it has of
// them is counted.
func TestReadyToServe(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	first := c.start("eu-1", inRegion("eu"))
	for shard := range testShards {
		first.do(set(keyIn(shard, "r", 0), "v"))
	}
	if copies := first.Measure().Copies; copies["owned"] != testShards || copies["joining"] != 0 || copies["hinted"] != 0 {
		t.Errorf("the first one has %v", copies)
	}
	second := &member{cluster: c, options: testOptions("eu-2"), disk: &disk{Store: newMemory()}}
	inRegion("eu")(&second.options)
	second.options.Joins, second.options.Seeds = true, true
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	defer release()
	second.disk.onCommit(func(b *store.Batch, commit func() error) error {
		for _, w := range b.Writes() {
			if shard := binary.BigEndian.Uint16(append(w.Key, 0, 0)[1:]); w.Key[0] == 'e' && shard < testShards {
				<-held
			}
		}
		return commit()
	})
	second.open()
	c.members = append(c.members, second)
	second.meet()
	eventually(t, "it takes over its shards", func() bool {
		err := second.Ready()
		return err != nil && strings.Contains(err.Error(), "it is taking over the first of 8 shards")
	})
	eventually(t, "its copies are joining", func() bool { return second.Measure().Copies["joining"] > 0 })
	release()
	eventually(t, "it serves them", func() bool {
		now := second.Measure()
		return second.Ready() == nil && now.Copies["owned"] == testShards && now.JoinedBytes > 0 && now.Shards == testShards+1
	})
}

// BenchmarkMeasure shows what a scrape costs the engine.
func BenchmarkMeasure(b *testing.B) {
	c := newCluster(b, memnet.Options{})
	eu := c.start("eu", func(o *Options) { o.Shards = 256 })
	c.start("us", func(o *Options) { o.Shards = 256 })
	for i := range 256 {
		key := fmt.Sprint("key-", i)
		request := &pb.Request{Operations: []*pb.Operation{incr(key, 1)}}
		if _, err := eu.Do(context.Background(), ring.Shard(key, 256), request); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		eu.Measure()
	}
}

// BenchmarkMeter shows what counting and timing a request costs.
func BenchmarkMeter(b *testing.B) {
	m := newMeter()
	request := &pb.Request{Operations: []*pb.Operation{incr("k", 1)}}
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			m.served(request, time.Since(time.Now()), nil)
		}
	})
}
