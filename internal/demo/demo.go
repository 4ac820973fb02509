package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/traffic"
	"github.com/atolldb/atoll/internal/wan"
)

// Regions are the regions of the demo.
var regions = []string{"eu", "us", "ap"}

// MaxClients bounds the clients of each region.
const MaxClients = 1024

var (
	// ErrOptions says that an option cannot be used.
	ErrOptions = errors.New("demo")
	// ErrMismatch says that a region does not hold what the input says, or
	// that the regions do not agree.
	ErrMismatch = errors.New("the regions do not hold what the input says")
	// errUnseen says that what people are to see cannot be written.
	errUnseen = errors.New("the output cannot be written")
)

// Options configures Run.
type Options struct {
	// Log is an access log in combined format, plain or gzip; empty: made-up
	// traffic of Hits hits, drawn from Seed. Defaults 20,000 and 1.
	Log  string
	Hits int
	Seed uint64
	// Cut is the region to cut off: eu, us, ap or none. Default ap.
	Cut string
	// CutAt and HealAt say when, in percent of the input.
	CutAt, HealAt int
	// Clients is the number of concurrent clients of each region. Default 32.
	Clients int
	// Dir takes the data directories and must be empty. Default: a temporary
	// one, removed at the end.
	Dir string
	// Keep leaves the cluster up until the context ends, and says how to use it
	// with a Command that is crdtctl. Default crdtctl.
	Keep    bool
	Command string
	// Patience bounds the wait for convergence. Default 60 s.
	Patience time.Duration
	// Out takes what people see; Terminal says that it can be redrawn.
	Out      io.Writer
	Terminal bool
	// JSON takes the outcome as one JSON object, if not nil.
	JSON io.Writer

	shards int // 0: as many as clusters have by default
}

func (o Options) withDefaults() (Options, error) {
	o.Hits = cmp.Or(o.Hits, 20_000)
	o.Seed = cmp.Or(o.Seed, 1)
	o.Cut = cmp.Or(o.Cut, "ap")
	o.Clients = cmp.Or(o.Clients, 32)
	o.Patience = cmp.Or(o.Patience, time.Minute)
	switch {
	case o.Cut != "none" && !slices.Contains(regions, o.Cut):
		return o, fmt.Errorf("%w: there is no region %q to cut off; it takes %s or none", ErrOptions, o.Cut, strings.Join(regions, ", "))
	case o.CutAt < 0 || o.CutAt > o.HealAt || o.HealAt > 100:
		return o, fmt.Errorf("%w: cut at %d%% and heal at %d%%; it takes 0 <= cut <= heal <= 100", ErrOptions, o.CutAt, o.HealAt)
	case o.Hits < 1 || o.Clients < 1 || o.Clients > MaxClients:
		return o, fmt.Errorf("%w: %d hits by %d clients; it takes at least 1 hit and 1 to %d clients", ErrOptions, o.Hits, o.Clients, MaxClients)
	}
	return o, nil
}

// hits returns the input, which can be read any number of times. Lines of a log
// that cannot be read come as errors that are traffic.ErrSyntax; others follow.
func (o Options) hits() iter.Seq2[traffic.Hit, error] {
	return func(yield func(traffic.Hit, error) bool) {
		if o.Log == "" {
			for hit := range traffic.Generate(o.Seed, o.Hits) {
				if !yield(hit, nil) {
					return
				}
			}
			return
		}
		log, err := traffic.Open(o.Log)
		if err != nil {
			yield(traffic.Hit{}, fmt.Errorf("%w: %w", ErrOptions, err))
			return
		}
		defer log.Close()
		for hit, err := range log.Hits() {
			if err != nil && !errors.Is(err, traffic.ErrSyntax) {
				err = fmt.Errorf("%w: %w", ErrOptions, err)
			}
			if !yield(hit, err) {
				return
			}
		}
	}
}

// input is what there is to replay, added up without any CRDT.
type input struct {
	*traffic.Totals
	skipped int   // lines that cannot be read
	first   error // what is wrong with the first of them
}

// truth reads the input once.
func (o Options) truth() (*input, error) {
	in := &input{Totals: &traffic.Totals{}}
	for hit, err := range o.hits() {
		switch {
		case err == nil:
			in.Add(hit)
		case !errors.Is(err, traffic.ErrSyntax):
			return nil, err
		default:
			if in.skipped++; in.skipped == 1 {
				in.first = err
			}
		}
	}
	switch {
	case in.Hits > 0:
		return in, nil
	case in.skipped > 0:
		return nil, fmt.Errorf("%w: of %d lines none can be read, such as %w", ErrOptions, in.skipped, in.first)
	}
	return nil, fmt.Errorf("%w: %s holds no hits", ErrOptions, o.Log)
}

