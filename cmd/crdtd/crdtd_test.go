package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// runMain, set in the environment, makes the test program a crdtd.
const runMain = "CRDTD_TEST_RUN_MAIN"

// patience bounds what a process takes to start or end.
const patience = time.Minute

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// crdtd returns a crdtd that is yet to be started.
func crdtd(t *testing.T, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	command := exec.CommandContext(ctx, os.Args[0], args...)
	command.Env = append(os.Environ(), runMain+"=1")
	return command
}

// execute runs crdtd to its end.
func execute(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	command := crdtd(t, args...)
	var out, err bytes.Buffer
	command.Stdout, command.Stderr = &out, &err
	failed := command.Run()
	if exit := (*exec.ExitError)(nil); failed != nil && !errors.As(failed, &exit) {
		t.Fatal(failed)
	}
	return command.ProcessState.ExitCode(), out.String(), err.String()
}

// fails runs crdtd and checks that it ends with the exit code, and says in one
// line, and nowhere else, why: in which all of want is to be found.
func fails(t *testing.T, code int, want []string, args ...string) {
	t.Helper()
	got, stdout, stderr := execute(t, args...)
	if got != code {
		t.Errorf("exit code %d, want %d", got, code)
	}
	if stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "crdtd: ") || len(stderr) > 600 {
		t.Errorf("stdout %q, stderr %q; want one short line of crdtd on stderr", stdout, stderr)
	}
	for _, part := range want {
		if !strings.Contains(stderr, part) {
			t.Errorf("stderr %q does not say %q", stderr, part)
		}
	}
}

// member is flags of a member that can run beside any other.
func member(data string, more ...string) []string {
	return append([]string{"--region", "eu", "--data", data, "--listen", "127.0.0.1:0"}, more...)
}

// serve starts crdtd and returns once it serves. It is killed at the end of
// the test, if it runs then.
func serve(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	command := crdtd(t, args...)
	stderr, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if command.ProcessState == nil {
			_ = command.Process.Kill()
			_ = command.Wait()
		}
	})
	in := bufio.NewReader(stderr)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("crdtd ended before it served; at last it said %q", line)
		}
		if strings.Contains(line, "msg=serving") {
			go io.Copy(io.Discard, in)
			return command
		}
	}
}

// stop sends a signal and wants exit code 0.
func stop(t *testing.T, command *exec.Cmd, signal os.Signal) {
	t.Helper()
	if err := command.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); err != nil {
		t.Errorf("after %v: %v; want exit code 0", signal, err)
	}
}

// usedData returns a data directory that a member has used and left.
func usedData(t *testing.T, flags ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	stop(t, serve(t, member(dir, flags...)...), syscall.SIGTERM)
	return dir
}

