package containers_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/book"
	"github.com/atolldb/atoll/internal/containers"
)

var (
	lasting = flag.Duration("lasting", 3*time.Second, "how long each fault lasts in the containers")
	seed    = flag.Uint64("seed", uint64(time.Now().UnixNano()), "what is written into the containers")
)

const (
	// patience bounds every wait.
	patience = time.Minute
	// dockerfile is that of the example, as seen from here.
	dockerfile = "../../examples/geo/Dockerfile"
	// clientPause is the time between two writes of a client.
	clientPause = 20 * time.Millisecond
)

var regions = []string{"eu", "us", "ap"}

// drill is a cluster in containers under load, and the timeline of what happens
// to it.
type drill struct {
	t       *testing.T
	began   time.Time
	cluster *containers.Cluster
	clients map[string]*client.Client // one in each region
	books   *book.Book
	load    *book.Load
	markers int
}

// newDrill builds two images that do the same, and starts two members in each of
// three regions.
func newDrill(t *testing.T) (d *drill, first, second string) {
	t.Helper()
	engine, err := containers.Find(t.Context())
	if errors.Is(err, containers.ErrNone) {
		t.Skip("SKIPPED, nothing is tested in containers: ", err)
	}
	d = &drill{t: t, began: time.Now(), clients: map[string]*client.Client{}, books: book.New()}
	d.books.Skew = 2 * time.Hour
	root, err := containers.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d.cluster, err = containers.New(t.Context(), engine, regions)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience) // t's has ended
		defer cancel()
		if t.Failed() {
			for _, m := range d.cluster.Members {
				t.Logf("%s wrote at last:\n%s", m.Name, m.Log(ctx, 20))
			}
		}
		if err := d.cluster.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	d.must(err)
	first, err = d.cluster.Image(t.Context(), filepath.FromSlash(dockerfile), root, "first")
	d.must(err)
	second, err = d.cluster.Image(t.Context(), filepath.FromSlash(dockerfile), root, "second")
	d.must(err)
	if a, b := d.layers(engine, first), d.layers(engine, second); a != b {
		t.Errorf("of the same files two layers were made: %s and %s", a, b)
	}
	d.say("two images are built")
	for _, region := range regions {
		for _, n := range []string{"1", "2"} {
			_, err := d.cluster.Add(t.Context(), region, region+"-"+n, first, 0)
			d.must(err)
		}
	}
	d.must(d.all(func(ctx context.Context, m *containers.Member) error {
		return errors.Join(m.Start(ctx), m.Ready(ctx))
	}))
	for _, region := range regions {
		d.clients[region] = d.connect(d.cluster.In(region)...)
	}
	d.converge()
	d.say("six members in three regions agree")
	return d, first, second
}

