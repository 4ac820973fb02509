package nats

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

// A port that is taken between the check and the start must still come back
// as an error: the server itself only logs it.
func TestServerCannotListen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	for name, o := range map[string]Options{
		"client":  {ClientListen: address},
		"cluster": {ClusterListen: address},
		"gateway": {GatewayListen: address},
	} {
		o.Region, o.Name = "eu", "eu-1"
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := startServer(ctx, o.withDefaults())
		cancel()
		if err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("%s: err = %v, want that the address is in use", name, err)
		}
	}
}
