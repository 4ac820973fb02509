package traffic

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestGenerateIsDeterministic(t *testing.T) {
	digest := func(seed uint64, n int) string {
		h := sha256.New()
		for hit := range Generate(seed, n) {
			io.WriteString(h, logLine(hit))
		}
		return hex.EncodeToString(h.Sum(nil)[:8])
	}
	// Written down so that another Go version or processor that makes other
	// traffic of the same seed is noticed.
	const want = "0cd27e528db03d7b"
	if got := digest(1, 10_000); got != want {
		t.Errorf("seed 1 makes traffic with digest %s, want %s", got, want)
	}
	if digest(2, 1000) == digest(3, 1000) {
		t.Error("seeds 2 and 3 make the same traffic")
	}
	hits := Generate(4, 1000)
	if !slices.Equal(slices.Collect(hits), slices.Collect(hits)) {
		t.Error("ranging twice over one sequence makes different traffic")
	}
}

func TestGenerateIsPlausible(t *testing.T) {
	var reserved []netip.Prefix
	for _, text := range []string{"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"} {
		reserved = append(reserved, netip.MustParsePrefix(text))
	}
	const seed, n = 7, 20_000
	var totals Totals
	var last time.Time
	families, methods, hours := map[bool]int{}, map[string]int{}, [24]int{}
	for hit := range Generate(seed, n) {
		checkBounds(t, hit)
		address, err := netip.ParseAddr(hit.Client)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(reserved, func(p netip.Prefix) bool { return p.Contains(address) }) {
			t.Fatalf("%s is not reserved for documentation", address)
		}
		if hit.Time.Before(last) {
			t.Fatalf("hit %d at %v comes after one at %v", totals.Hits, hit.Time, last)
		}
		last = hit.Time
		families[address.Is6()]++
		methods[hit.Method]++
		hours[hit.Time.Hour()]++
		totals.Add(hit)
	}
	check := func(what string, got, low, high int) {
		t.Helper()
		t.Logf("%s: %d", what, got)
		if got < low || got > high {
			t.Errorf("seed %d: %s: %d, want %d to %d", seed, what, got, low, high)
		}
	}
	check("hits", totals.Hits, n, n)
	check("paths", len(totals.Paths), 200, generatedPages)
	check("hits on /favicon.ico", totals.Paths["/favicon.ico"], n*5/100, n*10/100)
	check("hits on /articles/100", totals.Paths["/articles/100"], 1, n/100)
	check("visitors", totals.Visitors(), 1000, maxVisitors)
	check("days", len(totals.Days), generatedDays, generatedDays)
	for day, visitors := range totals.Days {
		check("visitors on "+day, len(visitors), 300, totals.Visitors()-1)
	}
	check("hits over IPv6", families[true], n/4, n*3/4)
	check("GET", methods["GET"], n*9/10, n-1)
	check("evening over night", hours[20]/hours[3], 3, 20)
}

func TestGenerateAnyNumber(t *testing.T) {
	for _, n := range []int{-1, 0, 1, 2, 17} {
		hits := slices.Collect(Generate(9, n))
		if len(hits) != max(n, 0) {
			t.Errorf("Generate(9, %d) made %d hits", n, len(hits))
		}
	}
	for range Generate(9, 1<<62) {
		break // must not take for ever
	}
	const most = 1 << 62
	if last := newSite(9, most).time(most-1, most); last.Format(time.DateTime) != "2026-03-05 23:59:59" {
		t.Errorf("the last hit of %d comes at %v, want the end of the last day", most, last)
	}
}

func TestVisitorsAreDistinct(t *testing.T) {
	visitors := siteVisitors(maxVisitors)
	slices.Sort(visitors)
	if distinct := len(slices.Compact(visitors)); distinct != maxVisitors {
		t.Errorf("%d distinct addresses of %d", distinct, maxVisitors)
	}
}
