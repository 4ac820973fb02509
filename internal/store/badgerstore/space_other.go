//go:build !linux && !darwin

package badgerstore

import (
	"io/fs"
	"math"
)

// freeBytes is not known on this system.
func freeBytes(string) (int64, error) { return math.MaxInt64, nil }

// diskBytes returns what a file takes on disk, holes and all.
func diskBytes(info fs.FileInfo) int64 { return info.Size() }
