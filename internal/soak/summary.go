package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/atolldb/atoll/internal/book"
)

// summary is what a run came to.
type summary struct {
	Seed         uint64         `json:"seed"`
	Seconds      float64        `json:"seconds"`
	Rounds       int            `json:"rounds"`
	Acknowledged int            `json:"acknowledged"`
	Unknown      int            `json:"unknown"`
	Refused      int            `json:"refused"`
	Faults       map[string]int `json:"faults"`
	// Convergence holds the seconds from the end of the last fault until all
	// regions agreed, sorted.
	Convergence  []float64 `json:"convergence_seconds"`
	NotConverged int       `json:"not_converged"`
	// Lost is how many things were not as clients were told.
	Lost  int    `json:"lost"`
	Error string `json:"error,omitempty"`
}

// count adds the writes of a round.
func (s *summary) count(b *book.Book) {
	s.Acknowledged += b.Count(book.Done)
	s.Unknown += b.Count(book.Unknown)
	s.Refused += b.Count(book.Refused)
}

// converged adds a time to the sorted others.
func (s *summary) converged(took time.Duration) {
	i, _ := slices.BinarySearch(s.Convergence, took.Seconds())
	s.Convergence = slices.Insert(s.Convergence, i, took.Seconds())
}

// quantile returns the smallest time that a part of all times do not exceed.
func (s *summary) quantile(part float64) float64 {
	n := len(s.Convergence)
	if n == 0 {
		return 0
	}
	return s.Convergence[min(n-1, max(0, int(part*float64(n)+0.999999)-1))]
}

// print writes the summary for people.
func (s *summary) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name string, value any) { fmt.Fprintf(w, "%s\t%v\n", name, value) }
	row("\nseed", s.Seed)
	row("time", fmt.Sprintf("%v in %d rounds", time.Duration(s.Seconds*float64(time.Second)).Round(time.Second), s.Rounds))
	row("writes acknowledged", s.Acknowledged)
	row("writes unknown", s.Unknown)
	row("writes refused", s.Refused)
	total := 0
	for _, n := range s.Faults {
		total += n
	}
	row("faults", total)
	for _, name := range slices.Sorted(maps.Keys(s.Faults)) {
		row("  "+name, s.Faults[name])
	}
	row("agreed", fmt.Sprintf("%d times, not %d times", len(s.Convergence), s.NotConverged))
	for _, q := range []struct {
		name string
		part float64
	}{{"p50", 0.5}, {"p99", 0.99}, {"max", 1}} {
		row("  after, "+q.name, fmt.Sprintf("%.2f s", s.quantile(q.part)))
	}
	row("lost", s.Lost)
	return w.Flush()
}

// printJSON writes it for programs, as one line.
func (s *summary) printJSON(out io.Writer) error { return json.NewEncoder(out).Encode(s) }
