package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/server"
)

// slowly starts a member of region eu that takes over 1 MiB per second, and joins
// another unless it is the first.
func slowly(t *testing.T, name string, others ...*server.Server) *server.Server {
	t.Helper()
	c := server.Config{Region: "eu", Name: name, JoinRate: 1}
	for _, other := range others {
		c.Join = []string{other.Addresses().Client}
	}
	return start(t, c)
}

// unchanged says that owners change nowhere, and n members own shards.
func unchanged(n int) func(output) bool {
	return func(o output) bool {
		return strings.Count(o.stdout, `"changing":false`) == 1 && strings.Count(o.stdout, `"name":`) == n && !strings.Contains(o.stdout, `"owned":0`)
	}
}

// seatOf returns what crdtctl ring says of a member.
func seatOf(t *testing.T, o output, name string) seatAnswer {
	t.Helper()
	var r ringsAnswer
	if err := json.Unmarshal([]byte(o.stdout), &r); err != nil {
		t.Fatal(err, o)
	}
	for _, region := range r.Regions { // none, if a newcomer answers
		for _, m := range region.Members {
			if m.Name == name {
				return m
			}
		}
	}
	return seatAnswer{}
}

// onWrite calls a function with what is written.
type onWrite func(text string)

func (f onWrite) Write(b []byte) (int, error) {
	f(string(b))
	return len(b), nil
}

// Where shards are on their way, the shards and bytes that have arrived are shown:
// when a member joins, and when one leaves. Who watches may stop and come back.
func TestMovesAreShown(t *testing.T) {
	first := slowly(t, "eu-1")
	t.Setenv("ATOLL_SERVER", first.Addresses().Client)
	for _, name := range []string{"eu-2", "eu-3"} {
		slowly(t, name, first)
	}
	if o := crdtctl(t, "", "settings", "--owners", "2", "--watch", "--json"); o.code != exitOK || !strings.Contains(o.stdout, `"owners":2`) {
		t.Fatal(o)
	}
	await(t, unchanged(3), "ring", "--json")
	// Enough that what is midway is so for seconds, however slowly one looks.
	const size, values = 16 << 20, 128
	for i := range values {
		if o := crdtctl(t, strings.Repeat("x", size/values), "register", "set", fmt.Sprint("key", i), "-"); o.code != exitOK {
			t.Fatal(o)
		}
	}

	slowly(t, "eu-4", first)
	var last seatAnswer
	await(t, func(o output) bool {
		last = seatOf(t, o, "eu-4")
		return last.Gains > 0 && last.Owned == 0 && last.Moved < last.Gains && last.Bytes > 128<<10
	}, "ring", "--json")
	o := crdtctl(t, "", "ring", "--watch", "--json")
	if now := seatOf(t, o, "eu-4"); !unchanged(4)(o) || now.Owned != last.Gains || now.Gains != 0 {
		t.Errorf("watched to its end: %+v, of %+v", o, last)
	}
	var s statusAnswer
	o = crdtctl(t, "", "status", "eu-4", "--json")
	if err := json.Unmarshal([]byte(o.stdout), &s); err != nil || s.Holdings.JoinedBytes < size/8 || s.Holdings.JoinedBytes > 2*size {
		t.Errorf("%d bytes moved, of %d in 4 of 16 copies; %v", s.Holdings.JoinedBytes, size, err)
	}

	cl, err := client.Connect(t.Context(), client.Options{Servers: []string{first.Addresses().Client}})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := cl.Decommission(t.Context(), "eu-4"); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var stderr bytes.Buffer
	_, err = handedOver(ctx, cl, "eu-4", progress{onWrite(func(string) { interrupt() })})
	if code := report(&stderr, err); code != exitFailure || !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: exit code %d, %v", code, err)
	}
	if want := "crdtctl: interrupted; eu-4 hands over all the same, and the same command shows it again\n"; stderr.String() != want {
		t.Errorf("interrupted, it says %q, want %q", &stderr, want)
	}
	var shown []string
	d, err := handedOver(t.Context(), cl, "eu-4", progress{onWrite(func(text string) { shown = append(shown, text) })})
	if err != nil || d.Bytes < 128<<10 || d.Shards == 0 {
		t.Errorf("handed over %+v, %v", d, err)
	}
	midway := regexp.MustCompile(`eu-4: \d of \d shards moved, [\d.]*[1-9][\d.]* MiB, \d\.\d MiB/s  \[=+ +\]`)
	if !midway.MatchString(strings.Join(shown, "\n")) {
		t.Errorf("never midway:\n%s", strings.Join(shown, "\n"))
	}
	await(t, unchanged(3), "ring", "--json")
}

