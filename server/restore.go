package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/atolldb/atoll/internal/backup"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/badgerstore"
	"github.com/atolldb/atoll/replica"
)

var (
	// ErrNotEmpty says that there is something where a backup is to be restored.
	ErrNotEmpty = errors.New("the directory is not empty")
	// ErrChain says that backups do not follow one another.
	ErrChain = errors.New("backups that do not belong together")
)

// Restore is a data directory in the making.
type Restore struct {
	// Files are a full backup and the increments after it, in their order.
	Files []string
	// Data is where the directory is to be: it is empty, or not there.
	Data string
	// Member and Region are those in the backup if empty, and else ErrConfig if they
	// cannot be names.
	Member, Region string
	// Progress is told the part that is done, of all files; it may be nil.
	Progress func(part float64)

	size, done int64
}

// Run reads all files to the end before it makes anything, and removes what it
// made when it fails; nothing else.
func (r *Restore) Run(ctx context.Context) (backup.Header, error) {
	if err := r.checkNames(); err != nil {
		return backup.Header{}, err
	}
	last, identity, err := r.check(ctx)
	if err != nil {
		return last, err
	}
	created, err := emptyDir(r.Data)
	if err != nil {
		return last, err
	}
	return last, r.put(ctx, identity, created)
}

// put fills a directory that was empty a moment ago, and empties it again if that
// fails, unless somebody else was first.
func (r *Restore) put(ctx context.Context, identity []byte, created bool) error {
	err := r.fill(ctx, identity)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrInUse), errors.Is(err, replica.ErrOccupied):
		return fmt.Errorf("%w: %w", ErrNotEmpty, err)
	}
	return errors.Join(err, removeIn(r.Data, created))
}

// checkNames refuses names under which no member would start.
func (r *Restore) checkNames() error {
	for _, name := range [][2]string{{"member", r.Member}, {"region", r.Region}} {
		if name[1] == "" {
			continue
		}
		if err := checkName(name[0], name[1]); err != nil {
			return err
		}
	}
	return nil
}

// check reads all files, and returns what the last says, and what the first does
// of the directory.
func (r *Restore) check(ctx context.Context) (last backup.Header, identity []byte, err error) {
	for _, path := range r.Files {
		size, err := sizeOf(path)
		if err != nil {
			return last, nil, err
		}
		r.size += 2 * size // read twice
	}
	var sum string
	for i, path := range r.Files {
		h, total, err := r.read(ctx, path, backup.Visitor{})
		switch {
		case err != nil:
			return last, nil, fmt.Errorf("%s: %w", path, err)
		case !namePattern.MatchString(h.Cluster) || !namePattern.MatchString(h.Member) || !namePattern.MatchString(h.Region):
			return last, nil, fmt.Errorf("%s: %w: it says to be of member %.64q of region %.64q in cluster %.64q, which cannot be",
				path, backup.ErrDamaged, h.Member, h.Region, h.Cluster)
		case i == 0 && h.Since != "":
			return last, nil, fmt.Errorf("%w: %s is an increment; begin with the full backup that it follows", ErrChain, path)
		case i > 0 && (h.Cluster != last.Cluster || h.Member != last.Member || h.Shards != last.Shards):
			return last, nil, fmt.Errorf("%w: %s is of member %s of cluster %s, %s of %s of %s", ErrChain,
				r.Files[i-1], last.Member, last.Cluster, path, h.Member, h.Cluster)
		case i > 0 && h.Since != sum:
			return last, nil, fmt.Errorf("%w: %s does not follow %s; name a full backup, and the increments after it in their order", ErrChain, path, r.Files[i-1])
		}
		last, sum = h, total.Sum
	}
	return last, last.Identity, nil
}

// OpenBackup opens the file of a backup, for package backup to read.
func OpenBackup(path string) (*os.File, error) {
	file, err := os.Open(path)
	var why *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, noBackup{path}
	case errors.As(err, &why):
		return nil, fmt.Errorf("the backup %s cannot be opened: %w", path, why.Err)
	}
	return file, err
}

// noBackup says that a file is not there, without the words of a system call.
type noBackup struct{ path string }

func (e noBackup) Error() string { return "there is no backup " + e.path }
func (noBackup) Unwrap() error   { return fs.ErrNotExist }

func sizeOf(path string) (int64, error) {
	file, err := OpenBackup(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (r *Restore) read(ctx context.Context, path string, v backup.Visitor) (backup.Header, backup.Total, error) {
	file, err := OpenBackup(path)
	if err != nil {
		return backup.Header{}, backup.Total{}, err
	}
	defer file.Close()
	return backup.Read(bufio.NewReaderSize(&watched{ctx, file, r}, 1<<20), v)
}

// watched tells how far the reading of a file is, and ends it with the context.
type watched struct {
	ctx  context.Context
	file io.Reader
	of   *Restore
}

func (w *watched) Read(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.file.Read(b)
	w.of.done += int64(n)
	if w.of.Progress != nil && w.of.size > 0 {
		w.of.Progress(min(1, float64(w.of.done)/float64(w.of.size)))
	}
	return n, err
}

func (r *Restore) fill(ctx context.Context, identity []byte) (err error) {
	disk, err := badgerstore.Open(badgerstore.Options{Dir: r.Data})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	into, err := replica.NewRestore(disk, identity, r.Member, r.Region)
	if err != nil {
		return err
	}
	for _, path := range r.Files {
		if _, _, err := r.read(ctx, path, backup.Visitor{Shard: into.Shard, Pair: into.Put}); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return into.Finish()
}

// emptyDir sees to it that there is an empty directory, and says whether it made
// it.
func emptyDir(path string) (created bool, err error) {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, os.MkdirAll(path, 0o700)
	case err != nil:
		return false, err
	}
	for _, e := range entries {
		if e.Name() != "lost+found" { // of a volume of its own
			return false, fmt.Errorf("%w: %s has %s; name another directory, or empty it", ErrNotEmpty, path, e.Name())
		}
	}
	return false, nil
}

func removeIn(path string, whole bool) error {
	if whole {
		return os.RemoveAll(path)
	}
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		if e.Name() != "lost+found" {
			err = errors.Join(err, os.RemoveAll(filepath.Join(path, e.Name())))
		}
	}
	return err
}
