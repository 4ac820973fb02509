package containers

import (
	"context"
	"slices"
)

// Where containers see the data of a member, and backups.
const (
	data    = "/var/lib/atoll"
	backups = "/backups"
)

// Backup backs the member up, while it runs, under a name.
func (m *Member) Backup(ctx context.Context, name string) error {
	return m.control(ctx, []string{"--network", "container:" + m.container, "--volume", m.cluster.backups() + ":" + data},
		"--ca", inKeys("ca.crt"), "--key", inKeys("root.key"), "backup", "--member", m.Name, data+"/"+name)
}

// Lose takes away the disk of the member, which is stopped, and gives it an empty one.
func (m *Member) Lose(ctx context.Context) error {
	for _, args := range [][]string{
		{"container", "rm", m.container},
		{"volume", "rm", m.container},
		{"volume", "create", "--label", label + "=" + now(), m.container},
	} {
		if _, err := m.cluster.engine.do(ctx, args...); err != nil {
			return err
		}
	}
	m.created = false
	return nil
}

// Restore fills the empty disk of the member from a backup.
func (m *Member) Restore(ctx context.Context, name string) error {
	return m.control(ctx, []string{"--network", "none", "--volume", m.container + ":" + data, "--volume", m.cluster.backups() + ":" + backups + ":ro"},
		"restore", "--data", data, backups+"/"+name)
}

// control runs crdtctl of the member's image in a container of its own.
func (m *Member) control(ctx context.Context, sees []string, args ...string) error {
	run := []string{
		"container", "run", "--rm", "--label", label + "=" + now(), "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true",
		"--volume", m.cluster.locks.dir + ":/etc/atoll:ro", "--entrypoint", "/crdtctl",
	}
	_, err := m.cluster.engine.do(ctx, slices.Concat(run, sees, []string{m.Image}, args)...)
	return err
}
