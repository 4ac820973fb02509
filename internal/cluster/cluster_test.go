package cluster_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/book"
	"github.com/atolldb/atoll/internal/cluster"
)

// patience bounds every wait; a machine that is busy needs it.
const patience = 60 * time.Second

var regions = []string{"eu", "us", "ap"}

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := workDir(); err != nil || os.RemoveAll(dir) != nil {
		code = 1
	}
	os.Exit(code)
}

var workDir = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "atoll-cluster") })

// program builds crdtd once, with the race detector if the test has it.
var program = sync.OnceValues(func() (string, error) {
	dir, err := workDir()
	if err != nil {
		return "", err
	}
	return cluster.Build(context.Background(), dir, raceEnabled)
})

// layOut returns a cluster of which nothing runs yet. At the end of the test
// all its members are killed, their logs must be free of crashes, and are
// shown if the test failed.
func layOut(t *testing.T, flags ...string) *cluster.Cluster {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.New(path, t.TempDir(), regions, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		for _, m := range c.Members {
			for _, bad := range []string{"panic", "goroutine ", "DATA RACE", "could not be", "copies heard the same and differ"} {
				if strings.Contains(m.Log(), bad) {
					t.Errorf("the log of %s says %q", m.Region, bad)
				}
			}
		}
		for _, m := range c.Members {
			if t.Failed() {
				t.Logf("the log of %s:\n%s", m.Region, tail(m.Log(), 16<<10))
			}
		}
	})
	return c
}

func tail(text string, n int) string { return text[max(0, len(text)-n):] }

// start starts members, and returns once they are ready.
func start(t *testing.T, members ...*cluster.Member) {
	t.Helper()
	for _, m := range members {
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, m := range members {
		if err := m.Ready(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func kill(t *testing.T, m *cluster.Member) {
	t.Helper()
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
}

// connect connects to a member until the end of the test.
func connect(t *testing.T, m *cluster.Member) *client.Client {
	t.Helper()
	c, err := m.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// converge waits until all members of all regions agree.
func converge(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Converge(ctx); err != nil {
		t.Fatal(err)
	}
}

// counters returns what a member has counted since its start.
func counters(t *testing.T, m *cluster.Member) map[string]uint64 {
	t.Helper()
	status, err := connect(t, m).Status(t.Context(), m.Region, false)
	if err != nil {
		t.Fatal(err)
	}
	return status.GetCounters()
}

// checkBook reads everything in every region and holds it against the book,
// and against what the first region says.
func checkBook(t *testing.T, c *cluster.Cluster, b *book.Book) {
	t.Helper()
	var first book.Reading
	for _, m := range c.Members {
		read, errs := b.Read(t.Context(), connect(t, m))
		if err := errors.Join(errs...); err != nil {
			t.Errorf("in region %s: %s", m.Region, tail(err.Error(), 2000))
		}
		if first == nil {
			first = read
		}
		for _, key := range first.Differ(read) {
			t.Errorf("%s is %.200s in %s and %.200s in %s", key, first[key], regions[0], read[key], m.Region)
		}
	}
}

// seeded returns a source of randomness whose seed the test prints.
func seeded(t *testing.T) (*rand.Rand, uint64) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0)), seed
}

// since returns the time since then in a form for people.
func since(then time.Time) time.Duration { return time.Since(then).Round(time.Millisecond) }

// some is a number of writes that takes a second or so.
func some(random *rand.Rand) int {
	n := 500 + random.IntN(1500)
	if raceEnabled {
		n /= 5
	}
	return n
}
