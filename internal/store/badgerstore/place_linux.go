package badgerstore

import (
	"fmt"
	"os"
	"syscall"
)

// placeOf leaves out the device, the number of which may change at a reboot.
func placeOf(info os.FileInfo) string {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d %d.%09d", s.Ino, s.Ctim.Sec, s.Ctim.Nsec)
}
