package transporttest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/atolldb/atoll/transport"
)

func regionAffinity(t *testing.T, n Network) {
	const count = 100
	eu1, eu2 := n.Join("eu", "eu-1"), n.Join("eu", "eu-2")
	us, ap := n.Join("us", "us-1"), n.Join("ap", "ap-1")

	usServes := serve(t, us, "kv.1", "owners", says("us-1"))
	for _, from := range []transport.Transport{eu1, eu2, us, ap} {
		askUntil(t, from, "kv.1", "us-1")
	}
	eu2Serves := serve(t, eu2, "kv.1", "owners", says("eu-2"))
	askUntil(t, eu2, "kv.1", "eu-2")
	askUntil(t, eu1, "kv.1", "eu-2")
	for range count {
		if got := ask(t, eu1, "kv.1", ""); got != "eu-2" {
			t.Fatalf("%s served a request of eu while eu-2 was there", got)
		}
		if got := ask(t, us, "kv.1", ""); got != "us-1" {
			t.Fatalf("%s served a request of us while us-1 was there", got)
		}
		if got := ask(t, ap, "kv.1", ""); got != "us-1" && got != "eu-2" {
			t.Fatalf("answer %q", got)
		}
	}

	// None left at home: another region serves.
	if err := eu2Serves.Close(); err != nil {
		t.Fatal(err)
	}
	askUntil(t, eu1, "kv.1", "us-1")
	if err := usServes.Close(); err != nil {
		t.Fatal(err)
	}
	askUntilNobody(t, eu1, "kv.1")
}

func cutLosesSilently(t *testing.T, n Network) {
	ends := map[string]transport.Transport{
		"eu": n.Join("eu", "eu-1"), "us": n.Join("us", "us-1"), "ap": n.Join("ap", "ap-1"),
	}
	inboxes := map[string]*inbox{}
	for region, end := range ends {
		inboxes[region] = subscribe(t, end, "delta.*")
	}
	linkAll := func() {
		for _, end := range ends {
			link(t, end, "delta.0", inboxes["eu"], inboxes["us"], inboxes["ap"])
		}
	}
	linkAll()
	for _, region := range []string{"ap", "eu"} {
		n.Cut(region)
		for from, end := range ends {
			for i := range 20 {
				publish(t, end, "delta.0", fmt.Sprintf("lost %s %d", from, i))
			}
		}
		n.Heal(region)
		linkAll()
		for from, end := range ends {
			publish(t, end, "delta.0", "after "+from)
		}
		for to, in := range inboxes {
			checkCut(t, in, to, region, len(ends))
		}
	}
}

// checkCut reads what was published during and after the cut of a region, up
// to the last message of each publisher.
func checkCut(t *testing.T, in *inbox, to, cut string, publishers int) {
	t.Helper()
	during := map[string]int{}
	for last := 0; last < publishers; {
		var word, from string
		m := in.next(t)
		if _, err := fmt.Sscan(string(m.Data), &word, &from); err != nil {
			t.Fatalf("received %q", m.Data)
		}
		if word == "after" {
			last++
			continue
		}
		during[from]++
		if from != to && (from == cut || to == cut) {
			t.Errorf("%s was cut and %s received %q", cut, to, m.Data)
		}
	}
	for _, from := range []string{"eu", "us", "ap"} {
		if connected := from == to || from != cut && to != cut; connected && during[from] != 20 {
			t.Errorf("%s was cut and %s received %d of 20 messages of %s", cut, to, during[from], from)
		}
	}
}

func cutLeavesRequestsInside(t *testing.T, n Network) {
	eu, ap1, ap2 := n.Join("eu", "eu-1"), n.Join("ap", "ap-1"), n.Join("ap", "ap-2")
	serve(t, eu, "kv.*", "owners", says("eu-1"))
	serve(t, ap2, "kv.*", "owners", says("ap-2"))
	serve(t, eu, "sync.eu-1", "", says("eu-1"))
	serve(t, ap2, "sync.ap-2", "", says("ap-2"))
	askUntil(t, ap1, "kv.1", "ap-2")
	askUntil(t, ap1, "sync.eu-1", "eu-1")
	askUntil(t, eu, "sync.ap-2", "ap-2")

	n.Cut("ap")
	for range 50 {
		if got := ask(t, ap1, "kv.1", ""); got != "ap-2" {
			t.Fatalf("answer %q", got)
		}
		if got := ask(t, eu, "kv.1", ""); got != "eu-1" {
			t.Fatalf("answer %q", got)
		}
	}
	for subject, from := range map[string]transport.Transport{"sync.eu-1": ap1, "sync.ap-2": eu} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		answer, err := from.Request(ctx, subject, nil)
		cancel()
		if !errors.Is(err, transport.ErrNoResponders) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Request(%q) across the cut: %q, %v", subject, answer, err)
		}
	}

	n.Heal("ap")
	askUntil(t, ap1, "sync.eu-1", "eu-1")
	askUntil(t, eu, "sync.ap-2", "ap-2")
}
