package ports

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are drawn from below those that systems hand out by themselves, so that
// one is free again after a restart of who listens there.
const (
	lowest  = 10_000
	highest = 32_000
)

// drawn are the ports that this process has drawn, where nobody may listen yet, or
// not now.
var drawn sync.Map

// Draw returns a port of 127.0.0.1 where nobody listens now, and which it has not
// returned before.
func Draw() (int, error) {
	for range 100 {
		port := lowest + rand.IntN(highest-lowest)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return 0, err
		}
		if _, before := drawn.LoadOrStore(port, true); !before {
			return port, nil
		}
	}
	return 0, fmt.Errorf("ports: hardly one from %d to %d is free", lowest, highest)
}
