package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/wan"
	"github.com/atolldb/atoll/replica"
)

// wantGone checks that a register has no value.
func (i *island) wantGone(name, key string) {
	i.t.Helper()
	if o := crdtctl(i.t, "", "--server", i.members[name].Addresses().Client, "register", "get", key); o.code != exitNo {
		i.t.Errorf("%s is there at %s: %+v", key, name, o)
	}
}

// wantSet checks which elements a set has.
func (i *island) wantSet(name, key string, want ...string) {
	i.t.Helper()
	o := crdtctl(i.t, "", "--server", i.members[name].Addresses().Client, "set", "members", key)
	if got := slices.Sorted(slices.Values(strings.Fields(o.stdout))); !slices.Equal(got, want) {
		i.t.Errorf("%s at %s has %v, want %v", key, name, got, want)
	}
}

// inPlace waits until there are so many members, each of which owns shards, and all
// agree.
func (i *island) inPlace(members int) {
	i.t.Helper()
	var last *client.Report
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		for _, m := range i.members {
			report, err := m.Client().Verify(i.t.Context(), 0, nil)
			if err != nil {
				i.t.Fatal(err)
			}
			ownsNone := func(m client.MemberReport) bool { return m.Owned == 0 }
			if last = report; len(report.Members) == members && report.Converged() && !slices.ContainsFunc(report.Members, ownsNone) {
				return
			}
			break
		}
	}
	i.t.Fatalf("%d members are not in place: %+v", members, last)
}

// shardsOf names the shards that a member serves.
func (i *island) shardsOf(name string) string {
	i.t.Helper()
	status, err := i.members[name].Client().Status(i.t.Context(), name, true)
	if err != nil {
		i.t.Fatal(err)
	}
	var owned []uint32
	for _, s := range status.GetShards()[:i.members[name].Client().Shards()] {
		if s.GetOwned() {
			owned = append(owned, s.GetShard())
		}
	}
	return fmt.Sprint(owned)
}

// TestRestoreInThreeRegions: an old backup brings back nothing that was deleted since,
// in one region, in one that was cut off, and in that of the restored member; what all
// of them write meanwhile stays.
func TestRestoreInThreeRegions(t *testing.T) {
	file, data := filepath.Join(t.TempDir(), "file"), filepath.Join(t.TempDir(), "data")
	regions := []string{"eu", "us", "ap"}
	i := newIsland(t, regions...)
	for _, region := range regions {
		i.start(region, t.TempDir())
	}
	i.converged()
	i.in("eu", "set", "add", "fruit", "apple", "pear", "plum")
	i.in("us", "set", "add", "whole", "a", "b", "c")
	i.in("ap", "register", "set", "gone", "soon")
	i.in("ap", "register", "set", "again", "before")
	i.in("eu", "counter", "incr", "reset", "5")
	i.in("us", "counter", "incr", "n", "1")
	i.converged()
	i.in("eu", "backup", file)
	i.network.Cut("ap", wan.Silent)
	i.in("us", "set", "rm", "fruit", "pear")
	i.in("us", "del", "whole", "gone", "again")
	i.in("us", "counter", "reset", "reset")
	i.in("us", "register", "set", "again", "after")
	i.in("ap", "set", "add", "fruit", "fig")
	i.in("ap", "counter", "incr", "n", "10")
	i.stop("eu")

	mustRestore(t, data, file)
	i.start("eu", data)
	i.in("eu", "set", "add", "fruit", "kiwi") // whether or not it has met us
	i.in("eu", "counter", "incr", "n", "100")
	i.network.Heal("ap")
	i.converged()
	for _, region := range regions {
		i.wantSet(region, "fruit", "apple", "fig", "kiwi", "plum")
		i.wantSet(region, "whole")
		i.wantGone(region, "gone")
		i.want(region, "after", "register", "get", "again")
		i.want(region, "0", "counter", "get", "reset")
		i.want(region, "111", "counter", "get", "n")
	}
	i.in("eu", "scrub")
}

