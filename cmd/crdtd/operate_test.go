package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/keys"
	"github.com/atolldb/atoll/server"
)

// serving is a crdtd that serves, and what it has said when it began.
type serving struct {
	*exec.Cmd
	Client, Gateway, HTTP string
	log                   []string // its lines from then on, once it has ended
	ended                 chan struct{}
}

// serveJSON starts crdtd with a log of JSON and returns once it serves.
func serveJSON(t *testing.T, args ...string) *serving {
	t.Helper()
	s := &serving{Cmd: crdtd(t, append(args, "--log-format", "json")...), ended: make(chan struct{})}
	stderr, err := s.StderrPipe()
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.ProcessState == nil {
			_ = s.Process.Kill()
			_ = s.Wait()
		}
	})
	in := bufio.NewScanner(stderr)
	for in.Scan() {
		var line struct{ Level, Msg, Client, Gateway, HTTP string }
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			t.Fatalf("%v: %q", err, in.Text())
		}
		if line.Msg != "serving" {
			continue
		}
		s.Client, s.Gateway, s.HTTP = line.Client, line.Gateway, line.HTTP
		go func() {
			defer close(s.ended)
			for in.Scan() {
				s.log = append(s.log, in.Text())
			}
		}()
		return s
	}
	t.Fatal("crdtd ended before it served")
	return nil
}

// stop has it stop, and wants exit code 0.
func (s *serving) stop(t *testing.T) {
	t.Helper()
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-s.ended // or Wait would throw away what was not read
	if err := s.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v; want exit code 0", err)
	}
}

// connect connects to a member alone.
func connect(t *testing.T, m *serving) *client.Client {
	t.Helper()
	c, err := client.Connect(t.Context(), client.Options{Servers: []string{m.Client}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestStopUnderLoad: what was answered is there afterwards, and nothing else but
// what a client was left in doubt of; the process ends with 0.
func TestStopUnderLoad(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	m := serveJSON(t, member(data)...)
	c := connect(t, m)
	ctx, giveUp := context.WithTimeout(t.Context(), patience)
	defer giveUp()
	var done, unknown atomic.Int64
	var asking, askers sync.WaitGroup
	for range 64 {
		asking.Add(1)
		askers.Go(func() {
			for first := true; ; first = false {
				_, err := c.Counter("k").Add(ctx, 1)
				if first {
					asking.Done()
				}
				if errors.Is(err, client.ErrOutcomeUnknown) {
					unknown.Add(1)
				}
				if err != nil {
					return
				}
				done.Add(1)
			}
		})
	}
	asking.Wait()
	m.stop(t)
	giveUp() // nobody will answer any more
	askers.Wait()

	again := serveJSON(t, member(data)...)
	defer again.stop(t)
	if n, err := connect(t, again).Counter("k").Value(t.Context()); err != nil || n < done.Load() || n > done.Load()+unknown.Load() {
		t.Errorf("the counter is %d, %v; %d increments were answered, of %d it is not known", n, err, done.Load(), unknown.Load())
	}
}

// TestStopWithRequestUnderWay: a request that waits for other members when the

func TestStopWithRequestUnderWay(t *testing.T) {
	dir := t.TempDir()
	eu := serveJSON(t, member(filepath.Join(dir, "eu"), "--name", "eu", "--down-after", "1h")...)
	us := serveJSON(t, "--region", "us", "--data", filepath.Join(dir, "us"), "--listen", "127.0.0.1:0",
		"--peer", "eu="+eu.Gateway, "--down-after", "1h")
	c := connect(t, eu)
	ctx, giveUp := context.WithTimeout(t.Context(), patience)
	defer giveUp()
	until := func(what string, so func() bool) {
		t.Helper()
		ticks := time.NewTicker(10 * time.Millisecond)
		defer ticks.Stop()
		for !so() {
			select {
			case <-ticks.C:
			case <-ctx.Done():
				t.Fatal("waited in vain: ", what)
			}
		}
	}
	until("both stand in the table", func() bool {
		members, err := c.Members(ctx, "eu")
		return err == nil && len(members) == 2
	})
	if err := us.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = us.Wait()

	all, err := c.At(client.All)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		// Four fifths of that it waits for us.
		ctx, giveUp := context.WithTimeout(ctx, 10*time.Second)
		defer giveUp()
		_, err := all.Counter("k").Add(ctx, 1)
		answered <- err
	}()
	until("the request is under way", func() bool {
		n, err := c.Counter("k").Value(ctx)
		return err == nil && n == 1
	})
	select {
	case err := <-answered:
		t.Fatalf("it was answered before the signal: %v", err)
	default:
	}
	eu.stop(t)
	if err := <-answered; !errors.Is(err, client.ErrNotEnough) || !strings.Contains(err.Error(), "the write is kept") {
		t.Errorf("it is answered: %v", err)
	}
}

// setLevel sets the level of a member's log by HTTP.
func setLevel(t *testing.T, m *serving, level string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+m.HTTP+"/loglevel", strings.NewReader(level))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil || string(text) != level+"\n" || answer.StatusCode != http.StatusOK {
		t.Fatalf("%d, %q, %v", answer.StatusCode, text, err)
	}
}

// TestLogLevelAtRunTime: the level that is set by HTTP is the level of the log.
func TestLogLevelAtRunTime(t *testing.T) {
	for _, level := range []string{"error", "info"} {
		m := serveJSON(t, member(filepath.Join(t.TempDir(), "data"), "--http", "127.0.0.1:0")...)
		setLevel(t, m, "error")
		setLevel(t, m, level)
		m.stop(t)
		told := false // at the level info
		for _, line := range m.log {
			told = told || strings.Contains(line, `"msg":"stopping"`)
		}
		if told != (level == "info") {
			t.Errorf("at the level %s it says that it stops: %v", level, told)
		}
	}
}

// unit returns the command line of examples/systemd/crdtd.service.
func unit(t *testing.T) (path string, command []string) {
	t.Helper()
	path = filepath.Join("..", "..", "examples", "systemd", "crdtd.service")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if start, found := strings.CutPrefix(line, "ExecStart="); found {
			return path, strings.Fields(start)
		}
	}
	t.Fatal("it starts nothing")
	return "", nil
}