// Run runs the demo. It returns nil only if every region ends with exactly
// what the input says, and if that could be shown: where there is no JSON, an
// error of Out ends it.
func Run(ctx context.Context, o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	if o.JSON != nil {
		return o.run(ctx)
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	o.Out = &watched{Writer: o.Out, failed: func(err error) { end(fmt.Errorf("%w: %w", errUnseen, err)) }}
	err = o.run(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, errUnseen) {
		return cause
	}
	return err
}

func (o Options) run(ctx context.Context) error {
	truth, err := o.truth()
	if err != nil {
		return err
	}
	remove, err := o.prepareDir()
	if err != nil {
		return err
	}
	defer remove()
	screen := newScreen(o, truth.Hits)
	screen.say("starting three regions, each with its own disk and NATS server ...")
	c, err := startCluster(ctx, o.Dir, o.shards)
	if err != nil {
		return err
	}
	defer c.close()
	screen.say("input: %s, %d hits; one region in three takes each", o.source(), truth.Hits)
	if truth.skipped > 0 {
		screen.say("skipped: %d lines that cannot be read, such as %v", truth.skipped, truth.first)
	}
	if err := play(ctx, o, c, screen, truth.Hits); err != nil {
		return err
	}
	report, took, err := o.converge(ctx, c, screen)
	if err != nil {
		return err
	}
	result, err := check(ctx, c, truth)
	if err != nil {
		return err
	}
	result.print(o.Out)
	if err := o.writeJSON(result, report, took); err != nil {
		return err
	}
	if !report.Converged() {
		return fmt.Errorf("%w: not converged after %s", ErrMismatch, o.Patience)
	}
	if n := len(result.wrong); n > 0 {
		return fmt.Errorf("%w: %d differences, such as %s", ErrMismatch, n, result.wrong[0])
	}
	screen.proof(report, took)
	if o.Keep {
		c.invite(ctx, o.Out, cmp.Or(o.Command, "crdtctl"))
	}
	return nil
}

func (o Options) source() string {
	if o.Log != "" {
		return o.Log
	}
	return fmt.Sprintf("made-up traffic, seed %d", o.Seed)
}

// prepareDir makes sure of an empty directory and returns how to leave it.
func (o *Options) prepareDir() (remove func(), err error) {
	if o.Dir == "" {
		o.Dir, err = os.MkdirTemp("", "atoll-demo-")
		return func() { _ = os.RemoveAll(o.Dir) }, err
	}
	entries, err := os.ReadDir(o.Dir)
	if errors.Is(err, os.ErrNotExist) {
		err = os.MkdirAll(o.Dir, 0o700)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("%w: the data directory cannot be used: %w; name an empty one, or one that can be made", ErrOptions, err)
	case len(entries) > 0:
		err = fmt.Errorf("%w: %s is not empty; counts of an earlier run would be counted again", ErrOptions, o.Dir)
	}
	return func() {}, err
}

// play replays the input, with the cut in its course.
func play(ctx context.Context, o Options, c *cluster, screen *screen, total int) error {
	r := newReplay(c, o.Clients)
	defer r.stop()
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); screen.watch(watching, c, r) }()
	defer func() { stop(); <-watched }()
	cut := &outage{options: o, cluster: c, screen: screen, total: total}
	n := 0
	for hit, err := range o.hits() {
		if errors.Is(err, traffic.ErrSyntax) {
			continue
		}
		if err != nil {
			return err
		}
		if err := cut.at(n); err != nil {
			return err
		}
		if err := r.send(ctx, hit); err != nil {
			return err
		}
		n++
	}
	if err := cut.at(n); err != nil {
		return err
	}
	if err := r.wait(); err != nil {
		return err
	}
	return cut.end()
}

// outage is the cut in the course of a replay.
type outage struct {
	options Options
	cluster *cluster
	screen  *screen
	total   int   // hits
	under   bool  // way
	before  int64 // bytes that crossed until it began
}

// at cuts the region off, or heals it, if the time is there: before hit n.
func (a *outage) at(n int) error {
	if a.options.Cut == "none" {
		return nil
	}
	if n == a.total*a.options.CutAt/100 {
		a.cluster.wan.Cut(a.options.Cut, wan.Reset)
		a.under, a.before = true, a.crossed()
		a.screen.cut(a.options.Cut)
	}
	if n == a.total*a.options.HealAt/100 && n < a.total { // later, all is written first
		return a.end()
	}
	return nil
}

// end heals the region, unless it is. A cut that let anything through was none.
func (a *outage) end() error {
	if !a.under {
		return nil
	}
	a.under = false
	if n := a.crossed() - a.before; n > 0 {
		return fmt.Errorf("the demo is broken: %d bytes crossed the cut", n)
	}
	a.cluster.wan.Heal(a.options.Cut)
	a.screen.heal(a.options.Cut)
	return nil
}

// crossed returns how many bytes went between the region to cut off and others.
func (a *outage) crossed() (n int64) {
	for _, other := range regions {
		if other != a.options.Cut {
			n += a.cluster.wan.Bytes(a.options.Cut, other) + a.cluster.wan.Bytes(other, a.options.Cut)
		}
	}
	return n
}

// converge waits until all regions agree and says how long that took.
func (o Options) converge(ctx context.Context, c *cluster, screen *screen) (*client.Report, time.Duration, error) {
	start := time.Now()
	report, err := c.clients[regions[0]].Verify(ctx, o.Patience, func(*client.Report) { screen.show(ctx, c, 1, 1) })
	screen.end()
	return report, time.Since(start), err
}
