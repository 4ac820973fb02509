package nats_test

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/wan"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
	"github.com/atolldb/atoll/transport/transporttest"
)

func TestConformance(t *testing.T) {
	transporttest.Run(t, func(t *testing.T) transporttest.Network { return newSupercluster(t) })
}

// supercluster is members in three regions, connected by a simulated WAN.
type supercluster struct {
	t       *testing.T
	wan     *wan.Network
	members map[string]*nats.Server
	routes  map[string][]string // by region
}

func newSupercluster(t *testing.T) *supercluster {
	t.Helper()
	w, err := wan.New("eu", "us", "ap")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return &supercluster{t: t, wan: w, members: map[string]*nats.Server{}, routes: map[string][]string{}}
}

// options are those of a member that could join.
func (s *supercluster) options(region, name string) nats.Options {
	return nats.Options{
		Region:           region,
		Name:             name,
		Routes:           s.routes[region],
		Gateways:         s.wan.Addresses(),
		GatewayAdvertise: s.wan.Addresses()[region][0],
		MaxInFlight:      transporttest.MaxInFlight,
		SolicitDelay:     5 * time.Millisecond,
		Logger:           testLogger(),
	}
}

func (s *supercluster) start(o nats.Options) *nats.Server {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	server, err := nats.Start(ctx, o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := server.Close(); err != nil {
			s.t.Error(err)
		}
	})
	addresses := server.Addresses()
	s.members[o.Name] = server
	s.routes[o.Region] = append(s.routes[o.Region], addresses.Cluster)
	s.wan.Attach(o.Region, addresses.Gateway)
	return server
}

func (s *supercluster) Join(region, name string) transport.Transport {
	return s.start(s.options(region, name))
}

func (s *supercluster) Leave(name string) {
	if err := s.members[name].Close(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *supercluster) Cut(region string)  { s.wan.Cut(region, wan.Reset) }
func (s *supercluster) Heal(region string) { s.wan.Heal(region) }

// testLogger is silent unless ATOLL_TEST_LOG is set.
func testLogger() *slog.Logger {
	if os.Getenv("ATOLL_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
