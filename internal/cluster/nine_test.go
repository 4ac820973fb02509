package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/book"
	"github.com/atolldb/atoll/internal/cluster"
)

// nine returns a cluster of three regions of three members, each shard with two
// owners in each, all of them where they are to be.
func nine(t *testing.T) *cluster.Cluster {
	t.Helper()
	c := layOut(t)
	start(t, c.Members...)
	if _, err := connect(t, c.Members[0]).SetOwners(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	for _, region := range regions {
		for i := 2; i <= 3; i++ {
			start(t, add(t, c, region, fmt.Sprint(region, "-", i)))
		}
	}
	converge(t, c)
	return c
}

func add(t *testing.T, c *cluster.Cluster, region, name string) *cluster.Member {
	t.Helper()
	m, err := c.Add(region, name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// load starts clients at the given levels, in all regions.
func load(t *testing.T, c *cluster.Cluster, b *book.Book, seed uint64, prefix string, n int, levels ...client.Consistency) *book.Load {
	t.Helper()
	l, err := book.StartLoad(t.Context(), b, book.LoadOptions{Servers: c.Spread(n), Seed: seed, Prefix: prefix, Levels: levels, Pause: ninePause})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(t, l) })
	return l
}

// TestNine: members are added, decommissioned, killed, and replaced under load,
// with other weights and zones.
// In the end all agree, every shard has its owners and nobody else, and no
// write that was acknowledged at any level is missing; registers that were written
// and read linearizably have been what one register can be.
func TestNine(t *testing.T) {
	random, seed := seeded(t)
	c := nine(t)
	operator := connect(t, c.Members[0]) // it stays
	books := book.New()
	one := load(t, c, books, seed, "one-", 6, client.One)
	more := loads{
		load(t, c, books, seed+1, "more-", 6, client.LocalQuorum, client.Quorum, client.EachQuorum),
		load(t, c, books, seed+2, "all-", 2, client.All),
		load(t, c, books, seed+3, "exact-", 4, client.Linearizable),
	}
	step := func(what string, do func()) {
		t.Helper()
		await(t, one, some(random)/nineShare)
		began, before := time.Now(), books.Count(book.Done)
		do()
		t.Logf("%s: %v, %d writes acknowledged meanwhile", what, since(began), books.Count(book.Done)-before)
	}
	settle := func() {
		t.Helper()
		await(t, one, 1)
		inPlace(t, operator, len(c.Members))
	}
	step("a member more", func() {
		start(t, add(t, c, "eu", "eu-4"))
		settle()
	})
	step("one decommissioned", func() {
		leaver := named(c, "us-2")
		if _, err := operator.Decommission(t.Context(), leaver.Name); err != nil {
			t.Fatal(err)
		}
		empty(t, leaver)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := leaver.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		c.Remove(leaver)
		removeMember(t, operator, leaver.Name)
		settle()
	})
	step("one killed and started again with twice the weight", func() {
		victim := c.Members[1+random.IntN(len(c.Members)-1)]
		kill(t, victim)
		victim.Flags = append(slices.Clone(victim.Flags), "--weight", "2")
		start(t, victim)
		settle()
	})
	// What only one owner has acknowledged is lost with its disk: before a disk
	// is lost for good, that much has to be elsewhere.
	end(t, one)
	more.end(t)
	converge(t, c)
	more = loads{
		load(t, c, books, seed+4, "then-", 6, client.LocalQuorum, client.Quorum, client.EachQuorum),
		load(t, c, books, seed+5, "then-all-", 2, client.All),
		load(t, c, books, seed+6, "then-exact-", 4, client.Linearizable),
	}
	step("one killed for good and replaced", func() {
		victim := named(c, "ap-3")
		kill(t, victim)
		c.Remove(victim)
		removeMember(t, operator, victim.Name)
		successor := add(t, c, "ap", "ap-4")
		successor.Flags = append(slices.Clone(successor.Flags), "--zone", "b")
		start(t, successor)
		settle()
	})
	more.end(t)
	converge(t, c)
	t.Log(books)
	checkBook(t, c, books)
}

// loads are clients of several kinds.
type loads []*book.Load

// end ends them. Each was served, at least while nobody was away.
func (some loads) end(t *testing.T) {
	t.Helper()
	for i, l := range some {
		end(t, l)
		if l.Done() == 0 {
			t.Errorf("of the load %d of %d nothing was acknowledged", i+1, len(some))
		}
		t.Logf("load %d of %d: %d operations acknowledged", i+1, len(some), l.Done())
	}
}

func named(c *cluster.Cluster, name string) *cluster.Member {
	return c.Members[slices.IndexFunc(c.Members, func(m *cluster.Member) bool { return m.Name == name })]
}

// inPlace waits until every shard has its owners, as a member has the table, and
// nobody else holds a copy. Under a load they need not agree.
func inPlace(t *testing.T, c *client.Client, members int) {
	t.Helper()
	eventually(t, "every shard has its owners", func() string {
		report, err := c.Verify(t.Context(), 0, nil)
		if err != nil {
			return err.Error()
		}
		if len(report.Members) != members || len(report.Changing) > 0 {
			return fmt.Sprintf("%d members, owners change in %v", len(report.Members), report.Changing)
		}
		for _, m := range report.Members {
			if m.Err != nil || m.Missing > 0 || m.Extra > 0 {
				return fmt.Sprintf("%s lacks %d shards and holds %d others (%v)", m.Member, m.Missing, m.Extra, m.Err)
			}
		}
		return ""
	})
}

// empty waits until a member holds nothing.
func empty(t *testing.T, m *cluster.Member) {
	t.Helper()
	c := connect(t, m)
	eventually(t, m.Name+" holds nothing", func() string {
		status, err := c.Status(t.Context(), m.Name, false)
		if err != nil {
			return err.Error()
		}
		if h := status.GetHoldings(); h.GetOwned()+h.GetJoining()+h.GetReady()+h.GetHanding() > 0 {
			return h.String()
		}
		return ""
	})
}

// removeMember removes a member as soon as it is found to be gone.
func removeMember(t *testing.T, c *client.Client, name string) {
	t.Helper()
	eventually(t, name+" is removed", func() string {
		if _, err := c.RemoveMember(t.Context(), name); err != nil {
			return err.Error()
		}
		return ""
	})
}

// eventually waits until nothing is in the way of what is to be.
func eventually(t *testing.T, what string, obstacle func() string) {
	t.Helper()
	deadline := time.Now().Add(2 * patience)
	ticks := time.NewTicker(50 * time.Millisecond)
	defer ticks.Stop()
	for {
		in := obstacle()
		if in == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v: %s", what, 2*patience, in)
		}
		<-ticks.C
	}
}
