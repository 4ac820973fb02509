package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/client"
)

// workload is what a benchmark does: clients that do op on keys until the
// duration is over or count operations are done. Of these, 0 is no bound.
type workload struct {
	op       operation
	clients  int
	keys     int
	duration time.Duration
	count    uint64
}

// operation does one thing to the key of a number.
type operation func(ctx context.Context, cl *client.Client, key int, rng *rand.Rand) error

// operations returns what can be measured, by name.
func operations() map[string]operation {
	value := bytes.Repeat([]byte("x"), 100)
	element := func(rng *rand.Rand) string { return fmt.Sprint("element:", rng.IntN(1_000_000)) }
	counter := func(cl *client.Client, key int) *client.Counter { return cl.Counter(fmt.Sprint("bench:counter:", key)) }
	set := func(cl *client.Client, key int) *client.Set { return cl.Set(fmt.Sprint("bench:set:", key)) }
	register := func(cl *client.Client, key int) *client.Register {
		return cl.Register(fmt.Sprint("bench:register:", key))
	}

	writes := []operation{
		func(ctx context.Context, cl *client.Client, key int, _ *rand.Rand) error {
			_, err := counter(cl, key).Add(ctx, 1)
			return err
		},
		func(ctx context.Context, cl *client.Client, key int, rng *rand.Rand) error {
			_, err := set(cl, key).Add(ctx, element(rng))
			return err
		},
		func(ctx context.Context, cl *client.Client, key int, _ *rand.Rand) error {
			return register(cl, key).Set(ctx, value)
		},
	}
	reads := []operation{
		func(ctx context.Context, cl *client.Client, key int, _ *rand.Rand) error {
			_, err := counter(cl, key).Value(ctx)
			return err
		},
		func(ctx context.Context, cl *client.Client, key int, rng *rand.Rand) error {
			_, err := set(cl, key).Has(ctx, element(rng))
			return err
		},
		func(ctx context.Context, cl *client.Client, key int, _ *rand.Rand) error {
			if _, err := register(cl, key).Get(ctx); !errors.Is(err, client.ErrNotFound) {
				return err
			}
			return nil
		},
	}
	mixed := func(ctx context.Context, cl *client.Client, key int, rng *rand.Rand) error {
		some := writes
		if rng.IntN(2) == 0 {
			some = reads
		}
		return some[rng.IntN(len(some))](ctx, cl, key, rng)
	}
	return map[string]operation{"counter": writes[0], "set": writes[1], "register": writes[2], "mixed": mixed}
}

// result is what came of a workload.
type result struct {
	elapsed   time.Duration
	latencies latencies // of what succeeded
	failed    uint64
	failure   error // the first
}

// run does the work, and tells progress now and then how many operations are
// done. What is under way when the time is over is waited for; if the context
// ends, it is not counted.
func (w workload) run(ctx context.Context, cl *client.Client, progress func(done uint64, elapsed time.Duration)) result {
	var started, done atomic.Uint64
	var total result
	var mu sync.Mutex
	var group sync.WaitGroup
	began := time.Now()
	more := func() bool {
		return ctx.Err() == nil && (w.duration == 0 || time.Since(began) < w.duration) &&
			(w.count == 0 || started.Add(1) <= w.count)
	}
	for i := range w.clients {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 0))
			var own result
			for more() {
				sent := time.Now()
				err := w.op(ctx, cl, rng.IntN(w.keys), rng)
				switch {
				case err == nil:
					own.latencies.add(time.Since(sent))
				case ctx.Err() != nil:
					continue
				default:
					own.failed++
					own.failure = err
				}
				done.Add(1)
			}
			mu.Lock()
			defer mu.Unlock()
			total.latencies.merge(&own.latencies)
			total.failed += own.failed
			if total.failure == nil {
				total.failure = own.failure
			}
		})
	}
	finished := make(chan struct{})
	go func() {
		group.Wait()
		close(finished)
	}()
	ticks := time.NewTicker(benchPace)
	defer ticks.Stop()
	for {
		select {
		case <-finished:
			total.elapsed = time.Since(began)
			return total
		case <-ticks.C:
			progress(done.Load(), time.Since(began))
		}
	}
}

// latencies counts durations in buckets that are at most 1/64 wide, in
// proportion: 64 for each power of two.
type latencies struct {
	buckets [64 * 59]uint64
	count   uint64
	max     time.Duration
}

func (l *latencies) add(d time.Duration) {
	n := uint64(max(d, 0))
	shift := max(bits.Len64(n)-7, 0)
	l.buckets[64*shift+int(n>>shift)]++
	l.count++
	l.max = max(l.max, d)
}

func (l *latencies) merge(o *latencies) {
	for i, n := range o.buckets {
		l.buckets[i] += n
	}
	l.count += o.count
	l.max = max(l.max, o.max)
}

// quantile returns the latency that a part of all do not exceed, up to the
// width of a bucket; 0 if there are none.
func (l *latencies) quantile(part float64) time.Duration {
	rank := max(uint64(math.Ceil(part*float64(l.count))), 1)
	var below uint64
	for i, n := range l.buckets {
		if below += n; below >= rank {
			shift := max(i/64-1, 0)
			return min(time.Duration((uint64(i-64*shift)+1)<<shift-1), l.max)
		}
	}
	return l.max
}
