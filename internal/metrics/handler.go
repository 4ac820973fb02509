package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// maxScrapes is how many scrapes are answered at once; others are refused
	// with 503.
	maxScrapes = 2
	// scrapeTimeout is after how long a scrape is given up, with 503.
	scrapeTimeout = 10 * time.Second
)

// Handler returns a handler that answers each scrape with a new sample, and
// with what Go's runtime and the operating system say of the process. Sample is
// called from several goroutines.
func Handler(sample func() Sample) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collector{sample},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout,
	})
}

// collector is the prometheus.Collector of a member.
type collector struct{ sample func() Sample }

// Describe implements prometheus.Collector.
func (c collector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, f := range families {
		descriptions <- f.description
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.sample()
	for _, f := range families {
		f.collect(f.description, &s, out)
	}
}
