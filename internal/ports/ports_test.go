package ports_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/atolldb/atoll/internal/ports"
)

// TestDraw draws so many that chance alone would draw some of them twice.
func TestDraw(t *testing.T) {
	drawn := map[int]bool{}
	for range 1000 {
		port, err := ports.Draw()
		if err != nil {
			t.Fatal(err)
		}
		if drawn[port] || port < 10_000 || port >= 32_000 {
			t.Errorf("port %d; drawn before: %v", port, drawn[port])
		}
		drawn[port] = true
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
	}
}
