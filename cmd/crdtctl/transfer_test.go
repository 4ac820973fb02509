package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/transfer"
	"github.com/atolldb/atoll/internal/wan"
	"github.com/atolldb/atoll/server"
)

// exported returns what the cluster of a member exports.
func exported(t testing.TB, at *server.Server) string {
	t.Helper()
	o := crdtctl(t, "", "export", "--server", at.Addresses().Client)
	if o.code != exitOK {
		t.Fatalf("%+v", o)
	}
	return o.stdout
}

// populate writes objects of all types, of what text and numbers can get wrong.
func populate(t testing.TB, c *client.Client) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	odd := []string{"", "a", "\x00", "\xff\xfe", "é", "\u2028", "<&>", `\ud800`, "\"\\\n", "\ufffd", "\U0001f600", strings.Repeat("\x01", 5000)}
	for i := range 300 {
		key := fmt.Sprintf("%s-%03d", odd[random.IntN(len(odd)-1)], i)
		switch i % 3 {
		case 0:
			must(c.Counter(key).Add(t.Context(), []int64{0, -7, 1<<53 + 1, math.MaxInt64, math.MinInt64}[random.IntN(5)]))
		case 1:
			must(c.Set(key).Add(t.Context(), odd[random.IntN(len(odd))], odd[random.IntN(len(odd))]))
		default:
			must(nil, c.Register(key).Set(t.Context(), []byte(odd[random.IntN(len(odd))])))
		}
	}
	for i := range 7 {
		var elements []string
		for j := range 500 {
			elements = append(elements, fmt.Sprint(i, " ", j))
		}
		must(c.Set("large").Add(t.Context(), elements...))
		must(c.Set(strings.Repeat("k", crdt.MaxKeyBytes)).Add(t.Context(), elements[:100]...))
		must(c.Set("long").Add(t.Context(), strings.Repeat("\xff", crdt.MaxElementBytes-1)+fmt.Sprint(i), strings.Repeat("e", crdt.MaxElementBytes-1)+fmt.Sprint(i)))
	}
	must(nil, c.Register("long").Set(t.Context(), bytes.Repeat([]byte{1}, crdt.MaxValueBytes)))
	must(c.Set("gone").Add(t.Context(), "a"))
	must(c.Delete(t.Context(), "gone"))
	must(c.Counter("large").Add(t.Context(), 1)) // beside a set
}

// TestExportImport: what one cluster exports, imported into another one, is what that
// exports, although it has other shards; through a compressed file, too.
func TestExportImport(t *testing.T) {
	a, b := start(t, server.Config{Region: "eu"}), start(t, server.Config{Region: "us", Cluster: "other", Shards: 200})
	populate(t, a.Client())
	want := exported(t, a)
	path := filepath.Join(t.TempDir(), "all.gz")
	o := crdtctl(t, "", "export", "--out", path, "--server", a.Addresses().Client)
	if o.code != exitOK || !strings.HasPrefix(o.stdout, path+": 305 objects in ") {
		t.Errorf("%+v", o)
	}
	if unpacked := unpack(t, path); unpacked != want {
		t.Errorf("the file has %d bytes, stdout had %d", len(unpacked), len(want))
	}
	crdtctl(t, "", "export", "--out", path, "--server", a.Addresses().Client).wantLine(t, exitUsage, "is there already")
	if o := crdtctl(t, "", "import", path, "--server", b.Addresses().Client); o.code != exitOK || !strings.Contains(o.stdout, "101 counters, 4") || o.stderr != "" {
		t.Errorf("%+v", o)
	}
	if got := exported(t, b); got != want {
		t.Errorf("imported it is %d bytes, %d before", len(got), len(want))
	}

	// Of a prefix and a type, from stdin, into what is there already.
	o = crdtctl(t, "", "export", "large", "--type", "counter", "--server", a.Addresses().Client)
	if o.stdout != `{"atoll_export":1}`+"\n"+`{"key":"large","type":"counter","value":"1"}`+"\n"+`{"lines":1}`+"\n" {
		t.Errorf("%+v", o)
	}
	if o := crdtctl(t, o.stdout, "import", "-", "--json", "--server", b.Addresses().Client); o.stdout != `{"lines":1,"counters":1,"elements":0,"registers":0,"values_left_out":0}`+"\n" {
		t.Errorf("%+v", o)
	}
	if n, err := b.Client().Counter("large").Value(t.Context()); n != 2 || err != nil {
		t.Errorf("imported twice it is %d, %v", n, err)
	}
}

