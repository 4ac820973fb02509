package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/atolldb/atoll/client"
)

// askPause is the time between two questions to a member that starts.
const askPause = 20 * time.Millisecond

// Member is one crdtd, running or not, and what it is started with. Its
// methods must not be called concurrently, but for Connect and Log.
type Member struct {
	// Name is its own, and Region that of its region.
	Name, Region string
	// Data is its data directory.
	Data string
	// Client, Route and Gateway are where it listens.
	Client, Route, Gateway string
	// Peers are gateway addresses by region; Advertise is the one that it
	// tells others, its own if empty.
	Peers     map[string]string
	Advertise string
	// Join is the route address of a member that it joins, if there is one.
	Join string
	// Flags come on top.
	Flags []string

	program string
	process *process // nil: not running
	log     log      // of all its processes, one after the other
}

// process is one run of the program.
type process struct {
	command *exec.Cmd
	ended   chan struct{} // closed when it is gone, and err set
	err     error
}

// Start starts the process.
func (m *Member) Start() error {
	if m.process != nil {
		return fmt.Errorf("cluster: %s runs already", m.Name)
	}
	args := []string{
		"--region", m.Region, "--name", m.Name, "--data", m.Data,
		"--listen", m.Client, "--listen-route", m.Route, "--listen-gateway", m.Gateway,
	}
	for region, gateway := range m.Peers {
		args = append(args, "--peer", region+"="+gateway)
	}
	if m.Join != "" {
		args = append(args, "--join", m.Join)
	}
	if m.Advertise != "" {
		args = append(args, "--gateway-advertise", m.Advertise)
	}
	p := &process{command: exec.Command(m.program, slices.Concat(args, m.Flags)...), ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = &m.log, &m.log
	p.command.SysProcAttr = dieWithParent()
	if err := p.command.Start(); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	m.process = p
	go func() {
		p.err = p.command.Wait()
		close(p.ended)
	}()
	return nil
}

// Ready waits until the member answers for itself. It fails when the process
// ends, or the context does.
func (m *Member) Ready(ctx context.Context) error {
	p := m.process
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-p.ended:
			cancel(fmt.Errorf("the process ended: %w", p.err))
		case <-ctx.Done():
		}
	}()
	for {
		err := m.ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(askPause):
		case <-ctx.Done():
			return fmt.Errorf("cluster: %s is not ready: %w: %w", m.Name, context.Cause(ctx), err)
		}
	}
}

// ask asks the member, and no other, for its status.
func (m *Member) ask(ctx context.Context) error {
	c, err := m.Connect(ctx)
	if err != nil {
		return err
	}
	_, err = c.Status(ctx, m.Name, false)
	return errors.Join(err, c.Close())
}

// Connect connects to the member, and to no other if it goes away.
func (m *Member) Connect(ctx context.Context) (*client.Client, error) {
	return client.Connect(ctx, client.Options{Servers: []string{m.Client}})
}

// Kill ends the process as kill -9 does, and waits until it is gone. A member
// that does not run is left alone.
func (m *Member) Kill() error {
	if m.process == nil {
		return nil
	}
	err := m.process.command.Process.Kill()
	<-m.process.ended
	m.process = nil
	if err != nil {
		return fmt.Errorf("cluster: killing %s: %w", m.Name, err)
	}
	return nil
}

// Stop asks the process to stop, by SIGTERM, and returns an error if it did
// not end by itself with exit code 0 before the context ended.
func (m *Member) Stop(ctx context.Context) error {
	p := m.process
	if err := m.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.ended:
		m.process = nil
		if p.err != nil {
			return fmt.Errorf("cluster: %s was told to stop: %w", m.Name, p.err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cluster: %s was told to stop: %w", m.Name, ctx.Err())
	}
}

func (m *Member) signal(s syscall.Signal) error {
	if m.process == nil {
		return fmt.Errorf("cluster: %s does not run", m.Name)
	}
	if err := m.process.command.Process.Signal(s); err != nil {
		return fmt.Errorf("cluster: %s: %w", m.Name, err)
	}
	return nil
}

// Log returns what the member wrote so far, over all its processes.
func (m *Member) Log() string { return m.log.String() }

// log collects what processes write.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
