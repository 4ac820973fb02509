package server_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/replica"
	"github.com/atolldb/atoll/server"
)

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func addTo(t *testing.T, s *server.Server, n int64) {
	t.Helper()
	if _, err := s.Client().Counter("k").Add(t.Context(), n); err != nil {
		t.Fatal(err)
	}
}

func counterIs(t *testing.T, s *server.Server, want int64) bool {
	t.Helper()
	n, err := s.Client().Counter("k").Value(t.Context())
	return err == nil && n == want
}

// settled says that a member and another one own all shards, and agree. A member
// that has just joined agrees, too, before it is to own anything.
func settled(t *testing.T, s *server.Server) bool {
	t.Helper()
	report, err := s.Client().Verify(t.Context(), 0, nil)
	if err != nil || len(report.Members) != 2 || !report.Converged() {
		return false
	}
	return !slices.ContainsFunc(report.Members, func(m client.MemberReport) bool { return m.Owned != 16 })
}

// pair returns configurations of two members of one region, the second joining
// the first at the address that it will have.
func pair(t *testing.T, first *server.Server, name, data string) server.Config {
	t.Helper()
	c := alone(data)
	c.Name, c.Join = name, []string{first.Addresses().Cluster}
	return c
}

// TestRestoredBackup: a copy of a data directory that is put back, and written
// to before it meets anybody, does not take the place of what it lacks.
func TestRestoredBackup(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("a copy is not told from its original here")
	}
	base := t.TempDir()
	data, backup := filepath.Join(base, "data"), filepath.Join(base, "backup")
	config := alone(data)
	config.Name = "a"
	a := start(t, config)
	addTo(t, a, 1)
	stop(t, a)
	copyDir(t, data, backup)

	a = start(t, config)
	addTo(t, a, 10)
	b := start(t, pair(t, a, "b", filepath.Join(base, "b")))
	eventually(t, "the other member has all", func() bool { return settled(t, b) && counterIs(t, b, 11) })
	stop(t, a)

	copyDir(t, backup+"/.", data) // over what is there
	a = start(t, config)
	if !counterIs(t, a, 1) {
		t.Error("the backup does not hold what it held")
	}
	addTo(t, a, 100) // nobody has told it what it lacks
	stop(t, a)
	config.Join = []string{b.Addresses().Cluster}
	a = start(t, config)
	defer stop(t, a)
	defer stop(t, b)
	for _, s := range []*server.Server{a, b} {
		eventually(t, "both have all writes", func() bool { return counterIs(t, s, 111) })
	}
}

// TestCopiedDirectory: a copy is refused under another name. Under the same
// name, while the original runs, it never writes as the original.
func TestCopiedDirectory(t *testing.T) {
	base := t.TempDir()
	data, copied := filepath.Join(base, "data"), filepath.Join(base, "copy")
	config := alone(data)
	config.Name = "a"
	a := start(t, config)
	addTo(t, a, 1)
	stop(t, a)
	copyDir(t, data, copied)
	a = start(t, config)

	if s, err := server.Start(t.Context(), pair(t, a, "b", copied), nil); !errors.Is(err, replica.ErrForeign) || !strings.Contains(err.Error(), "the member a, not b") {
		t.Fatalf("under another name: %v, %v", s, err)
	}
	if runtime.GOOS != "linux" {
		stop(t, a)
		t.Skip("a copy is not told from its original here")
	}
	twin := alone(copied)
	twin.Name = "a"
	second := start(t, twin) // they cannot meet
	addTo(t, a, 10)
	addTo(t, second, 100)
	stop(t, second)

	// What both have written is there when a third takes it from one and then
	// from the other.
	third := filepath.Join(base, "c")
	c := start(t, pair(t, a, "c", third))
	eventually(t, "the third has what the first has", func() bool { return settled(t, c) && counterIs(t, c, 11) })
	stop(t, c)
	stop(t, a) // the third knows where it was
	second = start(t, twin)
	defer stop(t, second)
	c = start(t, pair(t, second, "c", third))
	defer stop(t, c)
	eventually(t, "the third has what both have", func() bool { return counterIs(t, c, 111) })
}
