package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
)

// Bounds of a load.
const (
	maxLoadClients  = 64
	maxLoadRate     = 10_000
	maxLoadElements = 1000 // of the set of one client
	loadArrival     = 10 * time.Second
)

func loadCommand() *cli.Command {
	return &cli.Command{
		Name:  "load",
		Usage: "write at a steady pace until it is stopped, then check that nothing is missing",
		Description: `Clients that share one connection count, add elements and set registers in turn,
under keys that begin with "load:NAME:" and stay. Once a second a line on stderr
says how that goes. At the end, everything acknowledged is read again and must be
there within ten seconds: else, or if a write failed, the exit code is 1.

   UNKNOWN   writes without an answer in time; they may be there or not
   SLOWEST   the longest that a write of that second took`,
		Before: takes(0, 0),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "name", Usage: "write under keys of `NAME`, which nobody else uses meanwhile (default: random)"},
			&cli.IntFlag{Name: "rate", Value: 100, Usage: "try `N` writes per second"},
			&cli.IntFlag{Name: "clients", Value: 4, Usage: "how many `N` clients at the same time"},
			&cli.DurationFlag{Name: "duration", Usage: "how long", DefaultText: "until it is interrupted"},
		},
		Action: func(c *cli.Context) error {
			l := &load{name: c.String("name"), rate: c.Int("rate"), clients: c.Int("clients"), duration: c.Duration("duration")}
			if l.name == "" {
				l.name = rand.Text()[:8]
			}
			switch {
			case l.rate < 1 || l.rate > maxLoadRate:
				return usagef("--rate %d; it takes 1 to %d", l.rate, maxLoadRate)
			case l.clients < 1 || l.clients > maxLoadClients:
				return usagef("--clients %d; it takes 1 to %d", l.clients, maxLoadClients)
			case l.duration < 0:
				return usagef("--duration %v; it takes more than 0, such as 5s", l.duration)
			}
			return connected(c, func(ctx context.Context, cl *client.Client) error {
				lines := c.App.ErrWriter
				if c.Bool("json") {
					lines = io.Discard
				}
				return l.run(ctx, c, cl, lines)
			})
		},
	}
}

// load writes, and keeps account of it.
type load struct {
	name          string
	rate, clients int
	duration      time.Duration

	mu              sync.Mutex
	all, lately     tally
	counted, unsure int64 // increments that were acknowledged, and those that may have been made
	failure         error // the last
}

// tally counts writes by what became of them.
type tally struct {
	Acknowledged uint64 `json:"acknowledged"`
	Unknown      uint64 `json:"unknown"`
	Failed       uint64 `json:"failed"`
	slowest      time.Duration
}

type loadAnswer struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	tally
	Slowest float64  `json:"slowest_ms"`
	Missing []string `json:"missing"` // what was acknowledged and is not there
}

func (a loadAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "load %s, %.1fs\n", a.Name, a.Seconds)
	fmt.Fprintf(w, "acknowledged\t%d\n", a.Acknowledged)
	fmt.Fprintf(w, "unknown\t%d\n", a.Unknown)
	fmt.Fprintf(w, "failed\t%d\n", a.Failed)
	fmt.Fprintf(w, "slowest\t%.1f ms\n", a.Slowest)
	fmt.Fprintf(w, "missing\t%d\n", len(a.Missing))
	for _, what := range a.Missing[:min(len(a.Missing), 10)] {
		fmt.Fprintf(w, "  %s\n", what)
	}
}

