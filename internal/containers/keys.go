package containers

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/keys"
)

// locks is a directory with what members are locked by, and clients get in with.
type locks struct {
	dir  string
	root *keys.Key
}

// newLocks makes a certificate for members that are reached on this machine, and
// a secret. Containers run as somebody else, so whoever gets at the directory can
// read it: it serves a test and goes with it.
func newLocks() (l locks, err error) {
	if l.dir, err = os.MkdirTemp("", "atoll-containers-"); err != nil {
		return l, err
	}
	_, err = keys.Certify(l.dir, "member", []string{"127.0.0.1"}, 1, time.Now())
	secret := keys.NewSecret()
	if err == nil {
		err = keys.Create(filepath.Join(l.dir, "secret"), 0o644, []byte(secret))
	}
	if err == nil {
		l.root, err = secret.Key(keys.Root)
	}
	if err == nil {
		err = l.root.Write(filepath.Join(l.dir, "root.key"))
	}
	if err == nil {
		err = filepath.WalkDir(l.dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				return os.Chmod(path, 0o755)
			}
			return errors.Join(err, os.Chmod(path, 0o644))
		})
	}
	return l, err
}

// flags are those of a locked member.
func (l locks) flags() []string {
	return []string{
		"--tls-ca", inKeys("ca.crt"), "--tls-cert", inKeys("member.crt"), "--tls-key", inKeys("member.key"), "--secret-file", inKeys("secret"),
	}
}

// inKeys is where a container has a file of the directory.
func inKeys(name string) string { return "/etc/atoll/" + name }

// Access says how clients get in: as root.
func (c *Cluster) Access() client.Options {
	return client.Options{CA: filepath.Join(c.locks.dir, "ca.crt"), Login: c.locks.root, User: keys.Root}
}
