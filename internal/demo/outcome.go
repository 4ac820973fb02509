package demo

import (
	"encoding/json"
	"time"

	"github.com/atolldb/atoll/client"
)

// outcome is the end of a demo for programs.
type outcome struct {
	Converged        bool              `json:"converged"`
	ConvergedSeconds float64           `json:"converged_seconds"` // after the last write
	Digest           string            `json:"digest"`            // of all vectors and roots
	Mismatches       []string          `json:"mismatches"`
	SkippedLines     int               `json:"skipped_lines"` // of the log, which cannot be read
	Input            counts            `json:"input"`
	Regions          map[string]counts `json:"regions"`
}

type counts struct {
	Hits     int64            `json:"hits"`
	Visitors int              `json:"visitors"`
	Paths    map[string]int64 `json:"paths"`
	Days     map[string]int   `json:"days"` // distinct visitors
}

// writeJSON writes the outcome if it was asked for.
func (o Options) writeJSON(r *result, report *client.Report, took time.Duration) error {
	if o.JSON == nil {
		return nil
	}
	out := outcome{
		Converged: report.Converged(), ConvergedSeconds: took.Seconds(), Digest: report.Digest,
		Mismatches: append([]string{}, r.wrong...), Regions: map[string]counts{},
		SkippedLines: r.truth.skipped,
		Input:        counts{int64(r.truth.Hits), r.truth.Visitors(), map[string]int64{}, map[string]int{}},
	}
	for path, n := range r.truth.Paths {
		out.Input.Paths[path] = int64(n)
	}
	for day, visitors := range r.truth.Days {
		out.Input.Days[day] = len(visitors)
	}
	for region, h := range r.regions {
		of := counts{h.hits, len(h.visitors), h.paths, map[string]int{}}
		for day, visitors := range h.days {
			of.Days[day] = len(visitors)
		}
		out.Regions[region] = of
	}
	return json.NewEncoder(o.JSON).Encode(out)
}
