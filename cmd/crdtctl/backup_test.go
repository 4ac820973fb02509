package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/wan"
	"github.com/atolldb/atoll/server"
)

// island is a cluster whose members come and go: "eu" is the only one of its region,
// "eu-1" one of several.
type island struct {
	t       *testing.T
	network *wan.Network
	members map[string]*server.Server
}

func newIsland(t *testing.T, regions ...string) *island {
	t.TempDir() // what there is below it is removed after the members have stopped
	network, err := wan.New(regions...)
	if err != nil {
		t.Fatal(err)
	}
	i := &island{t, network, map[string]*server.Server{}}
	t.Cleanup(func() {
		for name := range i.members {
			i.stop(name)
		}
		network.Close()
	})
	return i
}

func (i *island) start(name, data string) {
	i.t.Helper()
	m, err := i.try(name, data)
	if err != nil {
		i.t.Fatal(err)
	}
	i.network.Attach(m.Config().Region, m.Addresses().Gateway)
	i.members[name] = m
}

func (i *island) try(name, data string) (*server.Server, error) {
	region, _, isOneOfSome := strings.Cut(name, "-")
	others := i.network.Addresses()
	own := others[region][0]
	delete(others, region)
	c := server.Config{
		Region: region, Regions: others, GatewayAdvertise: own, Data: data, Shards: 8, Durability: "os",
		Listen: server.Listen{Client: "127.0.0.1:0"}, SolicitDelay: 5 * time.Millisecond, GossipInterval: 20 * time.Millisecond,
	}
	if isOneOfSome {
		c.Name = name
	}
	for _, m := range i.members {
		if m.Config().Region == region {
			c.Join = append(c.Join, m.Addresses().Cluster)
		}
	}
	return server.Start(context.Background(), c, nil)
}

func (i *island) stop(name string) {
	m := i.members[name]
	i.network.Detach(m.Config().Region, m.Addresses().Gateway)
	if err := m.Close(); err != nil {
		i.t.Error(err)
	}
	delete(i.members, name)
}

// in runs a command line at a member and returns what it prints.
func (i *island) in(name string, args ...string) string {
	i.t.Helper()
	o := crdtctl(i.t, "", append([]string{"--server", i.members[name].Addresses().Client}, args...)...)
	if o.code != exitOK {
		i.t.Fatalf("%v: exit code %d: %s%s", args, o.code, o.stdout, o.stderr)
	}
	return strings.TrimSpace(o.stdout)
}

func (i *island) want(region, want string, args ...string) {
	i.t.Helper()
	if got := i.in(region, args...); got != want {
		i.t.Errorf("%s in %s: %q, want %q", strings.Join(args, " "), region, got, want)
	}
}

func (i *island) converged() {
	i.t.Helper()
	for name := range i.members {
		i.in(name, "verify", "--wait", "20s")
		return
	}
}

func size(t *testing.T, path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func mustRestore(t *testing.T, data string, files ...string) {
	t.Helper()
	if o := crdtctl(t, "", append([]string{"restore", "--data", data}, files...)...); o.code != exitOK {
		t.Fatal(o.stderr)
	}
}

// TestRestoreOne: a member that lost its disk comes back from an old backup. It
// gets what came since, and what was deleted since stays deleted.
func TestRestoreOne(t *testing.T) {
	dir := t.TempDir()
	full, more := filepath.Join(dir, "full"), filepath.Join(dir, "more")
	i := newIsland(t, "eu", "us")
	i.start("eu", t.TempDir())
	i.start("us", t.TempDir())
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, []byte(strings.Repeat("\x00\xff", 512<<10)), 0o600); err != nil {
		t.Fatal(err)
	}
	i.in("eu", "counter", "incr", "n", "5")
	i.in("eu", "counter", "incr", "again", "9")
	i.in("eu", "counter", "reset", "again")
	i.in("eu", "set", "add", "fruit", "apple", "pear")
	i.in("eu", "register", "set", "gone", "soon")
	i.in("us", "register", "set", "bin\xffary", "--file", big)
	i.in("us", "counter", "incr", "n", "2")
	i.converged()
	i.in("eu", "backup", full)
	i.in("us", "set", "rm", "fruit", "pear")
	i.in("eu", "counter", "incr", "n", "10")
	i.converged()
	i.in("eu", "backup", "--since", full, more)
	if size(t, more) > size(t, full)*3/4 {
		t.Errorf("an increment of %d bytes after a backup of %d", size(t, more), size(t, full))
	}
	i.in("us", "del", "gone")
	i.in("eu", "counter", "incr", "n", "100")
	i.converged()
	i.stop("eu")

	data := filepath.Join(dir, "data")
	mustRestore(t, data, full, more)
	i.start("eu", data)
	i.in("eu", "counter", "incr", "n", "1000")
	i.converged()
	for _, region := range []string{"eu", "us"} {
		i.want(region, "1117", "counter", "get", "n")
		i.want(region, "0", "counter", "get", "again")
		i.want(region, "apple", "set", "members", "fruit")
		if got := i.in(region, "register", "get", "bin\xffary"); len(got) < 1<<20 {
			t.Errorf("%d bytes of a large value in %s", len(got), region)
		}
		if o := crdtctl(t, "", "--server", i.members[region].Addresses().Client, "register", "get", "gone"); o.code != exitNo {
			t.Errorf("what was deleted since the backup is there in %s: %q", region, o.stdout)
		}
	}
	i.in("eu", "scrub")
}

