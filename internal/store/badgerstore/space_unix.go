//go:build linux || darwin

package badgerstore

import (
	"io/fs"
	"syscall"
)

// freeBytes returns the space of dir's file system that is left for us.
func freeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// diskBytes returns what a file takes on disk.
func diskBytes(info fs.FileInfo) int64 {
	const block = 512 // whatever the file system's
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int64(s.Blocks) * block
	}
	return info.Size()
}
