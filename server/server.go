package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/badgerstore"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/replica"
	"github.com/atolldb/atoll/transport/nats"
)

// Version is the program's version.
const Version = "0.1.0"

// Server is a running member.
type Server struct {
	config  Config
	store   store.Store
	network *nats.Server
	replica *replica.Replica

	closing chan struct{} // closed first
	tasks   sync.WaitGroup
}

// Start starts a member and returns once it serves its region. Other regions
// are met in the background. The context bounds the start only. A nil logger
// says nothing.
func Start(ctx context.Context, c Config, log *slog.Logger) (*Server, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	// First, so that a member that cannot serve leaves no directory behind that
	// is bound to its settings.
	if err := inUse(nats.CheckListen(c.network())); err != nil {
		return nil, err
	}
	if err := c.prepareData(); err != nil {
		return nil, err
	}
	s := &Server{config: c, closing: make(chan struct{})}
	disk, err := badgerstore.Open(badgerstore.Options{
		Dir: c.Data, Durability: badgerstore.Durability(c.Durability), Logger: log,
	})
	if err != nil {
		return nil, err
	}
	s.store = disk
	if err := s.start(ctx, disk.Place, log); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, place func(bool) (string, error), log *slog.Logger) error {
	c := s.config
	engine, err := replica.Open(replica.Options{
		Cluster: c.Cluster, Member: c.Name, Region: c.Region, Regions: s.regions, Version: Version,
		Volatile: c.Durability == string(badgerstore.OS), Place: place, ScrubInterval: c.ScrubInterval, ScrubRate: c.ScrubRate << 20,
		Shards: c.Shards, DigestKey: c.digestKey(), LogLimit: c.LogLimit,
		Loops: max(2, runtime.GOMAXPROCS(0)/2), GossipInterval: c.GossipInterval, Logger: log,
	}, s.store)
	if err != nil {
		return err
	}
	s.replica = engine
	options := c.network()
	options.Logger = log
	options.Lost = func(reason string) {
		log.Info("messages may have been lost", "reason", reason)
		engine.Announce()
	}
	s.network, err = nats.Start(ctx, options)
	if err = inUse(err); err != nil {
		return err
	}
	if err := engine.Start(s.network); err != nil {
		return err
	}
	s.tasks.Go(s.watchLinks)
	return nil
}

// network returns what the configuration says of the network.
func (c Config) network() nats.Options {
	return nats.Options{
		Region: c.Region, Name: c.Name,
		ClientListen: c.Listen.Client, ClusterListen: c.Listen.Route, GatewayListen: c.Listen.Gateway,
		GatewayAdvertise: c.GatewayAdvertise, Routes: c.Join, Gateways: c.Regions, SolicitDelay: c.SolicitDelay,
	}
}

// inUse adds to an error what to do about a port that is taken.
func inUse(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; stop who listens there, or choose another address", err)
	}
	return err
}

// Close stops the member: it serves no more, ends what is under way, and
// releases the data directory. It may be called once.
func (s *Server) Close() error {
	close(s.closing)
	s.tasks.Wait()
	var errs []error
	if s.replica != nil {
		errs = append(errs, s.replica.Close())
	}
	if s.network != nil {
		errs = append(errs, s.network.Close())
	}
	return errors.Join(append(errs, s.store.Close())...)
}

// Config returns the configuration in force, with all defaults filled in.
func (s *Server) Config() Config { return s.config }

// Addresses returns where the member listens.
func (s *Server) Addresses() nats.Addresses { return s.network.Addresses() }

// regions returns the other regions, the nearest first, those out of reach
// last.
func (s *Server) regions() []string {
	near := s.network.Nearest()
	far := slices.DeleteFunc(s.config.otherRegions(), func(region string) bool { return slices.Contains(near, region) })
	return append(near, far...)
}

// Gateways returns the connections to other regions.
func (s *Server) Gateways() map[string]nats.Gateways { return s.network.Gateways() }

// Client returns a client of this member that does not use the network for
// what the member serves itself. It is of no use after Close.
func (s *Server) Client() *client.Client {
	return client.New(embedded{s}, s.replica.Shards(), 0)
}

// embedded serves a client by function calls.
type embedded struct{ server *Server }

func (e embedded) Do(ctx context.Context, shard int, request *pb.Request) (*pb.Answer, error) {
	answer, err := e.server.replica.Do(ctx, shard, request)
	if err != nil {
		return &pb.Answer{Error: replica.EncodeError(err)}, nil
	}
	return answer, nil
}

func (e embedded) Ask(ctx context.Context, member string, question *pb.SyncRequest) (*pb.SyncAnswer, error) {
	return e.server.replica.Ask(ctx, cmp.Or(member, e.server.config.Name), question)
}
