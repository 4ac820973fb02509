package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/traffic"
)

// readers is how many questions to one region are under way at once.
const readers = 32

// shownPaths is how many of the busiest paths the table shows.
const shownPaths = 3

// favicon is a path that every browser asks for.
const favicon = "/favicon.ico"

// holding is what one region holds, read through its own client.
type holding struct {
	mu       sync.Mutex
	hits     int64
	visitors map[string]struct{}
	paths    map[string]int64
	days     map[string]map[string]struct{}
	lastSeen map[string]string
	others   []string // keys that the truth does not know
}

// result is what the regions hold against what the input says.
type result struct {
	truth   *input
	regions map[string]*holding
	wrong   []string
}

// check reads everything from every region and compares it with the truth.
func check(ctx context.Context, c *cluster, truth *input) (*result, error) {
	r := &result{truth: truth, regions: map[string]*holding{}}
	for _, region := range regions {
		h, err := read(ctx, c.clients[region], truth.Totals)
		if err != nil {
			return nil, fmt.Errorf("reading region %s: %w", region, err)
		}
		r.regions[region] = h
		r.compare(region, h)
	}
	return r, nil
}

// read asks a region for every key that the truth knows, and for the names of all
// others.
func read(ctx context.Context, c *client.Client, truth *traffic.Totals) (*holding, error) {
	h := &holding{
		paths: map[string]int64{}, days: map[string]map[string]struct{}{}, lastSeen: map[string]string{},
	}
	questions := []func() error{
		func() (err error) { h.hits, err = c.Counter(hitsKey).Value(ctx); return err },
		func() (err error) { h.visitors, err = members(ctx, c.Set(visitorsKey)); return err },
		func() (err error) { h.others, err = others(ctx, c, truth); return err },
	}
	for path := range truth.Paths {
		questions = append(questions, func() error {
			n, err := c.Counter(pathKey(path)).Value(ctx)
			h.mu.Lock()
			defer h.mu.Unlock()
			h.paths[path] = n
			return err
		})
	}
	for day := range truth.Days {
		questions = append(questions, func() error {
			visitors, err := members(ctx, c.Set(dayKey(day)))
			h.mu.Lock()
			defer h.mu.Unlock()
			h.days[day] = visitors
			return err
		})
	}
	for visitor := range truth.LastSeen {
		questions = append(questions, func() error {
			value, err := c.Register(seenKey(visitor)).Get(ctx)
			if errors.Is(err, client.ErrNotFound) {
				err = nil
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			h.lastSeen[visitor] = string(value)
			return err
		})
	}
	return h, all(questions)
}

// all asks the questions, several at a time, and returns the first error.
func all(questions []func() error) error {
	queue := make(chan func() error)
	failed := make(chan error, 1)
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			for question := range queue {
				if err := question(); err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	for _, question := range questions {
		queue <- question
	}
	close(queue)
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func members(ctx context.Context, s *client.Set) (map[string]struct{}, error) {
	elements := map[string]struct{}{}
	for element, err := range s.Members(ctx) {
		if err != nil {
			return nil, err
		}
		elements[element] = struct{}{}
	}
	return elements, nil
}

// others returns the keys in a region that the truth does not know.
func others(ctx context.Context, c *client.Client, truth *traffic.Totals) ([]string, error) {
	known := map[string]struct{}{hitsKey: {}, visitorsKey: {}}
	for path := range truth.Paths {
		known[pathKey(path)] = struct{}{}
	}
	for day := range truth.Days {
		known[dayKey(day)] = struct{}{}
	}
	for visitor := range truth.LastSeen {
		known[seenKey(visitor)] = struct{}{}
	}
	var others []string
	for object, err := range c.Scan(ctx, client.ScanOptions{}) {
		if err != nil {
			return nil, err
		}
		if _, ok := known[object.Key]; !ok {
			others = append(others, object.Key)
		}
	}
	return others, nil
}

// compare notes where a region does not hold what the input says.
func (r *result) compare(region string, h *holding) {
	differ := func(what string, got, want any) {
		r.wrong = append(r.wrong, fmt.Sprintf("%s has %s %v, not %v", region, what, got, want))
	}
	if h.hits != int64(r.truth.Hits) {
		differ("hits", h.hits, r.truth.Hits)
	}
	if len(h.visitors) != r.truth.Visitors() {
		differ("visitors", len(h.visitors), r.truth.Visitors())
	}
	for visitor := range h.visitors {
		if _, ok := r.truth.LastSeen[visitor]; !ok {
			r.wrong = append(r.wrong, fmt.Sprintf("%s has the visitor %s, which the input does not", region, visitor))
		}
	}
	for _, key := range h.others {
		r.wrong = append(r.wrong, fmt.Sprintf("%s has the key %s, which the input does not", region, key))
	}
	for path, n := range r.truth.Paths {
		if h.paths[path] != int64(n) {
			differ("hits on "+path, h.paths[path], n)
		}
	}
	for day, visitors := range r.truth.Days {
		if !maps.Equal(h.days[day], visitors) {
			differ("visitors of "+day, len(h.days[day]), len(visitors))
		}
	}
	for visitor, at := range r.truth.LastSeen {
		if want := at.Format(time.RFC3339); h.lastSeen[visitor] != want {
			differ("last seen "+visitor, h.lastSeen[visitor], want)
		}
	}
}

// print shows what the input says beside what each region holds.
func (r *result) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n\tinput\t%s\t%s\t%s\t\n", regions[0], regions[1], regions[2])
	line := func(what string, truth int, of func(*holding) int) {
		fmt.Fprintf(w, "%s\t%d", what, truth)
		for _, region := range regions {
			fmt.Fprintf(w, "\t%d", of(r.regions[region]))
		}
		fmt.Fprint(w, "\t\n")
	}
	line("hits", r.truth.Hits, func(h *holding) int { return int(h.hits) })
	for _, path := range r.busiest() {
		line(shorten(path), r.truth.Paths[path], func(h *holding) int { return int(h.paths[path]) })
	}
	line("distinct visitors", r.truth.Visitors(), func(h *holding) int { return len(h.visitors) })
	for _, day := range slices.Sorted(maps.Keys(r.truth.Days)) {
		line(day, len(r.truth.Days[day]), func(h *holding) int { return len(h.days[day]) })
	}
	line("visitors with the right last-seen time", len(r.truth.LastSeen), func(h *holding) int {
		n := 0
		for visitor, at := range r.truth.LastSeen {
			if h.lastSeen[visitor] == at.Format(time.RFC3339) {
				n++
			}
		}
		return n
	})
	line("paths with the right count", len(r.truth.Paths), func(h *holding) int {
		n := 0
		for path, want := range r.truth.Paths {
			if h.paths[path] == int64(want) {
				n++
			}
		}
		return n
	})
	if r.truth.skipped > 0 {
		fmt.Fprintf(w, "lines skipped, which cannot be read\t%d\t\t\t\t\n", r.truth.skipped)
	}
	_ = w.Flush()
	fmt.Fprintln(out)
}

// busiest returns the paths with most hits, and the favicon if there is one.
func (r *result) busiest() []string {
	paths := slices.SortedFunc(maps.Keys(r.truth.Paths), func(a, b string) int {
		if d := r.truth.Paths[b] - r.truth.Paths[a]; d != 0 {
			return d
		}
		if a < b {
			return -1
		}
		return 1
	})
	top := paths[:min(shownPaths, len(paths))]
	if r.truth.Paths[favicon] > 0 && !slices.Contains(top, favicon) {
		top = append(slices.Clone(top), favicon)
	}
	return top
}

func shorten(path string) string {
	if len(path) > 40 {
		return path[:37] + "..."
	}
	return path
}
