package traffic

import "time"

// Totals is what there is to know of a number of hits, added up with plain
// maps. The zero value is the totals of no hits, ready for use. The order of
// the hits does not matter. Its memory grows with the distinct visitors, days
// and paths, not with the hits.
type Totals struct {
	// Hits is the number of all hits.
	Hits int

	// Paths is the number of hits by path; they add up to Hits.
	Paths map[string]int

	// Days holds the distinct visitors by UTC day, as Hit.Day names it.
	Days map[string]map[string]struct{}

	// LastSeen is the latest time of each visitor, which need not be that of
	// its last line: logs are written when requests end.
	LastSeen map[string]time.Time
}

// Add adds one hit.
func (t *Totals) Add(h Hit) {
	if t.Paths == nil {
		t.Paths = map[string]int{}
		t.Days = map[string]map[string]struct{}{}
		t.LastSeen = map[string]time.Time{}
	}
	t.Hits++
	t.Paths[h.Path]++

	day := h.Day()
	if t.Days[day] == nil {
		t.Days[day] = map[string]struct{}{}
	}
	t.Days[day][h.Client] = struct{}{}

	if last, seen := t.LastSeen[h.Client]; !seen || h.Time.After(last) {
		t.LastSeen[h.Client] = h.Time
	}
}

// Visitors returns the number of distinct visitors on all days together.
func (t *Totals) Visitors() int { return len(t.LastSeen) }
