package demo

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/crdt"
)

// How often the screen is redrawn: on a terminal, and elsewhere, where each
// drawing is three more lines in a file.
const (
	redrawInterval = 150 * time.Millisecond
	linesInterval  = 2 * time.Second
	barWidth       = 40
)

// screen shows the course of events.
type screen struct {
	options Options
	total   int
	start   time.Time
	mu      sync.Mutex
	drawn   int    // lines that the next drawing replaces
	away    string // the region cut off, if any
	last    time.Time
}

func newScreen(o Options, total int) *screen {
	return &screen{options: o, total: total, start: time.Now()}
}

// say prints a line for good, with the time since the start.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	fmt.Fprintf(s.options.Out, "%5.1fs  %s\n", time.Since(s.start).Seconds(), fmt.Sprintf(format, args...))
}

func (s *screen) cut(region string) {
	s.setAway(region)
	s.say("cut: %s can reach nobody, and nobody %s; all go on writing", region, region)
}

func (s *screen) heal(region string) {
	s.setAway("")
	s.say("heal: %s is back", region)
}

func (s *screen) setAway(region string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = region
}

// watch redraws until the context ends.
func (s *screen) watch(ctx context.Context, c *cluster, r *replay) {
	ticks := time.NewTicker(redrawInterval)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			s.show(ctx, c, int(r.done.Load()), s.total)
		case <-ctx.Done():
			return
		}
	}
}

// show draws the progress and one line for each region.
func (s *screen) show(ctx context.Context, c *cluster, done, total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.options.Terminal && time.Since(s.last) < linesInterval {
		return
	}
	s.last = time.Now()
	rows, ok := look(ctx, c)
	if !ok {
		return
	}
	s.erase()
	filled := barWidth * done / total
	fmt.Fprintf(s.options.Out, "%5.1fs  [%s%s] %3d%%\n", time.Since(s.start).Seconds(),
		strings.Repeat("#", filled), strings.Repeat(".", barWidth-filled), 100*done/total)
	for _, row := range rows {
		link := "linked"
		if s.away == row.region {
			link = "CUT OFF"
		}
		fmt.Fprintf(s.options.Out, "        %-3s %10d hits %8d visitors   behind by %7d events   %s\n",
			row.region, row.hits, row.visitors, row.behind, link)
	}
	s.drawn = 1 + len(rows)
}

// erase removes the last drawing from a terminal.
func (s *screen) erase() {
	if s.options.Terminal && s.drawn > 0 {
		fmt.Fprintf(s.options.Out, "\x1b[%dA\x1b[J", s.drawn)
	}
	s.drawn = 0
}

// end leaves the last drawing where it is.
func (s *screen) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
}

// proof says why the regions are known to agree.
func (s *screen) proof(report *client.Report, took time.Duration) {
	s.say("converged %.2f s after the last write: %d shards, in each of which all regions have equal\n"+
		"        version vectors (%d events) and equal Merkle roots (%d entries, digest %s)",
		took.Seconds(), report.Shards, report.Members[0].Events, report.Members[0].Entries, report.Digest)
}

// row is what a region shows at one moment.
type row struct {
	region   string
	hits     int64
	visitors int
	behind   uint64
}

// look asks every region what it holds, all at once, and compares what they
// have heard.
func look(ctx context.Context, c *cluster) ([]row, bool) {
	rows := make([]row, len(regions))
	vectors := make([][]crdt.VersionVector, len(regions))
	errs := make([]error, len(regions))
	var wg sync.WaitGroup
	for i, region := range regions {
		rows[i].region = region
		wg.Go(func() { vectors[i], errs[i] = rows[i].ask(ctx, c.clients[region]) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, false
		}
	}
	for shard := range vectors[0] {
		all := crdt.VersionVector{}
		for _, of := range vectors {
			all.Join(of[shard])
		}
		for i, of := range vectors {
			rows[i].behind += of[shard].Missing(all)
		}
	}
	return rows, true
}

// ask fills in what a region holds and returns what it has heard, by shard.
func (r *row) ask(ctx context.Context, c *client.Client) ([]crdt.VersionVector, error) {
	status, err := c.Status(ctx, "", true)
	if err != nil {
		return nil, err
	}
	if r.hits, err = c.Counter(hitsKey).Value(ctx); err != nil {
		return nil, err
	}
	if r.visitors, err = c.Set(visitorsKey).Len(ctx); err != nil {
		return nil, err
	}
	vectors := make([]crdt.VersionVector, len(status.GetShards()))
	for i, encoded := range status.GetShards() {
		state, err := antientropy.DecodeState(encoded)
		if err != nil {
			return nil, err
		}
		vectors[i] = state.Vector
	}
	return vectors, nil
}