func (d *drill) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// say adds a line to the timeline.
func (d *drill) say(format string, args ...any) {
	d.t.Helper()
	d.t.Logf("%6.1fs  %s", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

func (d *drill) layers(e *containers.Engine, tag string) string {
	d.t.Helper()
	layers, err := e.Layers(d.t.Context(), tag)
	d.must(err)
	return layers
}

// all does something with all members at the same time.
func (d *drill) all(do func(context.Context, *containers.Member) error) error {
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	errs := make([]error, len(d.cluster.Members))
	var group sync.WaitGroup
	for i, m := range d.cluster.Members {
		group.Go(func() { errs[i] = do(ctx, m) })
	}
	group.Wait()
	return errors.Join(errs...)
}

func (d *drill) connect(members ...*containers.Member) *client.Client {
	d.t.Helper()
	var servers []string
	for _, m := range members {
		servers = append(servers, m.Client)
	}
	as := d.cluster.Access()
	as.Servers = servers
	c, err := client.Connect(d.t.Context(), as)
	d.must(err)
	d.t.Cleanup(func() { _ = c.Close() })
	return c
}

// until waits until something is so, and returns how long that took.
func (d *drill) until(what string, so func(context.Context) bool) time.Duration {
	d.t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	for !so(ctx) {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			d.t.Fatal("waited in vain: ", what)
		}
	}
	return time.Since(began).Round(time.Millisecond)
}

// converge waits until all members agree, and returns how long that took.
func (d *drill) converge() time.Duration {
	d.t.Helper()
	last := "nothing was heard"
	defer func() {
		if d.t.Failed() {
			d.t.Log("at last: ", last)
		}
	}()
	return d.until("all agree", func(ctx context.Context) bool {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		report, err := d.clients["eu"].Verify(ctx, time.Second, nil)
		if err != nil {
			last = err.Error()
			return false
		}
		last = fmt.Sprintf("%d members, silent %v, changing %v, %d shards differ", len(report.Members), report.Silent, report.Changing, len(report.Differ))
		return report.Converged() && len(report.Members) == len(d.cluster.Members)
	})
}

// begin starts clients that write in all regions, each to one member first.
func (d *drill) begin() {
	d.t.Helper()
	var servers [][]string
	for _, region := range regions {
		in := d.cluster.In(region)
		servers = append(servers, []string{in[0].Client, in[1].Client}, []string{in[1].Client, in[0].Client})
	}
	d.t.Log("seed ", *seed)
	load, err := book.StartLoad(d.t.Context(), d.books, book.LoadOptions{Servers: servers, As: d.cluster.Access(), Seed: *seed, Pause: clientPause})
	d.must(err)
	d.load = load
	d.t.Cleanup(func() { _ = load.End() })
}

// step does something under load, and tells what became of the writes meanwhile.
// It returns how many were not acknowledged.
func (d *drill) step(what string, do func(context.Context) (found string)) (failed int) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*patience)
	defer cancel()
	d.must(d.books.Await(ctx, 20))
	outcomes := func() (n [3]int) {
		for i, o := range []book.Outcome{book.Done, book.Unknown, book.Refused} {
			n[i] = d.books.Count(o)
		}
		return n
	}
	before, began := outcomes(), time.Now()
	found := do(ctx)
	d.must(d.books.Await(ctx, 20))
	after := outcomes()
	failed = after[1] - before[1] + after[2] - before[2]
	d.say("%s, %.1fs: %s; %d writes acknowledged, %d unknown, %d refused", what, time.Since(began).Seconds(), found,
		after[0]-before[0], after[1]-before[1], after[2]-before[2])
	return failed
}

// last lets a fault last.
func (d *drill) last(ctx context.Context) {
	select {
	case <-time.After(*lasting):
	case <-ctx.Done():
	}
}

// marker counts once in each of the regions, and returns its name.
func (d *drill) marker(ctx context.Context) (name string) {
	d.t.Helper()
	d.markers++
	name = fmt.Sprint("marker-", d.markers)
	for _, region := range regions {
		_, err := d.clients[region].Counter(name).Add(ctx, 1)
		d.must(err)
	}
	return name
}

// has says whether a region has n of a marker.
func (d *drill) has(ctx context.Context, region, marker string, n int64) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	value, err := d.clients[region].Counter(marker).Value(ctx)
	return err == nil && value == n
}

// everywhere waits until all regions have all of a marker.
func (d *drill) everywhere(marker string) time.Duration {
	d.t.Helper()
	return d.until("all regions have "+marker, func(ctx context.Context) bool {
		for _, region := range regions {
			if !d.has(ctx, region, marker, int64(len(regions))) {
				return false
			}
		}
		return true
	})
}

// check ends the load, waits until all agree, and holds what each region has
// against the book.
func (d *drill) check() {
	d.t.Helper()
	if err := d.load.End(); err != nil {
		d.t.Error(err)
	}
	d.say("the load ends; all agree after %v", d.converge())
	d.compare()
	d.say("%v; nothing acknowledged is missing in any region", d.books)
}

// compare holds what each region has against the book.
func (d *drill) compare() {
	d.t.Helper()
	var first book.Reading
	for _, region := range regions {
		read, errs := d.books.Read(d.t.Context(), d.clients[region])
		for _, err := range errs[:min(10, len(errs))] {
			d.t.Errorf("%s: %v", region, err)
		}
		if first == nil {
			first = read
		}
		if differ := first.Differ(read); len(differ) > 0 {
			d.t.Errorf("%s and %s differ in %v", regions[0], region, differ)
		}
	}
}
