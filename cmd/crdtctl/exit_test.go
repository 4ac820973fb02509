package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/client"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/server"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
)

// What is too large is refused in one line, and nothing is written.
func TestLimits(t *testing.T) {
	t.Setenv("ATOLL_SERVER", start(t, server.Config{Region: "eu"}).Addresses().Client)
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	key, element := strings.Repeat("k", 4097), strings.Repeat("e", 32769)
	for name, test := range map[string]struct {
		args  []string
		stdin string
		text  string
	}{
		"key of a counter":    {[]string{"counter", "incr", key}, "", "4097 bytes; at most 4096"},
		"key of a set":        {[]string{"set", "members", key}, "", "4097 bytes; at most 4096"},
		"key to delete":       {[]string{"del", key}, "", "4097 bytes; at most 4096"},
		"element":             {[]string{"set", "add", "s", "fine", element}, "", "32769 bytes; at most 32768"},
		"element asked for":   {[]string{"set", "has", "s", element}, "", "32769 bytes; at most 32768"},
		"elements":            {append([]string{"set", "add", "s"}, make([]string, 4097)...), "", "4097 elements; it takes at most 4096; give fewer elements at a time"},
		"elements to remove":  {append([]string{"set", "rm", "s"}, make([]string, 4097)...), "", "4097 elements; it takes at most 4096; give fewer elements at a time"},
		"bytes of elements":   {append([]string{"set", "add", "s"}, slices.Repeat([]string{strings.Repeat("e", 32768)}, 40)...), "", "it takes at most 1114112; give fewer elements at a time"},
		"value":               {[]string{"register", "set", "r", strings.Repeat("v", 1<<20+1)}, "", "1048577 bytes; at most 1048576"},
		"value on stdin":      {[]string{"register", "set", "r", "-"}, strings.Repeat("v", 1<<20+1), "stdin has more than 1048576 bytes"},
		"value of a file":     {[]string{"register", "set", "r", "--file", large}, "", "more than 1048576 bytes"},
		"value of enormities": {[]string{"register", "set", "r", strings.Repeat("v", 5<<20)}, "", "too large for one message, which has up to 4 MiB; send it in parts"},
	} {
		t.Run(name, func(t *testing.T) { crdtctl(t, test.stdin, test.args...).wantLine(t, exitUsage, test.text) })
	}
	if o := crdtctl(t, "", "set", "card", "s"); o.stdout != "0\n" {
		t.Errorf("elements after refusals: %+v", o)
	}
	crdtctl(t, "", "register", "get", "r").wantLine(t, exitNo, `no register "r"`)

	// A list of keys is refused as a whole.
	crdtctl(t, "", "counter", "incr", "stays")
	crdtctl(t, "", "del", "stays", "").wantLine(t, exitUsage, "the key is empty")
	if o := crdtctl(t, "", "counter", "get", "stays"); o.stdout != "1\n" {
		t.Errorf("after a delete that was refused: %+v", o)
	}

	most := strings.Repeat("v", 1<<20)
	if o := crdtctl(t, most, "register", "set", "r", "-"); o.code != exitOK {
		t.Errorf("the largest value: %+v", o)
	}
	if o := crdtctl(t, "", "register", "get", "r"); o.stdout != most {
		t.Errorf("the largest value came back with %d bytes", len(o.stdout))
	}
}

