package replica

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/transport/memnet"
)

// TestFaultyNetwork lets three members write at once over a network that
// loses, repeats and reorders, while regions are cut off and come back. In the
// end all hold the same: what the operations add up to, and what a copy in
// memory makes of the same events.
func TestFaultyNetwork(t *testing.T) {
	random := seeded(t)
	c := newCluster(t, memnet.Options{Seed: random.Uint64(), Link: memnet.Link{
		Jitter: 3 * time.Millisecond, Reorder: true, Loss: 0.1, Repeat: 0.1,
	}})
	for _, name := range []string{"eu", "us", "ap"} {
		c.start(name, func(o *Options) {
			o.LogLimit = 1 << 20
			o.QuestionTimeout = 50 * time.Millisecond
		})
	}
	rounds := scaled(120, 30)
	var mu sync.Mutex
	sums, adds := map[string]int64{}, map[string]bool{}
	var writers sync.WaitGroup
	for n, m := range c.members {
		for w := range 4 {
			random := rand.New(rand.NewPCG(random.Uint64(), uint64(4*n+w)))
			writers.Go(func() {
				for i := range rounds {
					key := fmt.Sprint("k", random.IntN(20))
					k, element := random.Int64N(9)-4, fmt.Sprint(n, w, i)
					m.do(incr("sum"+key, k))
					m.do(add("set"+key, element))
					m.do(incr("mix"+key, k))
					switch random.IntN(6) {
					case 0:
						m.do(reset("mix" + key))
					case 1:
						m.do(del("mix"+key, 0))
					case 2:
						m.do(set("mix"+key, element))
					case 3:
						m.do(add("mix"+key, fmt.Sprint(i%7)))
					}
					mu.Lock()
					sums["sum"+key] += k
					adds["set"+key+" "+element] = true
					mu.Unlock()
				}
			})
		}
	}
	var done atomic.Bool
	go func() {
		writers.Wait()
		done.Store(true)
	}()
	for i := range 6 {
		region := c.members[i%3].options.Region
		c.network.CutRegion(region)
		before := c.members[0].disk.committed()
		eventually(t, "writes go on", func() bool { return done.Load() || c.members[0].disk.committed() > before+rounds/4 })
		c.network.RestoreRegion(region)
	}
	writers.Wait()
	c.settle()
	for _, m := range c.members {
		for key, want := range sums {
			if got := m.number(count(key)); got != want {
				t.Errorf("%s: %s is %d, want %d", m.options.Member, key, got, want)
			}
		}
		n := 0
		for i := range 20 {
			key := fmt.Sprint("setk", i)
			for _, element := range m.elements(key) {
				if n++; !adds[key+" "+element] {
					t.Errorf("%s: %s has %q, which nobody added", m.options.Member, key, element)
				}
			}
		}
		if n != len(adds) {
			t.Errorf("%s: %d elements, want %d", m.options.Member, n, len(adds))
		}
	}
	c.compareWithModel()
	t.Logf("eu: %v", c.members[0].Counters())
}

// compareWithModel compares every shard with a copy in memory that was given
// the events of all logs.
func (c *cluster) compareWithModel() {
	c.t.Helper()
	for shard := range testShards {
		events := map[crdt.Dot]string{}
		var shards []*audited
		for _, m := range c.members {
			a := audit(c.t, m.disk, m.options)[shard]
			shards = append(shards, a)
			for dot, raw := range a.log {
				events[dot] = raw
			}
		}
		model := replayed(c.t, events)
		want := fieldsOf(model)
		for i, a := range shards {
			if a.heard.Vector().Compare(model.Heard().Vector()) != crdt.Equal || !slices.Equal(want, printed(a.fields)) {
				c.t.Errorf("%s: shard %d differs from the model", c.members[i].options.Member, shard)
			}
		}
	}
}

func fieldsOf(s *crdt.State) []string {
	fields := map[crdt.Position]crdt.Entries{}
	_ = s.Visit("", crdt.End, func(at crdt.Position, es crdt.Entries) error {
		fields[at] = es
		return nil
	})
	return printed(fields)
}

func printed(fields map[crdt.Position]crdt.Entries) []string {
	var out []string
	for at, es := range fields {
		out = append(out, fmt.Sprintf("%x %v", string(at), es))
	}
	slices.Sort(out)
	return out
}
