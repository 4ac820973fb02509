package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
)

// Bounds of a benchmark.
const (
	maxBenchClients = 1024
	maxBenchKeys    = 10_000_000
	benchPace       = 200 * time.Millisecond // of the progress line
)

func benchCommand() *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "measure throughput and latency of the cluster as it is",
		Description: `Clients that share one connection each do one operation after the other:

   counter   add 1
   set       add one of a million elements
   register  set a value of 100 bytes
   mixed     one of these at random, every other time the read instead

The keys begin with "bench:", and stay.`,
		Before: takes(0, 0),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "op", Value: "counter", Usage: "counter, set, register or mixed"},
			&cli.IntFlag{Name: "clients", Value: 64, Usage: "how many `N` clients at the same time"},
			&cli.IntFlag{Name: "keys", Value: 1000, Usage: "spread over `N` keys"},
			&cli.DurationFlag{Name: "duration", Value: 5 * time.Second, Usage: "how long"},
			&cli.Uint64Flag{Name: "count", Usage: "end after `N` operations; without --duration, whatever it takes", DefaultText: "when the time is over"},
		},
		Action: bench,
	}
}

func bench(c *cli.Context) error {
	w := workload{
		op: operations()[c.String("op")], clients: c.Int("clients"), keys: c.Int("keys"),
		duration: c.Duration("duration"), count: c.Uint64("count"),
	}
	if c.IsSet("count") && !c.IsSet("duration") {
		w.duration = 0
	}
	switch {
	case w.op == nil:
		return usagef("--op %q; it is counter, set, register or mixed", c.String("op"))
	case w.clients < 1 || w.clients > maxBenchClients:
		return usagef("--clients %d; it takes 1 to %d", w.clients, maxBenchClients)
	case w.keys < 1 || w.keys > maxBenchKeys:
		return usagef("--keys %d; it takes 1 to %d", w.keys, maxBenchKeys)
	case c.IsSet("count") && w.count == 0:
		return usagef("--count 0; it takes at least 1")
	case w.duration < 0, w.duration == 0 && w.count == 0:
		return usagef("--duration %v; it takes more than 0, such as 5s", w.duration)
	}
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		line := newProgress(c)
		result := w.run(ctx, cl, func(done uint64, elapsed time.Duration) {
			line.show("%s: %d operations in %.1fs, %.0f/s", c.String("op"), done, elapsed.Seconds(), float64(done)/elapsed.Seconds())
		})
		line.clear()
		b := benchOf(c.String("op"), w, result)
		if err := answer(c, b, b.print); err != nil {
			return err
		}
		if result.failed > 0 {
			return fmt.Errorf("%d of %d operations failed, such as: %w", result.failed, result.failed+result.latencies.count, result.failure)
		}
		return nil
	})
}

type benchAnswer struct {
	Op         string  `json:"op"`
	Clients    int     `json:"clients"`
	Keys       int     `json:"keys"`
	Seconds    float64 `json:"seconds"`
	Operations uint64  `json:"operations"` // that succeeded
	Failed     uint64  `json:"failed"`
	PerSecond  float64 `json:"per_second"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Max        float64 `json:"max_ms"`
}

func benchOf(op string, w workload, r result) benchAnswer {
	return benchAnswer{
		Op: op, Clients: w.clients, Keys: w.keys, Seconds: seconds(r.elapsed),
		Operations: r.latencies.count, Failed: r.failed, PerSecond: float64(r.latencies.count) / r.elapsed.Seconds(),
		P50: milliseconds(r.latencies.quantile(0.5)), P99: milliseconds(r.latencies.quantile(0.99)), Max: milliseconds(r.latencies.max),
	}
}

func (b benchAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "%s, %d clients, %d keys, %.1fs\n", b.Op, b.Clients, b.Keys, b.Seconds)
	fmt.Fprintf(w, "operations\t%d\n", b.Operations)
	fmt.Fprintf(w, "failed\t%d\n", b.Failed)
	fmt.Fprintf(w, "throughput\t%.0f/s\n", b.PerSecond)
	fmt.Fprintf(w, "latency\tp50 %.3f ms\tp99 %.3f ms\tmax %.3f ms\n", b.P50, b.P99, b.Max)
}
