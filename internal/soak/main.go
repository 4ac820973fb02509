package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/atolldb/atoll/internal/cluster"
)

const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	duration := flag.Duration("duration", 10*time.Minute, "how long to go on; the last round is ended")
	seed := flag.Uint64("seed", 0, "what the faults and writes are drawn from (default: random)")
	round := flag.Duration("round", 12*time.Second, "about how long faults go on before all heals, at most")
	clients := flag.Int("clients", 24, "concurrent clients, spread over the regions")
	dir := flag.String("dir", "", "keep data and logs in the empty directory `DIR` (default: a temporary one, kept after a failure)")
	race := flag.Bool("race", false, "build the members with the race detector")
	asJSON := flag.Bool("json", false, "write the summary as one JSON object; the rounds go to stderr")
	flag.Parse()
	if flag.NArg() > 0 || *duration <= 0 || *round < time.Second || *clients < 1 {
		fmt.Fprintln(os.Stderr, "soak: it takes no arguments, a positive duration, rounds of at least 1s and at least 1 client; see --help")
		os.Exit(exitUsage)
	}
	o := options{duration: *duration, seed: *seed, clients: *clients, round: *round, out: os.Stdout}
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	if *asJSON {
		o.out = os.Stderr
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	if err := prepared(ctx, o, *dir, *race, *asJSON); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(exitFailure)
	}
}

// prepared runs with a program built for it, in a directory made for it, and
// shows the summary.
func prepared(ctx context.Context, o options, dir string, race, asJSON bool) (err error) {
	programs, err := os.MkdirTemp("", "atoll-soak-program-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(programs)
	if o.program, err = cluster.Build(ctx, programs, race); err != nil {
		return err
	}
	o.dir = dir
	if dir == "" {
		if o.dir, err = os.MkdirTemp("", "atoll-soak-"); err != nil {
			return err
		}
	} else if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty", dir)
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	fmt.Fprintf(o.out, "soak: seed %d, three regions, %d clients, for %v, data in %s\n", o.seed, o.clients, o.duration, o.dir)
	result, failed := run(ctx, o)
	show, out := result.print, io.Writer(os.Stdout)
	if asJSON {
		show = result.printJSON
	}
	if failed != nil {
		failed = fmt.Errorf("%w\nsoak: the logs and data of the members are in %s", failed, o.dir)
	} else if dir == "" {
		failed = os.RemoveAll(o.dir)
	}
	return errors.Join(show(out), failed)
}
