package cluster_test

import (
	"context"
	"testing"
	"time"
)

// TestKillUnderLoad: 64 clients write in three regions, members are killed at
// any moment and come back; in the end all regions agree and lack nothing that
// was acknowledged.
func TestKillUnderLoad(t *testing.T) {
	const clients, kills = 64, 5
	random, seed := seeded(t)
	c := layOut(t)
	start(t, c.Members...)
	l := startLoad(t, c, seed, clients)
	var restarted time.Time
	for range kills {
		await(t, l, some(random))
		victim := c.Members[random.IntN(len(c.Members))]
		kill(t, victim)
		await(t, l, some(random)/2) // the others go on
		restarted = time.Now()
		start(t, victim)
		t.Logf("%s was killed; ready again after %v", victim.Region, since(restarted))
	}
	end(t, l)
	stopped := time.Now()
	converge(t, c)
	t.Logf("converged %v after the last restart, %v after the end of the load",
		since(restarted), since(stopped))
	t.Log(l.Book)
	checkBook(t, c, l.Book)
	for _, m := range c.Members {
		for name, n := range counters(t, m) {
			switch name {
			case "actors_lost", "divergences", "commit_errors", "messages_malformed", "namesakes":
				if n != 0 {
					t.Errorf("%s counted %d %s", m.Region, n, name)
				}
			}
		}
	}
}

// TestStopUnderLoad: a member that is told to stop ends what is under way, and
// says of every write whether it was done.
func TestStopUnderLoad(t *testing.T) {
	random, seed := seeded(t)
	c := layOut(t)
	start(t, c.Members...)
	l := startLoad(t, c, seed, 32)
	for range 2 {
		await(t, l, some(random))
		victim := c.Members[random.IntN(len(c.Members))]
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		began := time.Now()
		err := victim.Stop(ctx)
		cancel()
		if err != nil { // as an exit code other than 0
			t.Fatal(err)
		}
		t.Logf("%s stopped in %v", victim.Region, since(began))
		await(t, l, some(random)/4)
		start(t, victim)
	}
	end(t, l)
	converge(t, c)
	t.Log(l.Book)
	checkBook(t, c, l.Book)
}
