//go:build race

package demo

// With the detector, it is the shards that take time: three members look after each
// of them four times a second.
const (
	smallHits   = 60
	smallShards = 16
)