// TestRestoreAsAnother: of one backup come a second member of the region and one of a
// region that is new, while the member that it is of goes on. No other names are let
// in.
func TestRestoreAsAnother(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	i := newIsland(t, "eu", "us", "ap")
	i.start("eu-1", t.TempDir())
	i.start("us-1", t.TempDir())
	i.in("eu-1", "counter", "incr", "n", "1")
	i.in("us-1", "set", "add", "fruit", "apple", "pear")
	await(t, func(o output) bool { return o.code == exitOK }, "set", "has", "fruit", "pear", "--server", i.members["eu-1"].Addresses().Client)
	i.in("eu-1", "backup", path("file"))
	i.in("eu-1", "counter", "incr", "n", "10")
	i.in("us-1", "set", "rm", "fruit", "pear")
	for name, flags := range map[string][]string{"eu-2": {"--name", "eu-2"}, "ap-1": {"--name", "ap-1", "--region", "ap"}} {
		mustRestore(t, path(name), append(flags, path("file"))...)
	}
	for name, data := range map[string]string{"eu-1": path("eu-2"), "us-2": path("eu-2"), "eu-3": path("ap-1")} {
		if m, err := i.try(name, data); !errors.Is(err, replica.ErrForeign) {
			t.Errorf("%s on the directory of another: %v, %v", name, m, err)
		}
	}
	i.start("eu-2", path("eu-2"))
	i.start("ap-1", path("ap-1"))
	i.in("eu-2", "counter", "incr", "n", "100")
	i.in("ap-1", "counter", "incr", "n", "1000")
	for name := range i.members {
		await(t, func(o output) bool { return strings.Count(o.stdout, "alive") == 4 }, "members", "--server", i.members[name].Addresses().Client)
	}
	i.converged()
	for name := range i.members {
		i.want(name, "1111", "counter", "get", "n")
		i.want(name, "apple", "set", "members", "fruit")
	}
}

// TestRestoreOfSomeShards: a member that owns some shards comes back from a backup of
// the time when it owned others: it takes over what it owns now, and keeps nothing
// else.
func TestRestoreOfSomeShards(t *testing.T) {
	file, data := filepath.Join(t.TempDir(), "file"), filepath.Join(t.TempDir(), "data")
	i := newIsland(t, "eu")
	i.start("eu-1", t.TempDir())
	i.in("eu-1", "settings", "--owners", "2")
	i.start("eu-2", t.TempDir())
	i.start("eu-3", t.TempDir())
	const keys = 64
	for n := range keys {
		i.in("eu-1", "register", "set", fmt.Sprint("gone-", n), "x")
		i.in("eu-1", "counter", "incr", fmt.Sprint("n-", n))
	}
	i.inPlace(3)
	before := i.shardsOf("eu-2")
	i.in("eu-1", "backup", "--member", "eu-2", file)
	i.start("eu-4", t.TempDir())
	i.start("eu-5", t.TempDir())
	i.inPlace(5)
	after := i.shardsOf("eu-2")
	if before == after || after == "[]" {
		t.Fatalf("it owned %s and owns %s, which tests nothing", before, after)
	}
	for n := range keys {
		i.in("eu-1", "del", fmt.Sprint("gone-", n))
		i.in("eu-1", "counter", "incr", fmt.Sprint("n-", n), "10")
	}
	i.converged()
	i.stop("eu-2")

	mustRestore(t, data, file)
	i.start("eu-2", data)
	i.inPlace(5)
	if now := i.shardsOf("eu-2"); now != after {
		t.Errorf("it owned %s when it was lost, and now %s", after, now)
	}
	for n := range keys {
		for name := range i.members {
			i.want(name, "11", "counter", "get", fmt.Sprint("n-", n))
			i.wantGone(name, fmt.Sprint("gone-", n))
		}
	}
	i.in("eu-1", "scrub", "--member", "eu-2")
}

// TestRestoreTouchesNothingElse: a restore that fails removes what it made, and not
// what is somebody else's, such as a link to where a volume is to be.
func TestRestoreTouchesNothingElse(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	i := newIsland(t, "eu")
	i.start("eu", t.TempDir())
	i.in("eu", "counter", "incr", "n")
	i.in("eu", "backup", path("a"))

	if err := os.Symlink(path("not-mounted"), path("link")); err != nil {
		t.Fatal(err)
	}
	if r := crdtctl(t, "", "restore", "--data", path("link"), path("a")); r.code == 0 {
		t.Error("it is restored to where nothing can be made")
	}
	if _, err := os.Lstat(path("link")); err != nil {
		t.Errorf("the link is gone: %v", err)
	}
}
