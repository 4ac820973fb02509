package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/client"
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

// converge waits until all members of all regions agree, as one of them says.
// A question that is lost while links come up is soon asked again.
func converge(t *testing.T, m *cluster.Member) {
	t.Helper()
	conn := connect(t, m)
	for deadline := time.Now().Add(patience); ; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		report, err := conn.Verify(ctx, patience, nil)
		cancel()
		if err == nil && report.Converged() && len(report.Members) == len(regions) {
			return
		}
		if time.Now().Before(deadline) {
			continue
		}
		if report != nil {
			t.Logf("%+v, silent %v", report.Members, report.Silent)
			for _, d := range report.Differ[:min(3, len(report.Differ))] {
				t.Logf("shard %d: behind %v, diverged %v", d.Shard, d.Behind, d.Diverged)
			}
		}
		t.Fatalf("not converged after %v: %v", patience, err)
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

// checkBook reads everything in every region and holds it against the book.
func checkBook(t *testing.T, c *cluster.Cluster, b *book) {
	t.Helper()
	first := map[string]string{} // what the first region says
	same := func(m *cluster.Member, key, value string) error {
		if was, ok := first[key]; ok && was != value {
			return fmt.Errorf("%s is %.200s here and %.200s in %s", key, value, was, regions[0])
		}
		first[key] = value
		return nil
	}
	for _, m := range c.Members {
		ctx, conn := t.Context(), connect(t, m)
		var errs []error
		for name := range b.counters {
			value, err := conn.Counter(name).Value(ctx)
			errs = append(errs, err, b.checkCounter(name, value), same(m, name, fmt.Sprint(value)))
		}
		for name := range b.sets {
			members := map[string]bool{}
			for member, err := range conn.Set(name).Members(ctx) {
				errs = append(errs, err)
				members[member] = true
			}
			n, err := conn.Set(name).Len(ctx)
			if err == nil && n != len(members) {
				err = fmt.Errorf("set %s has %d members and a length of %d", name, len(members), n)
			}
			errs = append(errs, err, b.checkSet(name, members), same(m, name, fmt.Sprint(members)))
		}
		for name := range b.registers {
			siblings, err := conn.Register(name).Siblings(ctx)
			if errs = append(errs, err); err == nil {
				errs = append(errs, b.checkRegister(name, siblings), same(m, name, fmt.Sprint(siblings)))
			}
		}
		if err := errors.Join(errs...); err != nil {
			t.Errorf("in region %s: %s", m.Region, tail(err.Error(), 2000))
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
