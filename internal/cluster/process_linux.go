package cluster

import "syscall"

// dieWithParent has the system kill a child when this process is gone without
// a Close, as when a test runs into its time limit.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