// member is a stand-in that answers requests as it is told.
func member(t *testing.T, answer func(ctx context.Context) ([]byte, error)) (address string) {
	t.Helper()
	s, err := nats.Start(t.Context(), nats.Options{Region: "eu", Name: "member", MaxInFlight: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for subject, handle := range map[string]transport.Handler{
		transport.Info(transport.Any): func(context.Context, transport.Message) ([]byte, error) {
			return proto.Marshal(&pb.ClusterInfo{Shards: 8, Member: "member", Region: "eu"})
		},
		transport.AllRequests("eu"):                  func(ctx context.Context, _ transport.Message) ([]byte, error) { return answer(ctx) },
		transport.Questions("member", transport.Any): func(ctx context.Context, _ transport.Message) ([]byte, error) { return answer(ctx) },
	} {
		if _, err := s.Serve(subject, transport.OwnersGroup, handle); err != nil {
			t.Fatal(err)
		}
	}
	return s.Addresses().Client
}

func TestExitCodes(t *testing.T) {
	refuse := func(code pb.Error_Code) string {
		return member(t, func(context.Context) ([]byte, error) {
			return proto.Marshal(&pb.Answer{Error: &pb.Error{Code: code, Text: "because of\nthis"}})
		})
	}
	silent := member(t, func(ctx context.Context) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	for name, test := range map[string]struct {
		server string
		code   int
		text   string
	}{
		"busy":        {refuse(pb.Error_BUSY), exitFailure, "because of this; nothing was changed, try again"},
		"overflow":    {refuse(pb.Error_OVERFLOW), exitUsage, "because of this; nothing was changed"},
		"invalid":     {refuse(pb.Error_INVALID), exitUsage, "because of this"},
		"unavailable": {refuse(pb.Error_UNAVAILABLE), exitUnknown, "a write may have been done or not"},
		"unknown":     {refuse(pb.Error_UNKNOWN), exitUnknown, "a write may have been done or not"},
		"silent":      {silent, exitUnknown, "a write may have been done or not, so look before you repeat it"},
	} {
		t.Run(name, func(t *testing.T) {
			crdtctl(t, "", "counter", "incr", "k", "--timeout", "3s", "--server", test.server).wantLine(t, test.code, test.text)
		})
	}
	t.Run("no address", func(t *testing.T) {
		o := crdtctl(t, "", "counter", "get", "k", "--server", "nonsense")
		o.wantLine(t, exitUsage, `server: "nonsense" is not host:port`)
		if strings.Contains(o.stderr, "nats: ") {
			t.Errorf("whose words are these: %s", o.stderr)
		}
	})
	t.Run("demo", func(t *testing.T) {
		missing := filepath.Join(t.TempDir(), "missing")
		for text, args := range map[string][]string{
			"--hits 0; it takes at least 1":      {"--hits", "0"},
			"--hits -5; it takes at least 1":     {"--hits", "-5"},
			"--clients 0; it takes 1 to 1024":    {"--clients", "0"},
			"--clients 1025; it takes 1 to 1024": {"--clients", "1025"},
			"cut at 90% and heal at 80%":         {"--cut-at", "90", "--heal-at", "80"},
			missing + ": no such file":           {"--log", missing},
		} {
			crdtctl(t, "", append([]string{"demo"}, args...)...).wantLine(t, exitUsage, text)
		}
	})
	t.Run("bench", func(t *testing.T) {
		o := crdtctl(t, "", "bench", "--count", "10", "--server", refuse(pb.Error_BUSY))
		if !strings.Contains(o.stdout, "failed      10\n") {
			t.Errorf("stdout: %s", o.stdout)
		}
		o.stdout = ""
		o.wantLine(t, exitFailure, "10 of 10 operations failed, such as: because of this")
	})
}

// A signal ends what waits, for a member or for its input.
func TestInterrupted(t *testing.T) {
	silent := member(t, func(ctx context.Context) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	ctx, interrupt := context.WithCancel(t.Context())
	stdin := blocked{make(chan struct{})}
	go func() {
		<-stdin.reading
		interrupt()
	}()
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"crdtctl", "register", "set", "k", "-", "--server", silent}, stdin, &stdout, &stderr)
	if got, want := (output{code, stdout.String(), stderr.String()}), (output{exitFailure, "", "crdtctl: interrupted\n"}); got != want {
		t.Errorf("interrupted before anything was sent: %+v; want %+v", got, want)
	}

	for line, want := range map[string]output{
		"counter get k":       {exitFailure, "", "crdtctl: interrupted\n"},
		"members":             {exitFailure, "", "crdtctl: interrupted\n"},
		"ring":                {exitFailure, "", "crdtctl: interrupted\n"},
		"settings":            {exitFailure, "", "crdtctl: interrupted\n"},
		"settings --owners 2": {exitUnknown, "", "crdtctl: interrupted; a write may have been done or not\n"},
		"counter incr k":      {exitUnknown, "", "crdtctl: interrupted; a write may have been done or not\n"},
	} {
		asked := make(chan struct{}, 9)
		slow := member(t, func(ctx context.Context) ([]byte, error) {
			asked <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		})
		ctx, interrupt := context.WithCancel(t.Context())
		go func() {
			<-asked
			interrupt()
		}()
		var stdout, stderr bytes.Buffer
		code := run(ctx, append([]string{"crdtctl", "--server", slow}, strings.Fields(line)...), stdin, &stdout, &stderr)
		if got := (output{code, stdout.String(), stderr.String()}); got != want {
			t.Errorf("%s: %+v; want %+v", line, got, want)
		}
	}
}

// What goes on is said of a command that changes nothing, too.
func TestInterruptedWatch(t *testing.T) {
	watching := reading(func(*cli.Context) error { return readError{context.Canceled, "it goes on"} })
	var stderr bytes.Buffer
	if code := report(&stderr, watching(nil)); code != exitFailure || stderr.String() != "crdtctl: interrupted; it goes on\n" {
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
}

// watched is told what is written.
type watched func(text string)

func (w watched) Write(p []byte) (int, error) {
	w(string(p))
	return len(p), nil
}

// A demonstration that is interrupted has written to nothing that anybody has.
func TestInterruptedDemo(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	code := run(ctx, []string{"crdtctl", "demo"}, strings.NewReader(""), watched(func(text string) {
		if strings.Contains(text, "%") { // the replay has begun
			interrupt()
		}
	}), &stderr)
	if code != exitFailure || stderr.String() != "crdtctl: interrupted\n" {
		t.Errorf("exit code %d, stderr %q; want %d, interrupted", code, stderr.String(), exitFailure)
	}
}

// A question that nobody answers changes nothing, and nobody is told that it
// may have, whatever the failure.
func TestReadsLeaveNoDoubt(t *testing.T) {
	reads := []string{"counter get k", "set has k a", "set card k", "set members k", "register get k"}
	questions := []string{"status", "status member", "verify"}
	silent := member(t, func(ctx context.Context) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	for _, line := range append(reads, questions...) {
		o := crdtctl(t, "", append(strings.Fields(line), "--server", silent, "--timeout", "200ms")...)
		o.wantLine(t, exitUnreachable, "member")
		if strings.Contains(o.stderr, "may have been") || strings.Contains(o.stderr, "request \"") {
			t.Errorf("%s: %s", line, o.stderr)
		}
	}
	broken := member(t, func(context.Context) ([]byte, error) {
		return proto.Marshal(&pb.Answer{Error: &pb.Error{Code: pb.Error_UNAVAILABLE, Text: "the disk failed"}})
	})
	for _, line := range reads {
		crdtctl(t, "", append(strings.Fields(line), "--server", broken)...).wantLine(t, exitFailure, "the disk failed; nothing was changed; the log of the member says more")
	}
}

// A session that cannot be kept is refused before anything is written. If it
// goes wrong afterwards, it is said that the write was done.
func TestSessionCannotBeKept(t *testing.T) {
	member := start(t, server.Config{Region: "eu"})
	t.Setenv("ATOLL_SERVER", member.Addresses().Client)
	path := filepath.Join(t.TempDir(), "missing", "session")
	o := crdtctl(t, "", "counter", "incr", "k", "--session", path)
	o.wantLine(t, exitUsage, "crdtctl: --session: "+path+" cannot be written: no such file or directory\n")
	if n, err := member.Client().Counter("k").Value(t.Context()); n != 0 || err != nil {
		t.Errorf("%d was counted, %v", n, err)
	}

	dir := filepath.Join(t.TempDir(), "goes")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "session")
	err := inSession(path, member.Client(), func(cl *client.Client) error {
		if _, err := cl.Counter("k").Add(t.Context(), 1); err != nil {
			return err
		}
		return os.RemoveAll(dir)
	})
	if err == nil || err.Error() != "--session: "+path+" cannot be written: no such file or directory; the command itself was done" {
		t.Errorf("%v", err)
	}
}

// broken is a full disk, or a pipe without a reader.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, fmt.Errorf("no space left") }

// An answer that cannot be printed is no success.
func TestOutputFails(t *testing.T) {
	address := start(t, server.Config{Region: "eu"}).Addresses().Client
	if o := crdtctl(t, "", "set", "add", "s", "a", "--server", address); o.code != exitOK {
		t.Fatal(o)
	}
	for _, line := range []string{"set card s", "set members s", "set members s --json", "verify", "status --json", "version", "bench --count 1", "completion bash"} {
		var stderr bytes.Buffer
		args := append(append([]string{"crdtctl"}, strings.Fields(line)...), "--server", address)
		if code := run(t.Context(), args, nil, broken{}, &stderr); code != exitFailure || stderr.String() != "crdtctl: no space left\n" {
			t.Errorf("%s: exit code %d, %s", line, code, &stderr)
		}
	}
}

// shell returns a directory with a program named crdtctl: this one.
func shell(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nCRDTCTL_MAIN=1 exec '%s' \"$@\"\n", self)
	if err := os.WriteFile(filepath.Join(dir, "crdtctl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestProcess(t *testing.T) {
	program := exec.Command(filepath.Join(shell(t), "crdtctl"), "counter", "get", "k", "--server", "127.0.0.1:1")
	var stdout, stderr bytes.Buffer
	program.Stdout, program.Stderr = &stdout, &stderr
	_ = program.Run()
	output{program.ProcessState.ExitCode(), stdout.String(), stderr.String()}.wantLine(t, exitUnreachable, "127.0.0.1:1", "crdtd", "--server")
}

// A reader that leaves early does not keep the demo from cleaning up.
func TestDemoWithoutReader(t *testing.T) {
	tmp := t.TempDir()
	program := exec.Command(filepath.Join(shell(t), "crdtctl"), "demo", "--hits", "200")
	program.Env = append(os.Environ(), "TMPDIR="+tmp)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	program.Stdout, program.Stderr = writer, &stderr
	if err := errors.Join(reader.Close(), program.Start(), writer.Close()); err != nil {
		t.Fatal(err)
	}
	_ = program.Wait()
	output{program.ProcessState.ExitCode(), "", stderr.String()}.wantLine(t, exitFailure, "the output cannot be written", "broken pipe")
	if left, err := os.ReadDir(tmp); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestCompletionInBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	const complete = `
source <(crdtctl completion bash)
for line in "" co "counter " "counter g" "register get k --s" "register get k --" "bench --cl" "counter reset -- " "set rm k -- x" "demo --cut " "demo --cut" "bench --op " "bench --op c" "scan --type " "counter get k --consistency e" "completion " "completion z" "counter incr k --" "bench --nonsense "; do
	COMP_WORDS=(crdtctl $line)
	[[ $line == *" " || -z $line ]] && COMP_WORDS+=("")
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
	_crdtctl
	echo "$line: ${COMPREPLY[*]}"
done
`
	program := exec.Command(bash, "-c", complete)
	program.Env = append(os.Environ(), "PATH="+shell(t)+string(os.PathListSeparator)+os.Getenv("PATH"),
		"GORACE=atexit_sleep_ms=0") // it runs twenty times, each of which would wait for a second
	program.Stderr = os.Stderr
	got, err := program.Output()
	want := `: counter set register del scan status members member ring settings user certs verify scrub backup restore export import bench load demo version completion
co: counter completion
counter : incr id get reset
counter g: get
register get k --s: --siblings --server --session
register get k --: --siblings --server --key --ca --creds --user --timeout --consistency --session --json --help --version
bench --cl: --clients
counter reset -- : 
set rm k -- x: 
demo --cut : eu us ap none
demo --cut: --cut --cut-at
bench --op : counter mixed register set
bench --op c: counter
scan --type : counter set register
counter get k --consistency e: each-quorum
completion : bash zsh
completion z: zsh
counter incr k --: --id --server --key --ca --creds --user --timeout --consistency --session --json --help --version
bench --nonsense : 
`
	if string(got) != want || err != nil {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}

// Whoever only wants to complete a line must not run it.
func TestCompletionRunsNothing(t *testing.T) {
	member := start(t, server.Config{Region: "eu"})
	t.Setenv("ATOLL_SERVER", member.Addresses().Client)
	for _, line := range []string{"counter incr k", "counter incr k --", "counter incr --", "counter incr -- k", "set add k a --json", "counter incr k --json 1", "set add k"} {
		crdtctl(t, "", append(strings.Fields(line), completionFlag)...)
	}
	for _, key := range []string{"k", completionFlag, "--"} {
		if held, err := member.Client().Types(t.Context(), key); err != nil || len(held) > 0 {
			t.Errorf("%s: %v, %v", key, held, err)
		}
	}
}

// The default time to heal does not come before a late cut.
func TestHealAt(t *testing.T) {
	for line, want := range map[string]int{"": 80, "--cut-at 70": 80, "--cut-at 90": 100, "--cut-at 90 --heal-at 95": 95, "--cut-at 90 --heal-at 80": 80} {
		a := app(nil, io.Discard, io.Discard)
		got := 0
		i := slices.IndexFunc(a.Commands, func(c *cli.Command) bool { return c.Name == "demo" })
		a.Commands[i].Action = func(c *cli.Context) error {
			got = healAt(c)
			return nil
		}
		if err := a.Run(append([]string{"crdtctl", "demo"}, strings.Fields(line)...)); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", line, got, err, want)
		}
	}
}
