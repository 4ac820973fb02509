package traffic_test

import (
	"fmt"

	"github.com/atolldb/atoll/internal/traffic"
)

func ExampleParseLine() {
	line := `192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET /blog?page=2 HTTP/1.1" 200 512 "-" "Mozilla/5.0`
	hit, err := traffic.ParseLine([]byte(line))
	fmt.Println(hit.Client, hit.Day(), hit.Method, hit.Path, err)
	// Output: 192.0.2.7 2015-05-17 GET /blog <nil>
}

func ExampleTotals() {
	var totals traffic.Totals
	for hit := range traffic.Generate(1, 10_000) {
		totals.Add(hit)
	}
	fmt.Println(totals.Hits, "hits on", len(totals.Days), "days")
	// Output: 10000 hits on 4 days
}
