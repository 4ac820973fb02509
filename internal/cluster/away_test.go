package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/book"
	"github.com/atolldb/atoll/internal/cluster"
	"github.com/atolldb/atoll/internal/wan"
)

// shortLog makes every longer absence one that the logs do not reach back to:
// they keep four events of each writer in each of eight shards.
var shortLog = []string{"--shards", "8", "--log-limit", "4"}

// fill writes n elements of a set, n increments and n registers through a
// member, one after the other: as many events.
func fill(t *testing.T, m *cluster.Member, b *book.Book, what string, n int) {
	t.Helper()
	conn := connect(t, m)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range n {
		began, name := time.Now(), fmt.Sprint(what, "-", i)
		_, addErr := conn.Counter(fmt.Sprint("counter-", i%16)).Add(ctx, 1)
		b.AddedTo(fmt.Sprint("counter-", i%16), 1, book.Done, began)
		_, setErr := conn.Set(fmt.Sprint("set-", i%16)).Add(ctx, name)
		b.AddedElement(fmt.Sprint("set-", i%16), name, book.Done, began)
		registerErr := conn.Register("register-"+name).Set(ctx, []byte(name))
		b.Wrote("register-"+name, name, book.Done, began)
		if err := errors.Join(addErr, setErr, registerErr); err != nil {
			t.Fatal(err)
		}
	}
}

// mustWalk checks that a member has come by what it has by walks.
func mustWalk(t *testing.T, m *cluster.Member) {
	t.Helper()
	n := counters(t, m)
	t.Logf("%s: %d walks, %d fields pulled, %d events fetched, %d bytes to catch up",
		m.Region, n["walks"], n["fields_pulled"], n["events_fetched"], n["sync_bytes"])
	if n["walks"] == 0 || n["fields_pulled"] == 0 {
		t.Errorf("%s pulled %d fields by %d walks; want some", m.Region, n["fields_pulled"], n["walks"])
	}
}

// TestAwayLongerThanLogs: a region that was away longer than the logs of the
// others reach comes back all the same.
func TestAwayLongerThanLogs(t *testing.T) {
	t.Parallel()
	c := layOut(t, shortLog...)
	eu, us, ap := c.Members[0], c.Members[1], c.Members[2]
	start(t, c.Members...)
	b := book.New()
	fill(t, ap, b, "before", 50)
	converge(t, c)
	kill(t, ap)
	fill(t, eu, b, "away-eu", 100)
	fill(t, us, b, "away-us", 100)
	restarted := time.Now()
	start(t, ap)
	fill(t, ap, b, "after", 50)
	converge(t, c)
	t.Logf("converged %v after the restart", since(restarted))
	checkBook(t, c, b)
	mustWalk(t, ap)
}

// TestLateAndAnew: a region that starts late gets everything; one whose data
// was deleted comes back as somebody new, gets everything, and can write.
func TestLateAndAnew(t *testing.T) {
	t.Parallel()
	c := layOut(t, shortLog...)
	eu, us, ap := c.Members[0], c.Members[1], c.Members[2]
	start(t, eu, us)
	b := book.New()
	fill(t, eu, b, "early-eu", 100)
	fill(t, us, b, "early-us", 100)
	began := time.Now()
	start(t, ap)
	converge(t, c)
	t.Logf("converged %v after the late start", since(began))
	mustWalk(t, ap)

	fill(t, ap, b, "first-life", 50)
	converge(t, c)
	kill(t, ap)
	if err := os.RemoveAll(ap.Data); err != nil {
		t.Fatal(err)
	}
	fill(t, eu, b, "meanwhile", 20)
	began = time.Now()
	start(t, ap)
	fill(t, ap, b, "second-life", 50) // at once, before it has caught up
	converge(t, c)
	t.Logf("converged %v after the start without data", since(began))
	checkBook(t, c, b)
	mustWalk(t, ap)
	for _, m := range c.Members {
		if n := counters(t, m); n["namesakes"] != 0 || n["divergences"] != 0 {
			t.Errorf("%s counted %d namesakes and %d divergences", m.Region, n["namesakes"], n["divergences"])
		}
	}
}

// TestCutOff: a region that is cut off takes writes, as the others do; after
// the heal all of it is everywhere. What was written to one register on both
// sides is kept side by side.
func TestCutOff(t *testing.T) {
	t.Parallel()
	network, err := wan.New(regions...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { network.Close() })
	c := layOut(t)
	for _, m := range c.Members {
		for region := range m.Peers {
			m.Peers[region] = network.Addresses()[region][0]
		}
		m.Advertise = network.Addresses()[m.Region][0]
		network.Attach(m.Region, m.Gateway)
	}
	start(t, c.Members...)
	eu, us, ap := c.Members[0], c.Members[1], c.Members[2]
	b := book.New()
	fill(t, eu, b, "before", 20)
	converge(t, c)

	for _, mode := range []wan.Mode{wan.Reset, wan.Silent} {
		network.Cut("ap", mode)
		for _, m := range c.Members {
			fill(t, m, b, fmt.Sprint("cut-", mode, "-", m.Region), 100)
		}
		register := fmt.Sprint("both-sides-", mode)
		write := func(m *cluster.Member) {
			began := time.Now()
			if err := connect(t, m).Register(register).Set(t.Context(), []byte(m.Region)); err != nil {
				t.Fatal(err)
			}
			b.Wrote(register, m.Region, book.Done, began)
		}
		write(ap)
		time.Sleep(time.Millisecond) // which is what times are rounded to
		write(us)
		healed := time.Now()
		network.Heal("ap")
		converge(t, c)
		t.Logf("cut %d: converged %v after the heal", mode, since(healed))
		for _, m := range c.Members {
			siblings, err := connect(t, m).Register(register).Siblings(t.Context())
			if err != nil || len(siblings) != 2 || string(siblings[0].Value) != "us" || string(siblings[1].Value) != "ap" {
				t.Errorf("in %s: %v, %v; want us, which was later, and ap", m.Region, siblings, err)
			}
		}
	}
	checkBook(t, c, b)
}