// run writes until ctx or its time ends, and answers what became of it.
func (l *load) run(ctx context.Context, c *cli.Context, cl *client.Client, lines io.Writer) error {
	writing := ctx
	if l.duration > 0 {
		var stop context.CancelFunc
		writing, stop = context.WithTimeout(ctx, l.duration)
		defer stop()
	}
	ctx = context.WithoutCancel(ctx) // what is under way ends, and is checked
	counter := cl.Counter("load:" + l.name + ":counter")
	before, err := counter.Value(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	writers := make([]*loadWriter, l.clients)
	var group sync.WaitGroup
	for i := range writers {
		prefix := fmt.Sprintf("load:%s:%d:", l.name, i)
		writers[i] = &loadWriter{load: l, counter: counter, set: cl.Set(prefix + "set"), register: cl.Register(prefix + "register")}
		group.Go(func() { writers[i].run(ctx, writing) })
	}
	ended := make(chan struct{})
	go func() { group.Wait(); close(ended) }()
	l.report(lines, ended)
	a := loadAnswer{Name: l.name, Seconds: seconds(time.Since(began)), tally: l.all, Slowest: milliseconds(l.all.slowest)}
	// The owner that is asked need not be the one that took a write.
	for deadline := time.Now().Add(loadArrival); ; time.Sleep(loadArrival / 100) {
		a.Missing, err = l.missing(ctx, writers, before)
		if err != nil {
			return fmt.Errorf("checking what was written: %w", err)
		}
		if len(a.Missing) == 0 || time.Now().After(deadline) {
			break
		}
	}
	if err := answer(c, a, a.print); err != nil {
		return err
	}
	switch {
	case len(a.Missing) > 0:
		return fmt.Errorf("%d acknowledged writes are not as they were written, such as: %s", len(a.Missing), a.Missing[0])
	case l.all.Failed+l.all.Unknown > 0:
		return fmt.Errorf("%d writes failed, %d got no answer, such as: %w", l.all.Failed, l.all.Unknown, l.failure)
	}
	return nil
}

// missing returns what was acknowledged and is not there.
func (l *load) missing(ctx context.Context, writers []*loadWriter, before int64) (missing []string, err error) {
	missing = []string{}
	for _, w := range writers {
		m, err := w.check(ctx)
		if err != nil {
			return nil, err
		}
		missing = append(missing, m...)
	}
	now, err := writers[0].counter.Value(ctx)
	if grown := now - before; grown < l.counted || grown > l.counted+l.unsure {
		missing = append(missing, fmt.Sprintf("the counter has grown by %d; %d increments were acknowledged, and %d got no answer", grown, l.counted, l.unsure))
	}
	return missing, err
}

// report tells once a second how it goes, until it has ended.
func (l *load) report(lines io.Writer, ended <-chan struct{}) {
	const row = "%-10s%14v%9v%8v%12v\n"
	fmt.Fprintf(lines, row, "TIME", "ACKNOWLEDGED", "UNKNOWN", "FAILED", "SLOWEST")
	ticks := time.NewTicker(time.Second)
	defer ticks.Stop()
	for {
		select {
		case <-ended:
			return
		case now := <-ticks.C:
			l.mu.Lock()
			t := l.lately
			l.lately = tally{}
			l.mu.Unlock()
			fmt.Fprintf(lines, row, now.Format(time.TimeOnly), t.Acknowledged, t.Unknown, t.Failed, fmt.Sprintf("%.1f ms", milliseconds(t.slowest)))
		}
	}
}

// note takes in what became of a write.
func (l *load) note(err error, took time.Duration) (done, maybe bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	done = err == nil
	maybe = errors.Is(err, client.ErrOutcomeUnknown) || errors.Is(err, client.ErrUnavailable) || errors.Is(err, client.ErrNotEnough)
	for _, t := range []*tally{&l.all, &l.lately} {
		switch {
		case done:
			t.Acknowledged++
		case maybe:
			t.Unknown++
		default:
			t.Failed++
		}
		t.slowest = max(t.slowest, took)
	}
	if err != nil {
		l.failure = err
	}
	return done, maybe
}

// loadWriter is one client, which does one write after the other.
type loadWriter struct {
	load     *load
	counter  *client.Counter
	set      *client.Set
	register *client.Register

	elements      [maxLoadElements]bool // acknowledged
	kept, written int                   // the value of the register that was acknowledged last, and tried last
}

func (w *loadWriter) run(ctx, writing context.Context) {
	pause := time.NewTicker(time.Second * time.Duration(w.load.clients) / time.Duration(w.load.rate))
	defer pause.Stop()
	for n := 0; ; n++ {
		select {
		case <-writing.Done():
			return
		case <-pause.C:
		}
		began := time.Now()
		var err error
		element, value := n/3%maxLoadElements, n/3+1
		switch n % 3 {
		case 0:
			_, err = w.counter.Add(ctx, 1)
		case 1:
			_, err = w.set.Add(ctx, strconv.Itoa(element))
		case 2:
			w.written = value
			err = w.register.Set(ctx, []byte(strconv.Itoa(value)))
		}
		done, maybe := w.load.note(err, time.Since(began))
		switch {
		case n%3 == 0:
			w.load.counts(done, maybe)
		case n%3 == 1 && done:
			w.elements[element] = true
		case n%3 == 2 && done:
			w.kept = value
		}
	}
}

// counts takes in what became of an increment.
func (l *load) counts(done, maybe bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if done {
		l.counted++
	} else if maybe {
		l.unsure++
	}
}

// check returns what of the acknowledged writes is not there.
func (w *loadWriter) check(ctx context.Context) (missing []string, err error) {
	there := map[string]bool{}
	for element, err := range w.set.Members(ctx) {
		if err != nil {
			return nil, err
		}
		there[element] = true
	}
	for i, acknowledged := range w.elements {
		if name := strconv.Itoa(i); acknowledged && !there[name] {
			missing = append(missing, "element "+name+" of a set")
		}
	}
	if w.kept == 0 {
		return missing, nil
	}
	value, err := w.register.Get(ctx)
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return nil, err
	}
	if n, err := strconv.Atoi(string(value)); err != nil || n < w.kept || n > w.written {
		missing = append(missing, fmt.Sprintf("value %d of a register, which is %q", w.kept, value))
	}
	return missing, nil
}
