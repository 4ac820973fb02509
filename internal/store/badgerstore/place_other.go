//go:build !linux

package badgerstore

import "os"

func placeOf(os.FileInfo) string { return "" }