// interrupting ends a context when something is written.
type interrupting struct {
	bytes.Buffer
	interrupt func()
}

func (w *interrupting) Write(b []byte) (int, error) {
	w.interrupt()
	return w.Buffer.Write(b)
}

// TestExportInterrupted: what was not all exported does not look like a whole export,
// and leaves no file.
func TestExportInterrupted(t *testing.T) {
	member := start(t, server.Config{Region: "eu"})
	populate(t, member.Client())
	ctx, cancel := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	stdout := &interrupting{interrupt: cancel}
	code := run(ctx, []string{"crdtctl", "export", "--server", member.Addresses().Client}, strings.NewReader(""), stdout, &stderr)
	output{code, "", stderr.String()}.wantLine(t, exitFailure, "")
	if strings.Contains(stdout.String(), `{"lines":`) {
		t.Error("it has a last line")
	}
	path := filepath.Join(t.TempDir(), "file")
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	stderr.Reset()
	if code := run(ctx, []string{"crdtctl", "export", "--out", path, "--server", member.Addresses().Client}, strings.NewReader(""), stdout, &stderr); code == exitOK {
		t.Error("it went on")
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a file was left: %v", err)
	}
}

func unpack(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

// TestImportGoesOn: an import that stopped in the middle of a block goes on as it has
// said, and every counter counts once.
func TestImportGoesOn(t *testing.T) {
	member := start(t, server.Config{Region: "eu"})
	var file strings.Builder
	const lines, full = 2500, 1234
	for i := 1; i <= lines; i++ {
		n := int64(i)
		if i == full {
			n = math.MaxInt64
		}
		fmt.Fprintf(&file, `{"key":"n-%04d","type":"counter","value":"%d"}`+"\n", i, n)
	}
	path := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	full1 := member.Client().Counter(fmt.Sprintf("n-%04d", full))
	if _, err := full1.Add(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	o := crdtctl(t, "", "import", path, "--server", member.Addresses().Client)
	o.wantLine(t, exitUsage, "line 1234: ", "all lines before 1001 are in, and of the lines up to 2000 some may be in")
	goOn := regexp.MustCompile(`go on with (--from 1001 --id [0-9a-f]{32}) within half an hour`).FindStringSubmatch(o.stderr)
	if goOn == nil {
		t.Fatalf("it does not say how to go on: %+v", o)
	}
	some := 0
	for i := 1001; i <= 2000; i++ {
		if n, _ := member.Client().Counter(fmt.Sprintf("n-%04d", i)).Value(t.Context()); i != full && n != 0 {
			some++
		}
	}
	if some == 0 {
		t.Error("it stopped before the block, which tells nothing")
	}
	again := append([]string{"import", path, "--server", member.Addresses().Client}, strings.Fields(goOn[1])...)
	crdtctl(t, "", again...).wantLine(t, exitUsage, "line 1234: ", "nothing was written before, and of the lines up to 2000", goOn[1])
	if err := full1.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if o := crdtctl(t, "", again...); o.code != exitOK || !strings.HasPrefix(o.stdout, "1500 lines imported") {
		t.Errorf("%+v", o)
	}
	for i := 1; i <= lines; i++ {
		if n, err := member.Client().Counter(fmt.Sprintf("n-%04d", i)).Value(t.Context()); i != full && n != int64(i) || err != nil {
			t.Fatalf("n-%04d is %d, %v", i, n, err)
		}
	}
	old := "018f00000000" + strings.Repeat("0", 20)
	crdtctl(t, "", "import", path, "--id", old, "--server", member.Addresses().Client).
		wantLine(t, exitUnknown, "its id was made", "go on with --from 1 and without --id, and their counters count again")
}

// TestImportOfASlowPipe: the id of a block is no older than the block.
func TestImportOfASlowPipe(t *testing.T) {
	cl := start(t, server.Config{Region: "eu"}).Client()
	if _, err := cl.Counter("full").Add(t.Context(), math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	const good, bad = `{"key":"n","type":"counter","value":"1"}` + "\n", `{"key":"full","type":"counter","value":"1"}` + "\n"
	for which, before := range map[string]string{"first": "", "second": strings.Repeat(good, blockLines)} {
		r, w := io.Pipe()
		written := make(chan struct{})
		i := &importing{client: cl, reader: transfer.NewReader(r), from: 1, show: func(imported) { close(written) }}
		var arrived int64
		go func() {
			if before != "" {
				_, _ = io.WriteString(w, before)
				<-written
			}
			began := time.Now().UnixMilli()
			for arrived = began; arrived == began; arrived = time.Now().UnixMilli() {
			}
			_, _ = io.WriteString(w, bad)
			_ = w.Close()
		}()
		err := i.run(t.Context())
		if made := i.id.Time().UnixMilli(); !errors.Is(err, client.ErrOverflow) || made < arrived {
			t.Errorf("the %s block came at %d, its id is of %d: %v", which, arrived, made, err)
		}
	}
}

// TestImportRefuses: a damaged or cut line is refused by its number, and it is said
// what was imported before.
func TestImportRefuses(t *testing.T) {
	member := start(t, server.Config{Region: "eu"})
	dir := t.TempDir()
	const good = `{"key":"n","type":"counter","value":"1"}` + "\n"
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := io.WriteString(w, strings.Repeat(good, 3)); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(dir, "cut.gz")
	if err := os.WriteFile(cut, packed.Bytes()[:packed.Len()-6], 0o600); err != nil {
		t.Fatal(err)
	}
	into := func(stdin string, args ...string) output {
		return crdtctl(t, stdin, append([]string{"import", "--server", member.Addresses().Client}, args...)...)
	}
	into(good+good[:20]).wantLine(t, exitUsage, "line 2: it is cut", "all lines before 2 are in: go on with --from 2")
	into("\n"+good+`{"key":"n","type":"counter","value":"x"}`).wantLine(t, exitUsage, "line 3: ", "all lines before 3 are in")
	into("noise").wantLine(t, exitUsage, "line 1: ", "nothing was written before: go on with --from 1")
	into(`{"atoll_export":1}`+"\n"+good).wantLine(t, exitUsage, "line 3 is missing: the export was cut", "all lines before 3 are in")
	into(`{"atoll_export":2}`).wantLine(t, exitUsage, "format 2; this program reads format 1")
	into("", cut).wantLine(t, exitFailure, "line 4 cannot be read: unexpected EOF", "all lines before 4 are in")
	into("\x1f\x8bnoise").wantLine(t, exitUsage, "it is compressed, and damaged")
	into("", filepath.Join(dir, "none")).wantLine(t, exitUsage, "no such file")
	into("", dir).wantLine(t, exitFailure, "line 1 cannot be read", "is a directory")
	into(good, "--from", "0").wantLine(t, exitUsage, "--from 0; it takes 1 or more")
	into(good, "--id", "x").wantLine(t, exitUsage, `the operation id "x"`)
	if n, err := member.Client().Counter("n").Value(t.Context()); n != 6 || err != nil {
		t.Errorf("what was said to be in is %d, %v; want 6", n, err)
	}
	if o := into(""); o.code != exitOK || !strings.HasPrefix(o.stdout, "0 lines imported") {
		t.Errorf("of nothing: %+v", o)
	}

	ctx, interrupt := context.WithCancel(t.Context())
	stdin := blocked{make(chan struct{})}
	go func() {
		<-stdin.reading
		interrupt()
	}()
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"crdtctl", "import", "--server", member.Addresses().Client}, io.MultiReader(strings.NewReader(good), stdin), &stdout, &stderr)
	output{code, stdout.String(), stderr.String()}.wantLine(t, exitFailure, "interrupted")
}

// TestImportOfSiblings: of concurrent values the one that counts is imported, and it is
// said that others are not.
func TestImportOfSiblings(t *testing.T) {
	i := newIsland(t, "eu", "us")
	i.start("eu", t.TempDir())
	i.start("us", t.TempDir())
	i.converged()
	i.network.Cut("us", wan.Reset)
	i.in("us", "register", "set", "r", "theirs")
	time.Sleep(time.Millisecond) // which is what times are rounded to
	i.in("eu", "register", "set", "r", "ours")
	i.network.Heal("us")
	i.converged()
	file := i.in("us", "export", "r")
	if file != `{"atoll_export":1}`+"\n"+`{"key":"r","type":"register","value":"ours","siblings":[{"value":"theirs"}]}`+"\n"+`{"lines":1}` {
		t.Fatal(file)
	}
	other := start(t, server.Config{Region: "eu"})
	o := crdtctl(t, file, "import", "--server", other.Addresses().Client)
	if o.code != exitOK || !strings.Contains(o.stdout, "1 value left out") {
		t.Errorf("%+v", o)
	}
	if value, err := other.Client().Register("r").Get(t.Context()); string(value) != "ours" || err != nil {
		t.Errorf("%s, %v", value, err)
	}
}
