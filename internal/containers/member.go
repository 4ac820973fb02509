package containers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atolldb/atoll/client"
)

// askPause is the time between two questions to a member that starts.
const askPause = 50 * time.Millisecond

// Member is one container. Its methods must not be called concurrently, but for
// Connect.
type Member struct {
	// Name is its own, and Region that of its region.
	Name, Region string
	// Client is where it serves clients, on this machine.
	Client string
	// Image is the one that it is started from.
	Image string
	// Flags come on top of those that it needs.
	Flags []string

	cluster   *Cluster
	container string
	created   bool
}

// Start makes the container anew, on the disk that it had, and starts it.
func (m *Member) Start(ctx context.Context) error {
	c := m.cluster
	if m.created {
		if _, err := c.engine.do(ctx, "container", "rm", "--force", m.container); err != nil {
			return err
		}
	}
	args := []string{
		"container", "create", "--name", m.container, "--hostname", m.Name, "--label", label + "=" + now(),
		"--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true",
		"--env", "GODEBUG=netdns=go", "--volume", c.locks.dir + ":/etc/atoll:ro",
		"--network", c.network(m.Region), "--network-alias", inside(m.Name), "--publish", m.Client + ":4222",
		"--volume", m.container + ":/var/lib/atoll", m.Image,
		"--region", m.Region, "--name", m.Name, "--data", "/var/lib/atoll",
		"--listen", "0.0.0.0:4222", "--listen-route", "0.0.0.0:6222", "--listen-gateway", "0.0.0.0:7222",
		"--gateway-advertise", m.Name + ":7222",
	}
	for _, o := range c.Members {
		switch {
		case o == m:
		case o.Region != m.Region:
			args = append(args, "--peer", o.Region+"="+o.Name+":7222")
		case m != c.In(m.Region)[0]: // who founds a region waits for nobody
			args = append(args, "--join", inside(o.Name)+":6222")
		}
	}
	m.created = true
	if _, err := c.engine.do(ctx, slices.Concat(args, c.locks.flags(), m.Flags)...); err != nil {
		return err
	}
	if err := m.connect(ctx); err != nil {
		return err
	}
	return m.command(ctx, "start")
}

// inside is the name of a member in the network of its region: its own name is
// its address in the other network.
func inside(name string) string { return name + ".inside" }

// connect puts the member on the network between the regions.
func (m *Member) connect(ctx context.Context) error {
	_, err := m.cluster.engine.do(ctx, "network", "connect", "--alias", m.Name, m.cluster.network(between), m.container)
	return err
}

func (m *Member) command(ctx context.Context, args ...string) error {
	_, err := m.cluster.engine.do(ctx, slices.Concat([]string{"container"}, args, []string{m.container})...)
	return err
}

// Kill ends the member as kill -9 does.
func (m *Member) Kill(ctx context.Context) error { return m.command(ctx, "kill") }

// Pause stops the member's time, and Unpause has it go on.
func (m *Member) Pause(ctx context.Context) error { return m.command(ctx, "pause") }

// Unpause undoes Pause.
func (m *Member) Unpause(ctx context.Context) error { return m.command(ctx, "unpause") }

// Stop asks the member to stop, and returns an error if it did not by itself
// within half a minute, with exit code 0.
func (m *Member) Stop(ctx context.Context) error {
	if err := m.command(ctx, "stop", "--time", "30"); err != nil {
		return err
	}
	code, err := m.inspect(ctx, "{{.State.ExitCode}}")
	if err == nil && code != "0" {
		err = fmt.Errorf("containers: %s was told to stop and ended with exit code %s", m.Name, code)
	}
	return err
}

func (m *Member) inspect(ctx context.Context, format string) (string, error) {
	return m.cluster.engine.do(ctx, "container", "inspect", "--format", format, m.container)
}

// Log returns the last lines that the member wrote since it was started.
func (m *Member) Log(ctx context.Context, lines int) string {
	return m.cluster.engine.both(ctx, "container", "logs", "--tail", fmt.Sprint(lines), m.container)
}

// Ready waits until the member answers for itself.
func (m *Member) Ready(ctx context.Context) error {
	for {
		err := m.ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(askPause):
		case <-ctx.Done():
			return fmt.Errorf("containers: %s is not ready: %w: %w", m.Name, context.Cause(ctx), err)
		}
	}
}

func (m *Member) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := m.Connect(ctx)
	if err != nil {
		return err
	}
	_, err = c.Status(ctx, m.Name, false)
	return errors.Join(err, c.Close())
}

// Connect connects to the member, and to no other if it goes away.
func (m *Member) Connect(ctx context.Context) (*client.Client, error) {
	as := m.cluster.Access()
	as.Servers = []string{m.Client}
	return client.Connect(ctx, as)
}
