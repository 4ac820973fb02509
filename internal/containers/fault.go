package containers

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// ErrKernel says that this kernel, or who runs this, cannot do it.
var ErrKernel = errors.New("not possible here")

// Worsen makes what a region sends to others late and lossy, by tc netem, or at
// least lossy, by iptables, and says what was done. It fails with ErrKernel where
// neither can be. Undo undoes it.
func (c *Cluster) Worsen(ctx context.Context, region string) (done string, undo func(context.Context) error, err error) {
	netem := worsening{
		"60 ms of delay and 2% of loss, by tc netem",
		strings.Fields("tc qdisc add dev DEV root netem delay 60ms 10ms loss 2%"), strings.Fields("tc qdisc del dev DEV root"),
	}
	iptables := worsening{
		"2% of loss, by iptables (no delay: tc netem is not in this kernel, or not allowed)",
		strings.Fields("iptables -A OUTPUT -o DEV -m statistic --mode random --probability 0.02 -j DROP"), strings.Fields("iptables -F OUTPUT"),
	}
	var errs []error
	for _, w := range []worsening{netem, iptables} {
		undo, err := c.worsen(ctx, region, w)
		if err == nil {
			return w.what, undo, nil
		}
		errs = append(errs, err, undo(ctx))
	}
	return "", nil, fmt.Errorf("%w: %w", ErrKernel, errors.Join(errs...))
}

// worsening is a command that makes the device DEV worse, and one that undoes it.
type worsening struct {
	what     string
	do, undo []string
}

func (c *Cluster) worsen(ctx context.Context, region string, w worsening) (undo func(context.Context) error, err error) {
	var undone [][]string
	undo = func(ctx context.Context) (err error) {
		for _, command := range undone {
			err = errors.Join(err, enter(ctx, command))
		}
		return err
	}
	for _, m := range c.In(region) {
		pid, err := m.inspect(ctx, "{{.State.Pid}}")
		if err != nil {
			return undo, err
		}
		device, err := m.device(ctx, pid)
		if err != nil {
			return undo, err
		}
		in := func(command []string) []string {
			command = slices.Concat([]string{"--target", pid, "--net"}, command)
			if i := slices.Index(command, "DEV"); i >= 0 {
				command[i] = device
			}
			return command
		}
		if err := enter(ctx, in(w.do)); err != nil {
			return undo, err
		}
		undone = append(undone, in(w.undo))
	}
	return undo, nil
}

// enter runs a command of this machine in a namespace of a container.
func enter(ctx context.Context, args []string) error {
	out, err := exec.CommandContext(ctx, "nsenter", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("nsenter %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// device returns the member's end of the network between the regions.
func (m *Member) device(ctx context.Context, pid string) (string, error) {
	address, err := m.inspect(ctx, fmt.Sprintf(`{{(index .NetworkSettings.Networks %q).IPAddress}}`, m.cluster.network(between)))
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "nsenter", "--target", pid, "--net", "ip", "-oneline", "-4", "address").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("nsenter: %w: %s", err, bytes.TrimSpace(out))
	}
	for line := range strings.Lines(string(out)) {
		// 7: eth1    inet 172.18.0.2/16 brd ...
		if words := strings.Fields(line); len(words) > 3 && strings.HasPrefix(words[3], address+"/") {
			return words[1], nil
		}
	}
	return "", fmt.Errorf("containers: %s has no device of the address %q", m.Name, address)
}

// Fill puts a file of so many MiB beside the member's data; 0 takes it away.
func (m *Member) Fill(ctx context.Context, mebibytes int) error {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	ballast := make([]byte, mebibytes<<20)
	err := w.WriteHeader(&tar.Header{Name: "ballast", Mode: 0o644, Size: int64(len(ballast))})
	if err == nil {
		_, err = w.Write(ballast)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("containers: %w", err)
	}
	_, err = m.cluster.engine.feed(ctx, &archive, "container", "cp", "-", m.container+":/var/lib/atoll")
	return err
}
