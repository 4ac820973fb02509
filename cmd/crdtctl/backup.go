package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/backup"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/replica"
	"github.com/atolldb/atoll/server"
)

func backupCommand() *cli.Command {
	return &cli.Command{
		Name: "backup", ArgsUsage: "FILE",
		Usage: "copy what a member has on disk into a file, while it goes on",
		Description: `FILE has all that the member connected to, or --member, had at one moment. It is
there only once it is complete. With --since it has what changed since an earlier
backup of the same member, which it needs to be restored. It is not encrypted, and
who reads it reads the data. See restore.`,
		Before: takes(1, 1),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "member", Usage: "the member of that `NAME`"},
			&cli.StringFlag{Name: "since", TakesFile: true, Usage: "only what changed since the backup in `FILE`, full or an increment itself"},
		},
		Action: reading(takeBackup),
	}
}

// taking is a backup under way.
type taking struct {
	line   progress
	part   io.Writer
	writer *backup.Writer
	header backup.Header
	// since is the sum of the backup before, of whose header and marks by shard.
	since  string
	before backup.Header
	known  map[int][]byte
}

// Begin implements client.BackupTarget.
func (t *taking) Begin(o *pb.BackupOrigin) (err error) {
	t.header = backup.Header{
		Cluster: o.GetCluster(), Shards: int(o.GetShards()), Member: o.GetMember(), Region: o.GetRegion(), Program: o.GetVersion(),
		DiskFormat: int(o.GetFormat()), Time: time.Now().UnixMilli(), Since: t.since, Identity: o.GetIdentity(),
	}
	if b := t.before; t.since != "" && (b.Cluster != t.header.Cluster || b.Member != t.header.Member || b.Shards != t.header.Shards || b.DiskFormat != t.header.DiskFormat) {
		return usagef("--since is a backup of %s in cluster %s, this is %s in cluster %s; --member names the member", b.Member, b.Cluster, t.header.Member, t.header.Cluster)
	}
	t.writer, err = backup.NewWriter(t.part, t.header)
	return err
}

// Shard implements client.BackupTarget.
func (t *taking) Shard(shard int) ([]byte, error) {
	part := float64(shard) / float64(t.header.Shards+1)
	t.line.show("%s: %s %.0f %%", t.header.Member, bar(part), 100*part)
	return t.known[shard], t.writer.Shard(shard)
}

// Put implements client.BackupTarget.
func (t *taking) Put(key, value []byte) error { return t.writer.Put(key, value) }

// follow reads what the backup before has.
func (t *taking) follow(path string) error {
	file, err := server.OpenBackup(path)
	if err != nil {
		return err
	}
	defer file.Close()
	current := 0
	var total backup.Total
	t.before, total, err = backup.Read(bufio.NewReader(file), backup.Visitor{
		Shard: func(shard int) error { current = shard; return nil },
		Pair: func(key, value []byte) error {
			t.known[current] = append(t.known[current], replica.BackupMark(key, value)...)
			return nil
		},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	t.since = total.Sum
	return nil
}

func takeBackup(c *cli.Context) error {
	path := c.Args().First()
	if err := notThere(path); err != nil {
		return err
	}
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		t := &taking{line: newProgress(c), known: map[int][]byte{}}
		defer t.line.clear()
		if since := c.String("since"); since != "" {
			if err := t.follow(since); err != nil {
				return err
			}
		}
		var total backup.Total
		err := newFile(path, func(w io.Writer) (err error) {
			t.part = w
			if err = cl.Backup(ctx, c.String("member"), t); err == nil {
				total, err = t.writer.Finish()
			}
			return err
		})
		if err != nil {
			return err
		}
		t.line.clear()
		return answer(c, map[string]any{
			"member": t.header.Member, "file": path, "pairs": total.Pairs, "bytes": total.Bytes, "sum": total.Sum, "since": t.since,
		}, text("%s: %d keys, %s", t.header.Member, total.Pairs, mebibytes(total.Bytes)))
	})
}

func restoreCommand() *cli.Command {
	return &cli.Command{
		Name: "restore", ArgsUsage: "FILE...",
		Usage: "make a data directory from a full backup and the increments after it",
		Description: `Needs no member. All files are read to the end before anything is made. Start crdtd
with --data DIR then, and the name, region and secret of the member that was lost,
which must not run elsewhere: it goes on as somebody new, and gets from others what
it lacks. What was deleted since stays deleted wherever another member knows of it.`,
		Before: takes(1, -1),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", TakesFile: true, Usage: "the data directory to make, `DIR`: empty, or not there"},
			&cli.StringFlag{Name: "name", Usage: "restore it for a member of another `NAME`"},
			&cli.StringFlag{Name: "region", Usage: "restore it for a member of another `REGION`"},
		},
		Action: restore,
	}
}

func restore(c *cli.Context) error {
	if c.String("data") == "" {
		return usagef("restore needs --data DIR; see crdtctl restore --help")
	}
	line := newProgress(c)
	defer line.clear()
	r := server.Restore{
		Files: c.Args().Slice(), Data: c.String("data"), Member: c.String("name"), Region: c.String("region"),
		Progress: func(part float64) { line.show("%s %.0f %%", bar(part), 100*part) },
	}
	h, err := r.Run(c.Context)
	switch {
	case errors.Is(err, server.ErrConfig), errors.Is(err, server.ErrNotEmpty), errors.Is(err, server.ErrChain), errors.Is(err, backup.ErrDamaged), errors.Is(err, fs.ErrNotExist):
		return usageError{fmt.Errorf("%w; nothing was restored", err)}
	case err != nil:
		return readError{error: err}
	}
	line.clear()
	at := time.UnixMilli(h.Time).UTC().Format(time.RFC3339)
	return answer(c, map[string]any{"cluster": h.Cluster, "member": cmp.Or(r.Member, h.Member), "region": cmp.Or(r.Region, h.Region), "data": r.Data, "time": at},
		text("%s: %s of region %s in cluster %s as of %s; start crdtd with them", r.Data, cmp.Or(r.Member, h.Member), cmp.Or(r.Region, h.Region), h.Cluster, at))
}
