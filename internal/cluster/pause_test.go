//go:build unix

package cluster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/book"
	"github.com/atolldb/atoll/internal/cluster"
)

// TestPause: while a member stands still, with all its connections open, the
// others go on; when it goes on, it catches up.
func TestPause(t *testing.T) {
	t.Parallel()
	c := layOut(t)
	eu, us, ap := c.Members[0], c.Members[1], c.Members[2]
	start(t, c.Members...)
	b := book.New()
	round := time.Now()
	fill(t, ap, b, "before", 20)
	bound := 8*time.Second + 3*time.Since(round)
	converge(t, c)
	if err := ap.Pause(); err != nil {
		t.Fatal(err)
	}
	// Longer than it takes the others to give up on its connections, in the
	// course of which they must not wait for it: a publisher that does is held
	// up for ten seconds and more. A busy machine takes its time for any round.
	for n, began := 0, time.Now(); time.Since(began) < 4*time.Second; n++ {
		m := []*cluster.Member{eu, us}[n%2]
		round = time.Now()
		fill(t, m, b, fmt.Sprint("paused-", n), 20)
		if took := time.Since(round); took > bound {
			t.Errorf("60 writes in %s took %v, of %v", m.Region, took, bound)
		}
	}
	resumed := time.Now()
	if err := ap.Resume(); err != nil {
		t.Fatal(err)
	}
	converge(t, c)
	t.Logf("converged %v after it went on", since(resumed))
	checkBook(t, c, b)
}