// TestRestoreAll: all members are lost; one is restored, another one joins it.
func TestRestoreAll(t *testing.T) {
	dir := t.TempDir()
	full, more := filepath.Join(dir, "full"), filepath.Join(dir, "more")
	i := newIsland(t, "eu", "us")
	i.start("eu", t.TempDir())
	i.start("us", t.TempDir())
	i.in("eu", "counter", "incr", "n", "5")
	i.in("us", "set", "add", "fruit", "apple", "pear")
	i.converged()
	i.in("us", "backup", "--member", i.members["eu"].Config().Name, full)
	i.in("eu", "set", "rm", "fruit", "apple")
	i.in("eu", "backup", "--since", full, more)
	i.stop("eu")
	i.stop("us")

	data := filepath.Join(dir, "data")
	mustRestore(t, data, full, more)
	i.start("eu", data)
	i.want("eu", "pear", "set", "members", "fruit")
	i.start("us", t.TempDir())
	i.in("us", "counter", "incr", "n")
	i.converged()
	for _, region := range []string{"eu", "us"} {
		i.want(region, "6", "counter", "get", "n")
		i.want(region, "pear", "set", "members", "fruit")
	}
}

// TestRestoreRefused: what is no whole chain of backups leaves nothing behind.
func TestRestoreRefused(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	i := newIsland(t, "eu", "us")
	i.start("eu", t.TempDir())
	i.in("eu", "set", "add", "fruit", "apple")
	for _, args := range [][]string{{path("a")}, {"--since", path("a"), path("b")}, {"--since", path("b"), path("c")}, {path("other")}} {
		i.in("eu", "counter", "incr", "n")
		i.in("eu", append([]string{"backup"}, args...)...)
	}
	whole, err := os.ReadFile(path("a"))
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte{}, whole...)
	flipped[len(flipped)/2] ^= 1
	for name, data := range map[string][]byte{"short": whole[:len(whole)-1], "flipped": flipped} {
		if err := os.WriteFile(path(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for text, files := range map[string][]string{
		"there is no backup":             {"a", "none"},
		"is an increment":                {"b"},
		"c does not follow":              {"a", "c"},
		"b does not follow":              {"other", "b"},
		"ends early":                     {"short"},
		"does not have its checksum":     {"flipped"},
		"other does not follow":          {"a", "other"},
		"b does not follow " + path("c"): {"a", "b", "c", "b"},
	} {
		args := []string{"restore", "--data", path("data")}
		for _, f := range files {
			args = append(args, path(f))
		}
		crdtctl(t, "", args...).wantLine(t, exitUsage, text, "nothing was restored")
		if _, err := os.Stat(path("data")); !os.IsNotExist(err) {
			t.Fatalf("%v left a directory behind: %v", files, err)
		}
	}
	for flag, name := range map[string]string{"--name": "eu 1", "--region": strings.Repeat("e", 65)} {
		crdtctl(t, "", "restore", "--data", path("data"), flag, name, path("a")).wantLine(t, exitUsage, name, "is not 1 to 64", "nothing was restored")
		if _, err := os.Stat(path("data")); !os.IsNotExist(err) {
			t.Fatalf("%s left a directory behind: %v", flag, err)
		}
	}
	mustRestore(t, path("data"), path("a"), path("b"), path("c"))
	crdtctl(t, "", "restore", "--data", path("data"), path("a")).wantLine(t, exitUsage, "not empty")
	crdtctl(t, "", "backup", path("a")).wantLine(t, exitUsage, "is there already")
	left, err := filepath.Glob(path(".*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	_, err = server.Start(t.Context(), server.Config{
		Region: "eu", Cluster: "foreign", Shards: 8, Data: path("data"), Listen: server.Listen{Client: "127.0.0.1:0"},
	}, nil)
	if err == nil || !strings.Contains(err.Error(), "cluster") {
		t.Errorf("a member of another cluster started on it: %v", err)
	}
}
