package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/badgerstore"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/replica"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
)

// Version is the program's version.
const Version = "0.1.0"

// Server is a running member.
type Server struct {
	config  Config
	log     *slog.Logger
	disk    *badgerstore.Store
	failed  func() error // why the disk refuses to work until the member is restarted
	network *nats.Server
	replica *replica.Replica
	door    *door         // nil: closed
	losses  atomic.Uint64 // how often messages may have been lost

	once    sync.Once     // to close
	ended   error         // of that
	closing chan struct{} // closed first
	tasks   sync.WaitGroup
}

// Start starts a member and returns once it serves its region. Other regions
// are met in the background. The context bounds the start only. A nil logger
// says nothing.
func Start(ctx context.Context, c Config, log *slog.Logger) (*Server, error) {
	c, err := c.resolveSecret()
	if err != nil {
		return nil, err
	}
	if _, err := c.withDefaults(); err != nil { // what is wrong without asking anybody
		return nil, err
	}
	named, err := c.discover(ctx)
	if err != nil {
		return nil, err
	}
	if c, err = named.withDefaults(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	// First, so that a member that cannot serve leaves no directory behind that
	// is bound to its settings.
	if !c.attached() {
		err = advised(nats.CheckListen(c.network()))
	}
	if err != nil {
		return nil, err
	}
	c.clusterNamed, c.shardsNamed = named.Cluster != "", named.Shards != 0
	door, err := openDoor(c, log)
	if err != nil {
		return nil, err
	}
	s := &Server{config: c, door: door, log: log, closing: make(chan struct{})}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) (err error) {
	c, log := s.config, s.log
	if err := c.prepareData(); err != nil {
		return err
	}
	s.disk, err = badgerstore.Open(badgerstore.Options{
		Dir: c.Data, Durability: badgerstore.Durability(c.Durability), Logger: log,
	})
	if err != nil {
		return err
	}
	s.failed = s.disk.Err
	if err := c.adopt(s.disk); err != nil {
		return err
	}
	s.config = c
	engine, err := replica.Open(replica.Options{
		Record: s.record, Heartbeats: c.heartbeats(), Joins: c.joins(), Told: c.told(), Seeds: c.seeds(), JoinRate: c.JoinRate << 20, HintLimit: c.HintLimit << 20,
		Cluster: c.Cluster, Member: c.Name, Region: c.Region, Regions: s.regions, Version: Version,
		Volatile: c.Durability == string(badgerstore.OS), Place: s.disk.Place, ScrubInterval: c.ScrubInterval, ScrubRate: c.ScrubRate << 20,
		Shards: c.Shards, DigestKey: c.digestKey(), LogLimit: c.LogLimit,
		Loops: max(2, runtime.GOMAXPROCS(0)/2), GossipInterval: c.GossipInterval, Logger: log,
		Now: c.clock(),
	}, s.disk)
	if err != nil {
		return err
	}
	s.replica = engine
	table, err := engine.Table()
	if err != nil {
		return err
	}
	lost := func(reason string) {
		log.Info("messages may have been lost", "reason", reason)
		s.losses.Add(1)
		engine.Announce()
	}
	if c.attached() {
		s.network, err = c.attach(ctx, log, lost)
	} else {
		options := c.with(table).network() // who was named may be gone since
		options.Logger, options.Lost = log, lost
		if options.Lock, err = c.lock(engine); err != nil {
			return err
		}
		s.network, err = nats.Start(ctx, options)
		err = advised(err)
	}
	if err != nil {
		return err
	}
	if err := s.introduce(ctx); err != nil {
		log.Warn("the member to join does not take this one into its table; links will", "error", err)
	}
	if err := engine.Start(s.network); err != nil {
		return err
	}
	if s.network.Embedded() {
		s.tasks.Go(s.watchLinks)
		s.tasks.Go(s.watchUsers)
	}
	s.door.serves(s)
	return nil
}

// record is what the table of members says of this one.
func (s *Server) record() *pb.Member {
	a := s.network.Addresses()
	return &pb.Member{
		Name: s.config.Name, Region: s.config.Region, Zone: s.config.Zone, Weight: uint32(s.config.Weight), Version: Version, Protocol: pb.Protocol,
		Client: a.Client, Route: a.Cluster, Gateway: cmp.Or(s.config.GatewayAdvertise, a.Gateway),
	}
}

// network returns what the configuration says of the network.
func (c Config) network() nats.Options {
	return nats.Options{
		Region: c.Region, Name: c.Name,
		ClientListen: c.Listen.Client, ClusterListen: c.Listen.Route, GatewayListen: c.Listen.Gateway,
		GatewayAdvertise: c.GatewayAdvertise, Routes: c.Join, Gateways: c.Regions, SolicitDelay: c.SolicitDelay,
	}
}

// advised adds to an error of listening what to do about it.
func advised(err error) error {
	var lookup *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w; stop who listens there, or choose another address", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.As(err, &lookup):
		return fmt.Errorf("%w; take an address of this machine, or 0.0.0.0 for all it has", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w; take a port from 1024 up", err)
	}
	return err
}

// Close stops the member: it serves no more, ends what is under way, and
// releases the data directory. Called again, it waits and returns the same.
func (s *Server) Close() error {
	s.once.Do(func() { s.ended = s.close() })
	return s.ended
}

func (s *Server) close() error {
	s.door.stops()
	close(s.closing)
	s.tasks.Wait()
	var errs []error
	if s.replica != nil {
		errs = append(errs, s.replica.Close())
	}
	if s.network != nil {
		errs = append(errs, s.network.Close())
	}
	errs = append(errs, s.door.close())
	if s.disk != nil {
		errs = append(errs, s.disk.Close())
	}
	return errors.Join(errs...)
}

// isClosing says that Close was called.
func (s *Server) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// Config returns the configuration in force, with all defaults filled in.
func (s *Server) Config() Config { return s.config }

// Addresses returns where the member listens: nowhere, if it uses servers of
// somebody else.
func (s *Server) Addresses() nats.Addresses { return s.network.Addresses() }

// HTTP returns where the member serves HTTP, as host:port; "" if it does not.
func (s *Server) HTTP() string {
	if s.door == nil {
		return ""
	}
	return s.door.listener.Addr().String()
}

// regions returns the other regions, the nearest first, those out of reach
// last.
func (s *Server) regions() []string {
	if s.config.attached() {
		return s.listedRegions()
	}
	near := s.network.Nearest()
	far := slices.DeleteFunc(s.config.otherRegions(), func(region string) bool { return slices.Contains(near, region) })
	return append(near, far...)
}

// Gateways returns the connections to other regions.
func (s *Server) Gateways() map[string]nats.Gateways { return s.network.Gateways() }

// Client returns a client of this member that does not use the network for
// what the member serves itself. To close it ends no other client. After Close of
// the member, all that it does fails with client.ErrUnreachable.
func (s *Server) Client() *client.Client {
	return client.New(embedded{s}, s.replica.Shards(), 0)
}

// embedded serves a client by function calls.
type embedded struct{ server *Server }

// errClosed says that a call was not served because the member is closed.
var errClosed = fmt.Errorf("%w: the embedded member is closed; nothing was changed", client.ErrUnreachable)

func (e embedded) Do(ctx context.Context, shard int, request *pb.Request) (*pb.Answer, error) {
	if e.server.isClosing() {
		return nil, errClosed
	}
	answer, err := e.server.replica.Do(ctx, shard, request)
	if errors.Is(err, replica.ErrNotOwner) {
		return e.server.forward(ctx, shard, request)
	}
	if err != nil {
		return refused(err)
	}
	return answer, nil
}

// refused returns the answer to a request that the engine did not serve. That the
// member was closed meanwhile is to a client as if its connection was.
func refused(err error) (*pb.Answer, error) {
	unsure := errors.Is(err, replica.ErrUnknown) || errors.Is(err, replica.ErrUnavailable)
	switch {
	case errors.Is(err, replica.ErrClosed) && !unsure:
		return nil, errClosed
	case errors.Is(err, replica.ErrClosed), errors.Is(err, store.ErrClosed):
		return nil, fmt.Errorf("%w: %w", transport.ErrClosed, err)
	}
	return &pb.Answer{Error: replica.EncodeError(err)}, nil
}

// forward sends a request to the owners of a shard, in the nearest region that
// has one.
func (s *Server) forward(ctx context.Context, shard int, request *pb.Request) (*pb.Answer, error) {
	data, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	for _, region := range slices.Concat([]string{s.config.Region}, s.regions()) {
		var reply []byte
		reply, err = s.network.Request(ctx, transport.Requests(region, shard, transport.Trusted), data)
		if errors.Is(err, transport.ErrNoResponders) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var answer pb.Answer
		return &answer, proto.Unmarshal(reply, &answer)
	}
	if request.GetConsistency() != pb.Consistency_ONE {
		return &pb.Answer{Error: replica.EncodeError(replica.ErrNotOwner)}, nil // another one may be about to
	}
	answer, err := s.replica.DoHinted(ctx, shard, request)
	if err != nil {
		return refused(err)
	}
	return answer, nil
}

func (e embedded) Ask(ctx context.Context, member string, question *pb.SyncRequest) (*pb.SyncAnswer, error) {
	if e.server.isClosing() {
		return nil, errClosed
	}
	return e.server.replica.Ask(ctx, cmp.Or(member, e.server.config.Name), question)
}
