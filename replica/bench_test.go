package replica

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/badgerstore"
	pb "github.com/atolldb/atoll/proto"
)

const benchWriters = 64

// benchMember returns a member alone on Badger, with the given durability.
func benchMember(b *testing.B, durability badgerstore.Durability) *member {
	b.Helper()
	s, err := badgerstore.Open(badgerstore.Options{Dir: b.TempDir(), Durability: durability})
	if err != nil {
		b.Fatal(err)
	}
	m := &member{cluster: &cluster{t: b}, options: testOptions("eu"), disk: &disk{Store: s}}
	m.open()
	b.Cleanup(func() {
		m.stop()
		s.Close()
	})
	return m
}

// serve does one operation as do does, without the price of a deadline.
func (m *member) serve(op *pb.Operation) {
	request := &pb.Request{Operations: []*pb.Operation{op}}
	if _, err := m.Do(context.Background(), shardOf(string(op.Key)), request); err != nil {
		m.cluster.t.Error(err)
	}
}

// concurrently runs b.N operations of 64 writers and returns how many there
// were per second.
func (m *member) concurrently(b *testing.B, n int, op func(i int, random *rand.Rand) *pb.Operation) float64 {
	b.Helper()
	var next atomic.Int64
	var writers sync.WaitGroup
	start := time.Now()
	for w := range benchWriters {
		random := rand.New(rand.NewPCG(uint64(w), 1))
		writers.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				m.serve(op(i, random))
			}
		})
	}
	writers.Wait()
	return float64(n) / time.Since(start).Seconds()
}

// BenchmarkEngine compares the engine with Badger itself, both with fsync: 64
// writers, each waiting for its answer before it goes on.
//
// The batches that the engine commits are kept (entries, digests, headers, log
// and vector: all its bytes, grouped as it grouped them) and then written once
// more, as fast as it goes, straight into an empty Badger with the same
// setting of fsync, by as many goroutines as the engine has loops. So the
// ratio is what all but the disk costs: validating, drafting, reading what is
// there, hashing, waking the writers. It says nothing about the extra bytes,
// which writes/op and bytes/op show.
func BenchmarkEngine(b *testing.B) {
	value := string(make([]byte, 100))
	for name, op := range map[string]func(i int, random *rand.Rand) *pb.Operation{
		"counter": func(_ int, random *rand.Rand) *pb.Operation {
			return incr(fmt.Sprint("counter", random.IntN(10_000)), 1)
		},
		"set": func(i int, random *rand.Rand) *pb.Operation {
			return add(fmt.Sprint("set", random.IntN(100)), fmt.Sprint("element", i))
		},
		"register": func(_ int, random *rand.Rand) *pb.Operation {
			return set(fmt.Sprint("register", random.IntN(10_000)), value)
		},
	} {
		b.Run(name, func(b *testing.B) {
			m := benchMember(b, badgerstore.Fsync)
			m.disk.keep = true
			b.ReportAllocs()
			b.ResetTimer()
			engine := m.concurrently(b, b.N, op)
			b.StopTimer()
			raw := float64(b.N) / replayRaw(b, m.disk.batches, len(m.loops)).Seconds()
			writes, bytes := 0, 0
			for _, batch := range m.disk.batches {
				writes += len(batch)
				for _, w := range batch {
					bytes += len(w.Key) + len(w.Value)
				}
			}
			b.ReportMetric(engine, "op/s")
			b.ReportMetric(raw, "raw-op/s")
			b.ReportMetric(engine/raw, "engine/raw")
			b.ReportMetric(float64(b.N)/float64(len(m.disk.batches)), "op/commit")
			b.ReportMetric(float64(writes)/float64(b.N), "writes/op")
			b.ReportMetric(float64(bytes)/float64(b.N), "bytes/op")
		})
	}
}

