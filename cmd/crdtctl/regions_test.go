package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/wan"
	pb "github.com/atolldb/atoll/proto"
)

// Three regions converge, say who is away, and converge again.
func TestRegions(t *testing.T) {
	addresses, network := startRegions(t, "ap", "eu", "us")
	for region, address := range addresses {
		if o := crdtctl(t, "", "set", "add", "regions", region, "--server", address); o.code != exitOK {
			t.Fatal(o)
		}
	}
	converged := func(o output) bool { return o.code == exitOK }
	t.Setenv("ATOLL_SERVER", addresses["eu"])
	await(t, converged, "verify")
	await(t, converged, "verify", "--server", addresses["us"])
	level := func(o output) bool {
		return strings.Count(o.stdout, `"lag_events":0,`) == 2 && !strings.Contains(o.stdout, `"behind_events":1`)
	}
	await(t, level, "status", "--json")
	await(t, level, "status", "us", "--json")
	present := func(o output) bool {
		return strings.Count(o.stdout, `"state":"alive"`) == 3 && strings.Count(o.stdout, `"observers":2`) == 2
	}
	await(t, present, "members", "--json")
	await(t, present, "members", "us", "--json")
	transcript(t, "regions.txt", nil)

	network.Cut("ap", wan.Reset)
	if o := crdtctl(t, "", "set", "add", "regions", "sa"); o.code != exitOK {
		t.Fatal(o)
	}
	await(t, func(o output) bool {
		return o.code == exitNotConverged && strings.Contains(o.stdout, `"silent_regions":["ap"],"differ":[]`)
	}, "verify", "--wait", "0s", "--timeout", "1s", "--json")
	transcript(t, "cut.txt", nil)
	await(t, func(o output) bool {
		return strings.Contains(o.stdout, `"name":"ap","region":"ap","zone":"","weight":1,"version":"0.1.0","protocol":1,"state":"down"`)
	},
		"members", "--json")
	for level, code := range map[string]int{
		"one": exitOK, "local-quorum": exitOK, "quorum": exitOK, "linearizable": exitOK, "each-quorum": exitNotEnough, "all": exitNotEnough,
	} {
		for _, line := range [][]string{{"counter", "incr", "levels"}, {"counter", "get", "levels"}} {
			o := crdtctl(t, "", append(line, "--consistency", level, "--timeout", "2s")...)
			if o.code != code {
				t.Errorf("%v at %s with a region cut off: %+v", line, level, o)
			}
			want := map[string]string{
				"incr all": "it takes 3; these are 0 of 1 in ap, 1 of 1 in eu, 1 of 1 in us; the write is kept, and spreads",
				"get all":  "1 of 1 in us; nothing was changed", "get each-quorum": "it takes a majority in each region; these are 0 of 1 in ap",
			}[line[1]+" "+level]
			if !strings.Contains(o.stderr, want) {
				t.Errorf("%v at %s says %q, not %q", line, level, o.stderr, want)
			}
		}
	}
	for _, step := range []struct {
		line string
		code int
		says string
	}{
		{"settings", exitOK, "default consistency  one  of what does not say --consistency\n"},
		{"settings --default-consistency most", exitUsage, `consistency "most"; it is one of one, local-quorum`},
		{"settings --default-consistency all --json", exitOK, `"default_consistency":"all"`},
		{"counter get levels --timeout 2s", exitNotEnough, "it takes 3"},
		{"counter get levels --consistency one", exitOK, "6\n"},
		{"settings --default-consistency one", exitOK, ""},
	} {
		o := crdtctl(t, "", strings.Fields(step.line)...)
		if o.code != step.code || !strings.Contains(o.stdout+o.stderr, step.says) {
			t.Errorf("%s: %+v", step.line, o)
		}
	}
	if o := crdtctl(t, "", "counter", "get", "levels"); o.stdout != "6\n" { // what too few heard is kept
		t.Errorf("in the end: %+v", o)
	}
	lag := regexp.MustCompile(`(?m)^\d+ +ap +1 +\d+\.\ds +0 +false$`)
	if o := crdtctl(t, "", "status", "--shards"); !lag.MatchString(o.stdout) {
		t.Errorf("the lag of a region that is cut off:\n%s", o.stdout)
	}

	// A session that goes there is told; after the heal it reads what it wrote.
	session := filepath.Join(t.TempDir(), "session")
	read := []string{"set", "has", "regions", "me", "--session", session, "--timeout", "2s", "--server", addresses["ap"]}
	if o := crdtctl(t, "", "set", "add", "regions", "me", "--session", session); o.code != exitOK {
		t.Fatal(o)
	}
	crdtctl(t, "", read...).wantLine(t, exitFailure, "nothing was changed; try again, or without --session")
	network.Heal("ap")
	await(t, func(o output) bool { return o.code != exitFailure }, read...)
	if o := crdtctl(t, "", read...); o.code != exitOK {
		t.Errorf("its own write: %+v", o)
	}
	if err := os.WriteFile(session, []byte("noise"), 0o600); err != nil {
		t.Fatal(err)
	}
	crdtctl(t, "", read...).wantLine(t, exitUsage, "remove the file to start anew")
	for _, address := range addresses {
		await(t, converged, "verify", "--server", address)
		if o := crdtctl(t, "", "set", "has", "regions", "sa", "--server", address); o.code != exitOK {
			t.Errorf("%+v", o)
		}
	}
}