func TestBadFlags(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"nothing":              {[]string{}, []string{"no region", "--region NAME"}},
		"no data":              {[]string{"--region", "eu"}, []string{"no data directory", "--data DIR"}},
		"unknown flag":         {[]string{"--nope"}, []string{"there is no flag --nope; see crdtd --help"}},
		"flag without a value": {[]string{"--region"}, []string{"--region needs a value; see crdtd --help"}},
		"hasty heart":          {[]string{"--heartbeat", "1ms"}, []string{"an interval of 1ms between heartbeats; it takes 10ms to 1m"}},
		"no heart":             {[]string{"--heartbeat", "0s"}, []string{"--heartbeat 0s; it takes more"}},
		"no patience":          {[]string{"--down-after", "0s"}, []string{"--down-after 0s; it takes more"}},
		"no phi":               {[]string{"--phi", "0"}, []string{"--phi 0; it takes 1 to 100"}},
		"phi of nothing":       {[]string{"--phi", "0.5"}, []string{"a phi threshold of 0.5; it takes 1 to 100"}},
		"hasty verdict":        {[]string{"--down-after", "100ms"}, []string{"a member down after 100ms; it takes"}},
		"negative time":        {[]string{"--scrub-interval", "-1s"}, []string{"--scrub-interval -1s; it takes 0 or more"}},
		"not a time":           {[]string{"--scrub-interval", "soon"}, []string{`--scrub-interval "soon"; it takes a time such as 250ms or 24h; see crdtd --help`}},
		"not a number":         {[]string{"--shards", "many"}, []string{`--shards "many"; it takes a number; see crdtd --help`}},
		"unexpected argument":  {[]string{"start"}, []string{`"start"`, "--help"}},
		"argument after flags": {[]string{"--region", "eu", "start"}, []string{`"start"`, "--help"}},
		"no shards":            {[]string{"--shards", "0"}, []string{"--shards 0", "at least 1"}},
		"too many shards":      {[]string{"--shards", "70000"}, []string{"70000", "65535"}},
		"no log":               {[]string{"--log-limit", "0"}, []string{"--log-limit 0", "at least 1"}},
		"durability":           {[]string{"--durability", "none"}, []string{`"none"`, `"fsync" or "os"`}},
		"log level":            {[]string{"--log-level", "loud"}, []string{`"loud"`, "debug, info, warn or error"}},
		"log format":           {[]string{"--log-format", "xml"}, []string{`"xml"`, "text or json"}},
		"http":                 {[]string{"--http", ":8222"}, []string{"HTTP", `":8222"`, "no host; 127.0.0.1 is this machine"}},
		"http port":            {[]string{"--http", "127.0.0.1:http"}, []string{"HTTP", "127.0.0.1:http", "65535"}},
		"http twice":           {[]string{"--listen-route", "127.0.0.1:7222", "--http", "127.0.0.1:7222"}, []string{"routes and HTTP", "127.0.0.1:7222"}},
		"pprof alone":          {[]string{"--pprof"}, []string{"no address to listen for HTTP"}},
		"region":               {[]string{"--region", "e.u"}, []string{`region name "e.u"`, "letters, digits"}},
		"name":                 {[]string{"--name", "a b"}, []string{`member name "a b"`, "letters, digits"}},
		"long name":            {[]string{"--name", strings.Repeat("a", 65)}, []string{"1 to 64"}},
		"cluster":              {[]string{"--cluster", "é"}, []string{"cluster name", "letters, digits"}},
		"listen":               {[]string{"--listen", "localhost"}, []string{"clients", `"localhost"`, "HOST:PORT"}},
		"listen port":          {[]string{"--listen", "127.0.0.1:99999"}, []string{"clients", "127.0.0.1:99999", "65535"}},
		"listen route":         {[]string{"--listen-route", "127.0.0.1:x"}, []string{"routes", "127.0.0.1:x", "65535"}},
		"listen gateway":       {[]string{"--listen-gateway", ":7222"}, []string{"gateways", `":7222"`, "no host"}},
		"listen twice":         {[]string{"--listen", "127.0.0.1:7222", "--listen-gateway", "127.0.0.1:7222"}, []string{"clients and gateways", "127.0.0.1:7222"}},
		"advertise":            {[]string{"--gateway-advertise", "here"}, []string{"advertise", `"here"`, "HOST:PORT"}},
		"join without a name":  {[]string{"--join", "10.0.0.1:6222"}, []string{"joins", "name of its own"}},
		"join":                 {[]string{"--name", "eu-2", "--join", "10.0.0.1"}, []string{"join", `"10.0.0.1"`, "HOST:PORT"}},
		"join nobody":          {[]string{"--name", "eu-2", "--join", ""}, []string{"join", `""`, "HOST:PORT"}},
		"peer without region":  {[]string{"--peer", "127.0.0.1:7222"}, []string{`"127.0.0.1:7222"`, "REGION=HOST:PORT"}},
		"peer of no region":    {[]string{"--peer", "=127.0.0.1:7222"}, []string{`region name ""`}},
		"peer without address": {[]string{"--peer", "us="}, []string{"region us", "HOST:PORT"}},
		"peer without port":    {[]string{"--peer", "us=10.0.0.1"}, []string{"region us", `"10.0.0.1"`, "HOST:PORT"}},
		"peer with port 0":     {[]string{"--peer", "us=10.0.0.1:0"}, []string{"region us", "1 to 65535"}},
		"peer of a bad region": {[]string{"--peer", "u.s=10.0.0.1:1"}, []string{`region name "u.s"`}},
		"own region as a peer": {[]string{"--peer", "eu=10.0.0.1:1"}, []string{`own region "eu"`, "join"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args, data := test.args, filepath.Join(t.TempDir(), "data")
			switch name {
			case "nothing", "no data":
			case "argument after flags":
				args = append([]string{"--data", data}, args...)
			default:
				args = append(member(data), args...)
			}
			fails(t, exitUsage, test.want, args...)
			if _, err := os.Stat(data); err == nil {
				t.Error("the data directory was made")
			}
		})
	}
}

