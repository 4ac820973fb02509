//go:build !race

package demo

const (
	smallHits   = 300
	smallShards = 0 // as many as clusters have by default
)
