// Package metrics tells Prometheus how a member is.
//
//	sample.go    Sample: what is told, taken anew for each scrape
//	families.go  the metrics, each with its name, its meaning and where it is from
//	handler.go   Handler: an HTTP handler that answers a scrape
//
// The engine counts and times by itself and knows nothing of Prometheus; so
// does the store. What a scrape costs depends on the numbers of shards, peers
// and writers, and not on how much is stored; few are answered at once.
//
// Names begin with atoll_ and follow the conventions of Prometheus: base units,
// counters end in _total. docs/operating.md says of each when to worry.
package metrics