// TestUnit: the unit starts a crdtd that takes its flags and the file beside it.
func TestUnit(t *testing.T) {
	path, command := unit(t)
	args := slices.Clone(command[1:])
	i := slices.Index(args, "--config")
	if i < 0 || filepath.Base(command[0]) != "crdtd" {
		t.Fatalf("it starts %v", command)
	}
	args[i+1] = filepath.Join(filepath.Dir(path), filepath.Base(args[i+1]))
	a := app()
	a.Action = func(c *cli.Context) error {
		config, err := configOf(c)
		if err == nil {
			err = required(config)
		}
		if err == nil {
			_, _, err = logOf(c)
		}
		if err != nil {
			return err
		}
		if config.Data != "/var/lib/atoll" || config.Listen.HTTP == "" {
			t.Errorf("%+v", config)
		}
		dir := t.TempDir()
		certify(t, dir)
		config.Data = filepath.Join(dir, "data")
		for _, file := range []*string{&config.TLSCA, &config.TLSCert, &config.TLSKey, &config.SecretFile} {
			*file = filepath.Join(dir, filepath.Base(*file))
		}
		config.Listen = server.Listen{Client: "127.0.0.1:0", HTTP: "127.0.0.1:0"}
		m, err := server.Start(c.Context, config, nil)
		if err != nil {
			return err
		}
		return m.Close()
	}
	if err := a.RunContext(t.Context(), append([]string{"crdtd"}, args...)); err != nil {
		t.Error(err)
	}
}

// certify makes what crdtctl certs makes, for members on loopback.
func certify(t *testing.T, dir string) {
	t.Helper()
	_, err := keys.Certify(dir, "member", []string{"127.0.0.1"}, 1, time.Now())
	if err == nil {
		err = keys.Create(filepath.Join(dir, "secret"), 0o600, []byte(keys.NewSecret()))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestUnitBySystemd has systemd judge the unit, where there is one.
func TestUnitBySystemd(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	path, command := unit(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The program has to be there.
	there := filepath.Join(t.TempDir(), "crdtd.service")
	if err := os.WriteFile(there, []byte(strings.Replace(string(text), "ExecStart="+command[0], "ExecStart="+os.Args[0], 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, analyze, "verify", "--man=no", there).CombinedOutput()
	if err != nil || strings.Contains(string(out), filepath.Base(there)+":") {
		t.Errorf("%v: %s", err, out)
	}
}