// replayRaw writes batches straight into Badger and returns how long it took.
func replayRaw(b *testing.B, batches [][]store.Write, committers int) time.Duration {
	b.Helper()
	options := badger.DefaultOptions(b.TempDir()).WithSyncWrites(true).WithDetectConflicts(false).WithLogger(nil)
	db, err := badger.Open(options)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	var next atomic.Int64
	var group sync.WaitGroup
	start := time.Now()
	for range committers {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(batches); i = int(next.Add(1)) - 1 {
				err := db.Update(func(txn *badger.Txn) error {
					for _, w := range batches[i] {
						err := error(nil)
						if w.Value == nil {
							err = txn.Delete(w.Key)
						} else {
							err = txn.Set(w.Key, w.Value)
						}
						if err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
	return time.Since(start)
}

// BenchmarkLargeSet compares adding to a set of 1,000,000 elements with adding
// to one of 1,000, the two taking turns. Target with fsync: at most 1.3 times
// the cost. Without it nothing hides behind the disk: what is left then is
// that the index of the store is larger where the large set is, and fits into
// the processor's caches less well.
func BenchmarkLargeSet(b *testing.B) {
	for _, durability := range []badgerstore.Durability{badgerstore.Fsync, badgerstore.OS} {
		m := benchMember(b, durability)
		for key, size := range map[string]int{"{s}large": 1_000_000, "{s}small": 1_000} {
			m.fill(key, names(size, "element"))
		}
		b.Run(string(durability), func(b *testing.B) { benchLargeSet(b, m) })
	}
}

func benchLargeSet(b *testing.B, m *member) {
	const round = benchWriters * 4
	seed := rand.Uint64() // no element was added before
	took := map[string]time.Duration{}
	rounds := 0
	for b.Loop() {
		for _, key := range []string{"{s}large", "{s}small"} {
			start := time.Now()
			m.concurrently(b, round, func(n int, _ *rand.Rand) *pb.Operation {
				return add(key, fmt.Sprint("new", seed, rounds, n))
			})
			took[key] += time.Since(start)
		}
		rounds++
	}
	each := func(key string) float64 { return float64(took[key].Nanoseconds()) / 1000 / float64(rounds*round) }
	b.ReportMetric(each("{s}large"), "µs/add-large")
	b.ReportMetric(each("{s}small"), "µs/add-small")
	b.ReportMetric(each("{s}large")/each("{s}small"), "large/small")
}

// BenchmarkHotCounter compares increments of one counter with increments
// spread over 100,000 counters: 64 writers, with fsync, taking turns. Target:
// hot is at least as fast.
func BenchmarkHotCounter(b *testing.B) {
	const counters = 100_000
	m := benchMember(b, badgerstore.Fsync)
	m.inBulk(names(counters, "counter"), func(key string) *pb.Operation { return incr(key, 1) })
	took := map[bool]time.Duration{}
	const round = benchWriters * 8
	rounds := 0
	for b.Loop() {
		for _, hot := range []bool{true, false} {
			start := time.Now()
			m.concurrently(b, round, func(_ int, random *rand.Rand) *pb.Operation {
				if hot {
					return incr("counter-000000", 1)
				}
				return incr(fmt.Sprintf("counter-%06d", rand.IntN(counters)), 1)
			})
			took[hot] += time.Since(start)
		}
		rounds++
	}
	perSecond := func(hot bool) float64 { return float64(rounds*round) / took[hot].Seconds() }
	b.ReportMetric(perSecond(true), "hot-op/s")
	b.ReportMetric(perSecond(false), "spread-op/s")
	b.ReportMetric(perSecond(true)/perSecond(false), "hot/spread")
}

// BenchmarkRead reads from snapshots while nobody writes.
func BenchmarkRead(b *testing.B) {
	m := benchMember(b, badgerstore.OS)
	keys := names(10_000, "key")
	m.inBulk(keys, func(key string) *pb.Operation { return incr(key, 1) })
	m.inBulk(keys, func(key string) *pb.Operation { return add(key, "e") })
	m.inBulk(keys, func(key string) *pb.Operation { return set(key, "v") })
	for name, op := range map[string]func(key string) *pb.Operation{
		"counter": count, "register": get, "card": card,
		"has": func(key string) *pb.Operation { return has(key, "e") },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				m.serve(op(keys[i%len(keys)]))
				i++
			}
		})
	}
}

// BenchmarkIdle shows what planning costs a member with nothing to do: one
// look at all shards of all peers.
func BenchmarkIdle(b *testing.B) {
	m := benchMember(b, badgerstore.OS)
	for _, peer := range names(10, "peer") {
		for shard := range testShards {
			m.peers.planner.Advertise(peer, 1, shard, m.State(shard))
		}
	}
	now := time.Now()
	for b.Loop() {
		m.peers.planner.Tick(now, m.State, standings(nil).doubt)
	}
	b.ReportMetric(float64(testShards*10), "states/op")
}

// BenchmarkScrub compares comparing everything with its digests, at no bounded
// rate, with only reading it from the store. What it reads per second is the
// most that --scrub-rate can ask for.
func BenchmarkScrub(b *testing.B) {
	m := benchMember(b, badgerstore.OS)
	m.inBulk(names(100_000, "counter"), func(key string) *pb.Operation { return incr(key, 1) })
	m.inBulk(names(100_000, "register"), func(key string) *pb.Operation { return set(key, string(make([]byte, 100))) })
	m.fill("set", names(100_000, "element"))
	var scrub, read time.Duration
	bytes := 0
	for b.Loop() {
		start := time.Now()
		for i := range m.shards {
			if err := m.examine(m.shards[i], func(n int) error { bytes += n; return nil }, func(int) {}); err != nil {
				b.Fatal(err)
			}
		}
		scrub += time.Since(start)
		start = time.Now()
		snap := m.disk.Snapshot()
		if err := snap.Scan([]byte("e"), []byte("f"), func(_, _ []byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
		snap.Close()
		read += time.Since(start)
	}
	b.ReportMetric(float64(bytes)/(1<<20)/scrub.Seconds(), "MiB/s")
	b.ReportMetric(scrub.Seconds()/read.Seconds(), "scrub/read")
}
