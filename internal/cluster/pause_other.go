//go:build !unix

package cluster

import "errors"

var errNoPause = errors.New("cluster: processes cannot be paused on this system")

// Pause returns an error: there is no SIGSTOP here.
func (m *Member) Pause() error { return errNoPause }

// Resume returns an error: there is no SIGCONT here.
func (m *Member) Resume() error { return errNoPause }
