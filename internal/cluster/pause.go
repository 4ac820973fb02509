//go:build unix

package cluster

import "syscall"

// Pause stops the process in its tracks, by SIGSTOP; its connections stay.
func (m *Member) Pause() error { return m.signal(syscall.SIGSTOP) }

// Resume lets the process go on.
func (m *Member) Resume() error { return m.signal(syscall.SIGCONT) }
