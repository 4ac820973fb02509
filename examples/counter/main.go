package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/atolldb/atoll/client"
)

// pollInterval is the time between two looks at the region that reads.
const pollInterval = 5 * time.Millisecond

// errNotArrived says that the count did not reach the other region in time.
var errNotArrived = errors.New("not arrived")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "counter:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("counter", flag.ContinueOnError)
	write := flags.String("write", "127.0.0.1:4222", "count at this member, `HOST:PORT`")
	read := flags.String("read", "127.0.0.1:4223", "read at this member of another region, `HOST:PORT`")
	key := flags.String("key", "examples:counter", "the `KEY` of the counter, which nobody counts down meanwhile")
	wait := flags.Duration("wait", 10*time.Second, "how long the count may take to arrive")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *wait)
	defer cancel()

	here, err := client.Connect(ctx, client.Options{Servers: []string{*write}})
	if err != nil {
		return err
	}
	defer here.Close()
	there, err := client.Connect(ctx, client.Options{Servers: []string{*read}})
	if err != nil {
		return err
	}
	defer there.Close()

	n, err := here.Counter(*key).Add(ctx, 1)
	if err != nil {
		return fmt.Errorf("counting at %s: %w", *write, err)
	}
	counted := time.Now()
	fmt.Fprintf(out, "%s counts %q: %d\n", *write, *key, n)

	if n, err = await(ctx, there.Counter(*key), n); err != nil {
		return fmt.Errorf("reading at %s: %w", *read, err)
	}
	fmt.Fprintf(out, "%s reads %q: %d, after %v\n", *read, *key, n, time.Since(counted).Round(100*time.Microsecond))
	return nil
}

// await reads the counter until it is at least n. Others may count at the same
// time: no region waits for another, so a region can only be seen to have
// counted at least as far.
func await(ctx context.Context, counter *client.Counter, n int64) (int64, error) {
	ticks := time.NewTicker(pollInterval)
	defer ticks.Stop()
	var last int64
	for {
		value, err := counter.Value(ctx)
		switch {
		case ctx.Err() != nil:
			return 0, fmt.Errorf("%w: it is still at %d, not %d: %w", errNotArrived, last, n, ctx.Err())
		case err != nil:
			return 0, err
		case value >= n:
			return value, nil
		}
		last = value
		select {
		case <-ticks.C:
		case <-ctx.Done():
		}
	}
}
