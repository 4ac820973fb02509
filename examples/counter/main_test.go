package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/wan"
	"github.com/atolldb/atoll/server"
)

// start starts two regions that find each other, and returns their addresses.
func start(t *testing.T) (eu, us string, network *wan.Network) {
	t.Helper()
	network, err := wan.New("eu", "us")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { network.Close() })
	addresses := map[string]string{}
	for region, other := range map[string]string{"eu": "us", "us": "eu"} {
		all := network.Addresses()
		member, err := server.Start(context.Background(), server.Config{
			Region: region, Data: t.TempDir(), Shards: 8, Durability: "os",
			Listen:  server.Listen{Client: "127.0.0.1:0"},
			Regions: map[string][]string{other: all[other]}, GatewayAdvertise: all[region][0],
			SolicitDelay: 5 * time.Millisecond, GossipInterval: 20 * time.Millisecond,
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := member.Close(); err != nil {
				t.Error(err)
			}
		})
		network.Attach(region, member.Addresses().Gateway)
		addresses[region] = member.Addresses().Client
	}
	return addresses["eu"], addresses["us"], network
}

func TestCount(t *testing.T) {
	eu, us, network := start(t)
	var out strings.Builder
	for _, want := range []string{": 1", ": 2"} {
		out.Reset()
		if err := run(t.Context(), []string{"--write", eu, "--read", us}, &out); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{eu + ` counts "examples:counter"` + want + "\n", us + ` reads "examples:counter"` + want + ", after "} {
			if !strings.Contains(out.String(), line) {
				t.Errorf("want %q in\n%s", line, out.String())
			}
		}
	}
	// And back, of another key.
	if err := run(t.Context(), []string{"--write", us, "--read", eu, "--key", "other"}, &out); err != nil {
		t.Fatal(err)
	}

	network.Cut("us", wan.Reset)
	err := run(t.Context(), []string{"--write", eu, "--read", us, "--wait", "3s"}, &out)
	if !errors.Is(err, errNotArrived) || !strings.Contains(err.Error(), "still at 2, not 3") {
		t.Errorf("a region that is cut off: %v", err)
	}
}

func TestBadAddress(t *testing.T) {
	if err := run(t.Context(), []string{"--write", "nowhere"}, nil); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("an address that is none: %v", err)
	}
	if err := run(t.Context(), []string{"--write", "127.0.0.1:1"}, nil); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("an address where nobody is: %v", err)
	}
}