// What people see of a change of owners that waits for a member.
func TestRingShowsMoves(t *testing.T) {
	r := ringsAnswer{Owners: 2, Shards: 256, Regions: []regionAnswer{{
		Region: "eu", Changing: true, Awaited: []string{"eu-2"},
		Members: []seatAnswer{
			{Name: "eu-1", Zone: "a", Weight: 1, Owned: 256, Becomes: 171, Share: 0.5, Fair: 1.0 / 3},
			{Name: "eu-3", Weight: 1, Becomes: 170, Gains: 170, Moved: 41, Bytes: 310<<20 + 1<<19, Fair: 1.0 / 3},
		},
	}}}
	const waits = "the change of owners in eu waits for eu-2: start what is down again, or take it out with crdtctl member remove NAME\n"
	want := `REGION  MEMBER  ZONE  WEIGHT  OWNS  SHARE  FAIR   BECOMES  MOVED
eu      eu-1    a     1       256   50.0%  33.3%  171      -
eu      eu-3    -     1       0     0.0%   33.3%  170      41 of 170, 310.5 MiB

256 shards, 2 owners of each in every region; the owners change in eu
` + waits
	if got := print(func(w *tabwriter.Writer) { r.print(w) }); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	m := membersAnswer{Awaited: map[string][]string{"eu": {"eu-2"}}}
	if got := print(func(w *tabwriter.Writer) { m.print(w) }); !strings.HasSuffix(got, "\n\n"+waits) {
		t.Errorf("members says\n%s", got)
	}
	text := movedOf([]*client.Move{
		{Member: "eu-3", Shards: 170, Taken: 41, Bytes: 310 << 20, Done: 0.25}, {Member: "eu-4", Shards: 30, Err: errors.New("away")},
	}, client.RegionRing{Awaited: []string{"eu-2"}}).text(&pace{})
	if want := "41 of 200 shards moved, 310.0 MiB, 0.0 MiB/s  [====                ]  waits for eu-2"; text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(0, 0)
	for i, step := range []struct {
		after time.Duration
		bytes uint64
		want  uint64
	}{
		{0, 100, 0}, {time.Second, 200, 100}, {time.Second, 500, 200}, {20 * time.Second, 500, 0},
		{10 * time.Second, 600, 10}, {time.Second, 50, 0}, {time.Second, 60, 10},
	} {
		now = now.Add(step.after)
		if got := p.of(now, step.bytes); got != step.want {
			t.Errorf("step %d: %d bytes per second, want %d", i, got, step.want)
		}
	}
}

// Owners that change are seen as long as one member knows of it.
func TestUnsettled(t *testing.T) {
	settled := &client.Rings{Regions: []client.RegionRing{{Region: "eu"}, {Region: "us"}}}
	changing := &client.Rings{Regions: []client.RegionRing{{Region: "eu"}, {Region: "us", Changing: true}}}
	says := map[string]*client.Rings{"eu-1": settled, "eu-2": changing, "us-1": settled, "us-2": nil}
	ask := func(name string) (*client.Rings, error) {
		if says[name] == nil {
			return nil, client.ErrUnreachable
		}
		return says[name], nil
	}
	for want, names := range map[*client.Rings][]string{
		nil:      {"eu-1", "us-1", "us-2"},
		changing: {"eu-1", "eu-2", "us-1", "us-2"},
	} {
		if got := unsettled(names, ask); got != want {
			t.Errorf("%v: %v, want %v", names, got, want)
		}
	}
}

// Whom a change of owners waits for is said, and taking that member out ends the
// wait.
func TestAwaitedMember(t *testing.T) {
	first := slowly(t, "eu-1")
	t.Setenv("ATOLL_SERVER", first.Addresses().Client)
	slowly(t, "eu-2", first)
	gone := slowly(t, "eu-3", first)
	if o := crdtctl(t, "", "settings", "--owners", "2", "--watch"); o.code != exitOK {
		t.Fatal(o)
	}
	await(t, unchanged(3), "ring", "--json")
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, func(o output) bool { return strings.Contains(o.stdout, `"state":"left"`) }, "members", "--json")
	if o := crdtctl(t, "", "settings", "--owners", "3"); o.code != exitOK {
		t.Fatal(o)
	}
	says := func(text string) func(output) bool {
		return func(o output) bool { return o.code == exitOK && strings.Contains(o.stdout, text) }
	}
	const waits = "the change of owners in eu waits for eu-3: start what is down again, or take it out with crdtctl member remove NAME\n"
	await(t, says(waits), "ring")
	await(t, says(waits), "members")
	await(t, says("waits for eu-3: "), "status", "eu-1")
	if o := crdtctl(t, "", "member", "remove", "eu-3"); o.code != exitOK {
		t.Fatal(o)
	}
	await(t, unchanged(2), "ring", "--json")
	if o := crdtctl(t, "", "members"); o.code != exitOK || strings.Contains(o.stdout, "waits for") {
		t.Error(o)
	}
}