func TestBadConfig(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"syntax":             {"region = \"eu\"\nshards 8\n", "line 2"},
		"open string":        {"\n\nregion = \"eu\n", "line 3"},
		"twice":              {"region = \"eu\"\nregion = \"us\"\n", "line 2"},
		"not text":           {"\x00\x01\x02\xff", "line 1"},
		"unknown field":      {"regoin = \"eu\"\n", `unknown field "regoin"; there are cluster, name, region, zone, weight, data, listen.client, `},
		"all fields":         {"regoin = \"eu\"\n", "nats_key, pprof\n"},
		"unknown in a table": {"[listen]\nclients = \"127.0.0.1:0\"\n", `unknown field "listen.clients"`},
		"zero":               {"log_limit = 0\n", "log_limit is 0; it takes at least 1"},
		"no phi":             {"phi = 0.0\n", "phi is 0; it takes more"},
		"no heart":           {"heartbeat = \"0s\"\n", "heartbeat is 0; it takes more"},
		"no hints":           {"hint_limit = 0\n", "hint_limit is 0; it takes at least 1"},
		"too many hints":     {"region = \"eu\"\nhint_limit = 2000000\n", "a limit of 2000000 MiB for writes in place of owners; it takes 1 to 1048576"},
		"negative time":      {"scrub_interval = \"-2s\"\n", "it takes a time such as 24h, or 0 for never"},
		"number for text":    {"\nregion = 5\n", `line 2 ("region"): this is of type integer; it takes type string`},
		"text for number":    {"shards = \"8\"\n", `line 1 ("shards"): this is of type string; it takes type integer`},
		"decimal":            {"log_limit = 1.5\n", `line 1 ("log_limit"): this is of type decimal; it takes type integer`},
		"huge number":        {"shards = 99999999999999999999\n", "out of range"},
		"text for list":      {"join = \"10.0.0.1:1\"\n", `line 1 ("join"): this is of type string; it takes type list`},
		"text for table":     {"listen = \"127.0.0.1:0\"\n", `line 1 ("listen"): it takes a table, and this is of type string`},
		"number for regions": {"regions = 3\n", "regions takes a table, and this is of type integer"},
		"text for addresses": {"[regions]\nus = \"10.0.0.1:1\"\n", `line 2 ("regions.us"): this is of type string; it takes type list`},
		"no addresses":       {"[regions]\nus = []\n", `the region "us" has no address`},
		"bad address":        {"[regions]\nus = [\"there\"]\n", `"there"`},
		"negative":           {"shards = -1\n", "it takes at least 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file, data := filepath.Join(dir, "atoll.toml"), filepath.Join(dir, "data")
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			fails(t, exitUsage, []string{test.want}, member(data, "--config", file)...)
			if _, err := os.Stat(data); err == nil {
				t.Error("the data directory was made")
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "none.toml")
		fails(t, exitUsage, []string{"there is no file " + file}, "--config", file)
	})
	t.Run("a directory", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		file := filepath.Join(dir, "atoll.toml")
		if err := os.Mkdir(file, 0o700); err != nil {
			t.Fatal(err)
		}
		fails(t, exitUsage, []string{file + " cannot be read: is a directory"}, "--config", file)
	})
}

func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	for _, flag := range []string{"--listen", "--listen-route", "--listen-gateway", "--http"} {
		t.Run(flag, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			fails(t, exitFailure, []string{address, "already in use", "choose another"}, member(data, flag, address)...)
			if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it left its data directory behind: %v", err)
			}
		})
	}
}

