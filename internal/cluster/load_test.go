package cluster_test

import (
	"context"
	"testing"

	"github.com/atolldb/atoll/internal/book"
	"github.com/atolldb/atoll/internal/cluster"
)

// startLoad starts n clients, spread over the regions. Every other one knows
// the next region as well, and goes there when its own is gone.
func startLoad(t *testing.T, c *cluster.Cluster, seed uint64, n int) *book.Load {
	t.Helper()
	l, err := book.StartLoad(t.Context(), book.New(), book.LoadOptions{Servers: c.Spread(n), Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(t, l) })
	return l
}

// end lets the writes under way end, and starts no more.
func end(t *testing.T, l *book.Load) {
	t.Helper()
	if err := l.End(); err != nil {
		t.Error(err)
	}
}

// await waits until n more writes are acknowledged.
func await(t *testing.T, l *book.Load, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := l.Book.Await(ctx, n); err != nil {
		t.Fatal(err)
	}
}