// await runs a command line until it ends as wanted.
func await(t *testing.T, want func(output) bool, args ...string) {
	t.Helper()
	var last output
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if last = crdtctl(t, "", args...); want(last) {
			return
		}
	}
	t.Fatalf("%v: %+v", args, last)
}

// print returns what people see, with columns as wide as they are.
func print(write func(w *tabwriter.Writer)) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	write(w)
	w.Flush()
	return b.String()
}

func TestVerifyNamesWhatDiffers(t *testing.T) {
	report := &client.Report{
		Shards: 256, Digest: "0123456789abcdef", Silent: []string{"ap", "sa"}, Changing: []string{"eu"},
		Members: []client.MemberReport{
			{Member: "us", Region: "us", Owned: 256, Events: 100, Entries: 30, Digest: "0123456789abcdef"},
			{Member: "eu-2", Region: "eu", Err: errors.New("away")},
			{Member: "eu-1", Region: "eu", Owned: 200, Missing: 7, Extra: 1, Events: 101, Entries: 31},
			{Member: "ap", Region: "ap", Err: errors.New("away")},
		},
		Differ: []client.Difference{
			{Shard: 3, Behind: map[string]uint64{"us": 1, "eu-1": 12}},
			{Shard: 4, Behind: map[string]uint64{"us": 0, "eu-1": 0}, Diverged: true},
			{Shard: 5, Behind: map[string]uint64{"us": 0, "eu-1": 0}},
		},
	}
	v := verifyOf(report)
	want := `REGION  MEMBER  SHARDS  EVENTS  ENTRIES  DIGEST
ap      ap      -       -       -        no answer
eu      eu-1    200     101     31       -
eu      eu-2    -       -       -        no answer
us      us      256     100     30       0123456789abcdef
sa      -       -       -       -        never heard

SHARD  DIFFERENCE
3      eu-1 lacks 12 events, us lacks 1 event
4      DIVERGED: equal vectors, unequal roots
5      a repair is under way

not converged: 3 of 256 shards differ, no answer from region ap and sa, no answer from member eu-2, eu-1 does not serve 7 of its 200 shards yet, the owners change in eu
`
	if got := print(func(w *tabwriter.Writer) { v.print(w) }); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	data, err := json.Marshal(v)
	if err != nil || strings.Contains(string(data), `"digest":"0123456789abcdef","members"`) {
		t.Errorf("a digest of all, which do not agree: %s, %v", data, err)
	}
	for len(report.Differ) < 100 {
		report.Differ = append(report.Differ, client.Difference{Shard: 100 + len(report.Differ)})
	}
	v = verifyOf(report)
	if got := print(func(w *tabwriter.Writer) { v.print(w) }); !strings.Contains(got, "...    and 80 more; --json lists all\n") || strings.Count(got, "\n") > 40 {
		t.Errorf("of 100 shards it lists\n%s", got)
	}
}

func TestStatusOfPeers(t *testing.T) {
	s := statusOf(&pb.Status{
		Holdings: &pb.Holdings{Owned: 200, Joining: 3, JoinedBytes: 11 << 19, Ready: 4, Handing: 5, Hints: 2, HintEvents: 40, HintBytes: 3 << 19, HintLimit: 64 << 20, Awaited: []string{"ap-1", "ap-2"}},
		Cluster:  "atoll", Member: "eu", Region: "eu", Version: "0.1.0", Regions: []string{"ap", "us"},
		Counters: map[string]uint64{"walks": 3, "commits": 1234, "divergences": 0},
		Peers: []*pb.PeerStatus{{
			Member: "us", Region: "us", SilentMs: 12_345, LagEvents: 70, LagMs: 2_500, BehindEvents: 4,
			Shards: []*pb.ShardLag{
				{Shard: 7, LagEvents: 69, LagMs: 2_500, BehindEvents: 4},
				{Shard: 200, LagEvents: 1},
				{Shard: 201, Diverged: true},
			},
		}},
	}, 256, true)
	want := `member eu of region eu, cluster atoll, version 0.1.0, 256 shards
owns 200 shards; takes over 3; has taken over 4, served once the owners change; took over 5.5 MiB since its start; hands over 5; of these 2 hints of 40 events, taken in place of owners, 1.5 MiB of at most 64.0 MiB
it waits for ap-1, ap-2: start what is down again, or take it out with crdtctl member remove NAME

PEER  REGION  LAG  AGE   BEHIND  DIVERGED  SILENT
us    us      70   2.5s  4       1         12.3s
-     ap      -    -     -       -         never heard

SHARD  PEER  LAG  AGE   BEHIND  DIVERGED
7      us    69   2.5s  4       false
200    us    1    -     0       false
201    us    0    -     0       true

COUNTED  
commits  1234
walks    3
`
	if got := print(func(w *tabwriter.Writer) { s.print(w) }); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	const fields = `"peers":[{"member":"us","region":"us","lag_events":70,"lag_seconds":2.5,"behind_events":4,"diverged_shards":1,"silent_seconds":12.345,"shards":[{"shard":7,"lag_events":69,"lag_seconds":2.5,"behind_events":4,"diverged":false}`
	if data, err := json.Marshal(s); err != nil || !strings.Contains(string(data), fields) {
		t.Errorf("%s, %v; want %s", data, err, fields)
	}
}