func TestBadDataDirectory(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, exitUsage, []string{file, "not a directory"}, member(file)...)
	fails(t, exitUsage, []string{file, "not a directory"}, member(filepath.Join(file, "below"))...)

	if os.Geteuid() == 0 {
		t.Skip("root may write anywhere")
	}
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o500); err != nil {
		t.Fatal(err)
	}
	fails(t, exitFailure, []string{"permission denied"}, member(closed)...)
	fails(t, exitUsage, []string{"permission denied"}, member(filepath.Join(closed, "below"))...)
}

func TestDataInUse(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	first := serve(t, member(data)...)
	fails(t, exitInUse, []string{data, fmt.Sprint("process ", first.Process.Pid)}, member(data)...)
	stop(t, first, syscall.SIGTERM)
	stop(t, serve(t, member(data)...), syscall.SIGINT) // the lock is gone
}

func TestDataOfAnother(t *testing.T) {
	data := usedData(t, "--cluster", "one", "--name", "m1", "--secret", "s")
	for name, test := range map[string]struct{ flag, value, want string }{
		"cluster": {"--cluster", "two", "the cluster one, not two"},
		"member":  {"--name", "m2", "the member m1, not m2"},
		"region":  {"--region", "us", "the region eu, not us"},
		"shards":  {"--shards", "8", "256 shards, not 8"},
		"secret":  {"--secret", "t", "another cluster secret; start with that"},
	} {
		t.Run(name, func(t *testing.T) {
			fails(t, exitDisk, []string{test.want},
				member(data, "--cluster", "one", "--name", "m1", "--secret", "s", test.flag, test.value)...)
		})
	}
	stop(t, serve(t, member(data, "--cluster", "one", "--name", "m1", "--secret", "s")...), syscall.SIGTERM)
}

func TestDamagedData(t *testing.T) {
	used := usedData(t)
	for name, test := range map[string]struct {
		pattern string
		damage  func([]byte) []byte // nil: the file is gone
	}{
		"registry scrambled": {"KEYREGISTRY", scramble},
		"manifest scrambled": {"MANIFEST", scramble},
		"manifest cut":       {"MANIFEST", func(b []byte) []byte { return b[:len(b)/2] }},
		"manifest empty":     {"MANIFEST", func([]byte) []byte { return nil }},
		"manifest gone":      {"MANIFEST", nil},
		"table scrambled":    {"*.sst", scramble},
		"table cut":          {"*.sst", func(b []byte) []byte { return b[:len(b)/2] }},
		"table empty":        {"*.sst", func([]byte) []byte { return nil }},
		"table gone":         {"*.sst", nil},
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			if err := os.CopyFS(data, os.DirFS(used)); err != nil {
				t.Fatal(err)
			}
			paths, err := filepath.Glob(filepath.Join(data, test.pattern))
			if err != nil || len(paths) == 0 {
				t.Fatal("nothing to damage: ", err)
			}
			for _, path := range paths {
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if test.damage == nil {
					err = os.Remove(path)
				} else {
					err = os.WriteFile(path, test.damage(content), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			fails(t, exitDisk, []string{"damaged", data, "start with an empty directory"}, member(data)...)
		})
	}
}

func scramble(b []byte) []byte {
	for i := range b {
		b[i] ^= byte(i*7 + 13)
	}
	return b
}

// TestStopWhileStarting: who is told to stop before the member serves, has
// been asked to stop all the same.
func TestStopWhileStarting(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := app().RunContext(ended, append([]string{"crdtd"}, member(data, "--log-level", "error")...)); err != nil {
		t.Errorf("it fails with %v", err)
	}
	stop(t, serve(t, member(data)...), syscall.SIGTERM) // and has left the directory
}

func TestHelpAndVersion(t *testing.T) {
	code, stdout, stderr := execute(t, "--help")
	if code != 0 || stderr != "" {
		t.Errorf("--help: exit code %d, stderr %q", code, stderr)
	}
	for _, want := range []string{"Exit codes: 0 ", "--region NAME", "--peer REGION=HOST:PORT", "--log-limit N", "[listen]", "--http HOST:PORT", "/readyz"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("--help does not say %q:\n%s", want, stdout)
		}
	}
	if code, stdout, stderr = execute(t, "--version"); code != 0 || stderr != "" || !strings.HasPrefix(stdout, "crdtd version ") {
		t.Errorf("--version: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}
