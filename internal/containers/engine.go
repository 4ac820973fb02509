package containers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// ErrNone says that there is no Docker engine to be used.
var ErrNone = errors.New("no Docker engine for Linux containers answers here")

// findTimeout is how long an engine may take to answer.
const findTimeout = 10 * time.Second

// Engine is a Docker engine on this machine.
type Engine struct{ program string }

// Find returns the engine that the docker command talks to. It fails with
// ErrNone.
func Find(ctx context.Context) (*Engine, error) {
	program, err := exec.LookPath("docker")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	e := &Engine{program}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	system, err := e.do(ctx, "version", "--format", "{{.Server.Os}}")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	if system != "linux" {
		return nil, fmt.Errorf("%w: it has containers for %s", ErrNone, system)
	}
	return e, nil
}

// do runs the docker command and returns what it writes, without the last line
// end.
func (e *Engine) do(ctx context.Context, args ...string) (string, error) {
	return e.feed(ctx, nil, args...)
}

// feed is do with something to read.
func (e *Engine) feed(ctx context.Context, in io.Reader, args ...string) (string, error) {
	command := exec.CommandContext(ctx, e.program, args...)
	var out, problems bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = in, &out, &problems
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("containers: docker %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(problems.String()))
	}
	return strings.TrimRight(out.String(), "\n"), nil
}

// both is do for a command of which both outputs matter, in the order written.
func (e *Engine) both(ctx context.Context, args ...string) string {
	out, err := exec.CommandContext(ctx, e.program, args...).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s(%v)", out, err)
	}
	return strings.TrimRight(string(out), "\n")
}

// words runs the docker command and returns the words that it writes.
func (e *Engine) words(ctx context.Context, args ...string) ([]string, error) {
	out, err := e.do(ctx, args...)
	return strings.Fields(out), err
}
