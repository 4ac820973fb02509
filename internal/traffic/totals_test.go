package traffic

import (
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"
)

// accessLogVariable names the environment variable that holds the path of a
// real log, elastic/examples' apache_logs, which is not part of this project.
const accessLogVariable = "ATOLL_ACCESS_LOG"

func TestTotals(t *testing.T) {
	log := open(t, "testdata/access.log")
	var got Totals
	for hit, err := range log.Hits() {
		if err != nil {
			t.Fatal(err)
		}
		got.Add(hit)
	}
	at := func(day, hour, minute, second int) time.Time {
		return time.Date(2015, time.May, day, hour, minute, second, 0, time.UTC)
	}
	day := func(clients ...string) map[string]struct{} {
		set := map[string]struct{}{}
		for _, client := range clients {
			set[client] = struct{}{}
		}
		return set
	}
	// Worked out by hand from the file.
	want := Totals{
		Hits:  9,
		Paths: map[string]int{"/index.html": 1, "/blog": 1, "/search": 1, `/say-\"hello\"`: 1, "-": 2, "/favicon.ico": 3},
		Days: map[string]map[string]struct{}{
			"2015-05-17": day("192.0.2.7", "proxy.example.org"),
			"2015-05-18": day("192.0.2.7", "2001:db8::17", "198.51.100.3", "203.0.113.9"),
		},
		LastSeen: map[string]time.Time{
			"192.0.2.7":         at(18, 9, 0, 1),
			"2001:db8::17":      at(18, 1, 30, 0),
			"198.51.100.3":      at(18, 0, 0, 59),
			"203.0.113.9":       at(18, 1, 2, 3), // not the one logged last
			"proxy.example.org": at(17, 23, 30, 0),
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.Visitors() != 5 {
		t.Errorf("%d visitors, want 5", got.Visitors())
	}
}

func TestTotalsDoNotDependOnOrder(t *testing.T) {
	hits := slices.Collect(Generate(11, 2000))
	var forward, backward Totals
	for i := range hits {
		forward.Add(hits[i])
		backward.Add(hits[len(hits)-1-i])
	}
	if !reflect.DeepEqual(forward, backward) {
		t.Error("hits in reverse order add up differently")
	}
}

// TestRealLog reads a real log and finds in it what grep, cut and sort do.
func TestRealLog(t *testing.T) {
	path := os.Getenv(accessLogVariable)
	if path == "" {
		t.Skipf("%s is not set; set it to the path of elastic/examples' apache_logs, plain or gzip, to run this test", accessLogVariable)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s: %v", accessLogVariable, err)
	}
	var totals Totals
	for hit, err := range open(t, path).Hits() {
		if err != nil {
			t.Fatal(err)
		}
		checkBounds(t, hit)
		totals.Add(hit)
	}
	favicons := totals.Paths["/favicon.ico"]
	if totals.Hits != 10_000 || totals.Visitors() != 1_753 || favicons != 807 {
		t.Errorf("%d hits, %d visitors, %d of /favicon.ico; want 10000, 1753, 807", totals.Hits, totals.Visitors(), favicons)
	}
	days := slices.Sorted(maps.Keys(totals.Days))
	if want := []string{"2015-05-17", "2015-05-18", "2015-05-19", "2015-05-20"}; !slices.Equal(days, want) {
		t.Errorf("days %v, want %v", days, want)
	}
}
