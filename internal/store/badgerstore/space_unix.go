//go:build linux || darwin

package badgerstore

import "syscall"

// freeBytes returns the space of dir's file system that is left for us.
func freeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
