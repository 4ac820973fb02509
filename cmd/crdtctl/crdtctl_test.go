package main

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/wan"
	"github.com/atolldb/atoll/server"
)

var update = flag.Bool("update", false, "write the transcripts in testdata as they are now")

// TestMain lets the test binary be crdtctl, for tests that need a process.
func TestMain(m *testing.M) {
	if os.Getenv("CRDTCTL_MAIN") != "" {
		main()
	}
	_ = os.Unsetenv("ATOLL_SERVER") // whatever the developer has
	os.Exit(m.Run())
}

// output is what a command line came to.
type output struct {
	code           int
	stdout, stderr string
}

// crdtctl runs a command line.
func crdtctl(t testing.TB, stdin string, args ...string) output {
	t.Helper()
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context()) // as in main: no deadline
	defer cancel()
	defer time.AfterFunc(30*time.Second, cancel).Stop()
	code := run(ctx, append([]string{"crdtctl"}, args...), strings.NewReader(stdin), &stdout, &stderr)
	return output{code, stdout.String(), stderr.String()}
}

// wantLine checks that a failure is told in one line, which says what is wanted.
func (o output) wantLine(t testing.TB, code int, texts ...string) {
	t.Helper()
	if o.code != code || !strings.HasPrefix(o.stderr, "crdtctl: ") || strings.Index(o.stderr, "\n") != len(o.stderr)-1 {
		t.Errorf("exit code %d, want %d; want one line:\n%s", o.code, code, o.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(o.stderr, text) {
			t.Errorf("want %q in: %s", text, o.stderr)
		}
	}
	if o.stdout != "" {
		t.Errorf("stdout has %q", o.stdout)
	}
}

func start(t testing.TB, c server.Config) *server.Server {
	t.Helper()
	c.Data, c.Shards, c.Durability, c.Listen.Client = t.TempDir(), cmp.Or(c.Shards, 8), "os", "127.0.0.1:0"
	c.SolicitDelay, c.GossipInterval = 5*time.Millisecond, 20*time.Millisecond
	member, err := server.Start(context.Background(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := member.Close(); err != nil {
			t.Error(err)
		}
	})
	return member
}

// startRegions starts regions of one member each and waits until they are
// connected. It returns where they listen, and the network between them.
func startRegions(t testing.TB, regions ...string) (map[string]string, *wan.Network) {
	t.Helper()
	network, err := wan.New(regions...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { network.Close() })
	addresses, members := map[string]string{}, map[string]*server.Server{}
	for _, region := range regions {
		others := network.Addresses()
		own := others[region][0]
		delete(others, region)
		member := start(t, server.Config{Region: region, Regions: others, GatewayAdvertise: own})
		network.Attach(region, member.Addresses().Gateway)
		addresses[region], members[region] = member.Addresses().Client, member
	}
	deadline := time.Now().Add(20 * time.Second)
	for _, member := range members {
		for len(member.Gateways()) < len(regions)-1 {
			if time.Now().After(deadline) {
				t.Fatal("the regions did not meet")
			}
			time.Sleep(time.Millisecond)
		}
	}
	return addresses, network
}

// vary stands for what is different in each run.
var vary = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+Z`), "<time>"},
	{regexp.MustCompile(`\b[0-9a-f]{16}\b`), "<16 hex digits>"},
	{regexp.MustCompile(`go1\.[\w.-]+`), "<go>"},
	{regexp.MustCompile(`"counters":\{[^}]*\}`), `"counters":{...}`},
	{regexp.MustCompile(`(?s)\nCOUNTED.*`), "\nCOUNTED ...\n"},
	{regexp.MustCompile(`\b\d+\.\d+s\b`), "<seconds>"},
	{regexp.MustCompile(`("\w*(?:seconds|_ms|per_second|bytes|phi)"):[\d.]+`), "$1:<n>"},
	{regexp.MustCompile(`\b\d+\.\d+ ms\b`), "<ms>"},
	{regexp.MustCompile(`\b\d+/s\b`), "<n>/s"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "<address>"},
	{regexp.MustCompile(`\b(alive +)\d+\.\d\b`), "$1<phi>"},
	{regexp.MustCompile(`"error":"(?:[^"\\]|\\.)*"`), `"error":"..."`},
	{regexp.MustCompile(`"events":[1-9]\d*,"entries":[1-9]\d*`), `"events":<n>,"entries":<n>`},
	{regexp.MustCompile(`(?m)^(\w+ +\w+ +8 +)[1-9]\d* +[1-9]\d* +<16`), "$1<n> <n> <16"},
	{regexp.MustCompile(`  +`), "  "}, // columns are as wide as what varies
}

// words takes a command line apart: words may be in double quotes, as in Go.
func words(t testing.TB, text string) []string {
	t.Helper()
	var all []string
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		if text[0] != '"' {
			word, rest, _ := strings.Cut(text, " ")
			all, text = append(all, word), rest
			continue
		}
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil {
			t.Fatal(text, err)
		}
		word, _ := strconv.Unquote(quoted)
		all, text = append(all, word), text[len(quoted):]
	}
	return all
}

// transcript runs the command lines of a file in testdata, which begin with
// "$ ", and compares what they print with what the file says. The last word
// may be "<" and what is on stdin; env holds words to replace.
func transcript(t *testing.T, name string, env map[string]string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for text := range strings.Lines(string(file)) {
		line, isCommand := strings.CutPrefix(text, "$ ")
		if strings.HasPrefix(text, "#") {
			got.WriteString(text)
		}
		if !isCommand {
			continue
		}
		args, stdin := words(t, line), ""
		for i, word := range args {
			if with, ok := env[word]; ok {
				args[i] = with
			}
		}
		if n := len(args); n > 2 && args[n-2] == "<" {
			args, stdin = args[:n-2], args[n-1]
		}
		o := crdtctl(t, stdin, args...)
		for _, v := range vary {
			o.stdout = v.what.ReplaceAllString(o.stdout, v.by)
			o.stderr = v.what.ReplaceAllString(o.stderr, v.by)
		}
		got.WriteString(text + o.stdout)
		if o.stdout != "" && !strings.HasSuffix(o.stdout, "\n") {
			got.WriteString("(no line end)\n")
		}
		got.WriteString(o.stderr)
		if o.code != 0 {
			fmt.Fprintf(&got, "(exit code %d)\n", o.code)
		}
		got.WriteString("\n")
	}
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	compare(t, path, got.String(), string(file))
}

// compare shows the first line that differs.
func compare(t *testing.T, path, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(want, "\n")
	last := ""
	for i, line := range gotLines {
		if strings.HasPrefix(line, "$ ") {
			last = line
		}
		if i >= len(wantLines) || line != wantLines[i] {
			t.Fatalf("%s:%d: after %s\n got %q\nwant %q\n(-update writes the file)", path, i+1, last, line, append(wantLines, "the end")[min(i, len(wantLines))])
		}
	}
	t.Fatalf("%s: ends early, after %s", path, last)
}

func TestCommands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ATOLL_SERVER", start(t, server.Config{Region: "eu"}).Addresses().Client)
	transcript(t, "commands.txt", map[string]string{"FILE": file})
}

func TestUsage(t *testing.T) { transcript(t, "usage.txt", nil) }

// blocked never reads anything.
type blocked struct{ reading chan struct{} }

func (b blocked) Read([]byte) (int, error) {
	close(b.reading)
	select {}
}

var _ io.Reader = blocked{}
