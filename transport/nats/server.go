package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/atolldb/atoll/transport"
)

const (
	// startPoll is how long to wait for a server before looking at its errors.
	startPoll = 10 * time.Millisecond
	// localReconnectWait is the pause between attempts to reach the server in
	// the same process.
	localReconnectWait = 50 * time.Millisecond
)

// Server is a member's end of the network and the embedded server behind it, if
// there is one: see Attach.
type Server struct {
	*Conn
	server *server.Server // nil: it is somebody else's
	guard  *guard         // nil: everybody is let in
	log    *serverLog
}

// Addresses are where a server listens, as host:port.
type Addresses struct{ Client, Cluster, Gateway string }

// Gateways counts the connections to one region.
type Gateways struct {
	// Outbound is 1 if this server sends to the region. Link numbers that
	// connection: one that replaces another has another number.
	Outbound int
	Link     uint64
	// Inbound is how many servers of the region send to this one. They may
	// send to another server of this one's region instead.
	Inbound int
}

// Start starts a member's server and connects to it. It does not wait for
// other members: see Server.Gateways and Server.Routes. If the context ends
// first, it fails with the context's error.
func Start(ctx context.Context, o Options) (*Server, error) {
	o = o.withDefaults()
	if err := CheckListen(o); err != nil {
		return nil, err
	}
	if o.SolicitDelay > 0 {
		server.SetGatewaysSolicitDelay(o.SolicitDelay)
	}
	s := &Server{
		Conn: newConn(o.Region+"."+o.Name, o.MaxInFlight, o.Logger, o.Lost),
		log:  newServerLog(o.Logger.With("region", o.Region, "member", o.Name)),
	}
	if err := s.listen(ctx, o); err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	own := []natsgo.Option{natsgo.InProcessServer(s.server), natsgo.ReconnectWait(localReconnectWait)}
	if o.Lock != nil {
		own = append(own, s.guard.own.option())
	}
	for _, uses := range []uses{{events: true}, {requests: true}} {
		// The URL stays empty: with one, TLS of the client port would apply.
		if err := s.connect("", uses, own...); err != nil {
			s.Close()
			return nil, fmt.Errorf("nats: connect in process: %w", err)
		}
	}
	return s, nil
}

// CheckListen says what is wrong with the options, and tries the listen
// addresses. The server would find out as well, but not say which address is
// at fault.
func CheckListen(o Options) error {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return err
	}
	for _, check := range []struct{ peers, address string }{
		{"clients", o.ClientListen}, {"members of the own region", o.ClusterListen}, {"other regions", o.GatewayListen},
	} {
		host, port, _ := splitAddress("", check.address, 0)
		listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			var op *net.OpError
			if errors.As(err, &op) {
				err = op.Err // without the address, which stands before
			}
			return fmt.Errorf("cannot listen for %s on %s: %w", check.peers, check.address, err)
		}
		if err := listener.Close(); err != nil {
			return fmt.Errorf("cannot listen for %s on %s: %w", check.peers, check.address, err)
		}
	}
	return nil
}

// listen starts the embedded server, and returns once it listens on all its
// ports.
func (s *Server) listen(ctx context.Context, o Options) (err error) {
	options := serverOptions(o)
	if o.Lock != nil {
		if s.guard, err = o.Lock.apply(options); err != nil {
			return err
		}
	}
	embedded, err := server.NewServer(options)
	if err == nil && s.guard != nil {
		err = s.guard.of(embedded)
	}
	if err != nil {
		return err
	}
	embedded.SetLoggerV2(s.log, false, false, false)
	embedded.Start()
	for {
		select {
		case reason := <-s.log.fatal:
			err = errors.New(reason)
		case <-ctx.Done():
			err = fmt.Errorf("start: %w", ctx.Err())
		default:
			if embedded.ReadyForConnections(startPoll) {
				s.server = embedded
				return nil
			}
			continue
		}
		embedded.Shutdown()
		embedded.WaitForShutdown()
		return err
	}
}

// Denied returns how often somebody was not let in, or did something that it may
// not do, at the server in this process.
func (s *Server) Denied() uint64 {
	if s.log == nil {
		return 0
	}
	return s.log.denied.Load()
}

// Embedded says whether the server is in this process, and not somebody else's.
func (s *Server) Embedded() bool { return s.server != nil }

// Serve implements transport.Transport. The own server knows of it when it
// returns; to wait for one that is somewhere else might take long.
func (s *Server) Serve(pattern, group string, handle transport.Handler) (transport.Subscription, error) {
	subscription, err := s.Conn.Serve(pattern, group, handle)
	if err == nil && s.Embedded() && s.requests.IsConnected() {
		_ = s.requests.FlushTimeout(flushTimeout)
	}
	return subscription, err
}

// Addresses returns where the server listens; nothing of one that is somebody
// else's.
func (s *Server) Addresses() Addresses {
	if !s.Embedded() {
		return Addresses{}
	}
	return Addresses{
		Client:  s.server.Addr().String(),
		Cluster: s.server.ClusterAddr().String(),
		Gateway: s.server.GatewayAddr().String(),
	}
}

// Gateways returns the connections there are now, by region. A region without
// any is absent, and all are where the server is somebody else's.
func (s *Server) Gateways() map[string]Gateways {
	links := map[string]Gateways{}
	if !s.Embedded() {
		return links
	}
	status, err := s.server.Gatewayz(nil)
	if err != nil { // cannot happen: a server with gateways always knows
		return links
	}
	for region, outbound := range status.OutboundGateways {
		links[region] = Gateways{Outbound: 1, Link: outbound.Connection.Cid}
	}
	for region, inbound := range status.InboundGateways {
		g := links[region]
		g.Inbound = len(inbound)
		links[region] = g
	}
	return links
}

// Nearest returns the regions that this server sends to, those with the
// shortest round trip first.
func (s *Server) Nearest() []string {
	if !s.Embedded() {
		return nil
	}
	status, err := s.server.Gatewayz(nil)
	if err != nil {
		return nil
	}
	trip := func(region string) time.Duration {
		rtt, err := time.ParseDuration(status.OutboundGateways[region].Connection.RTT)
		if err != nil || rtt == 0 { // not measured yet
			return math.MaxInt64
		}
		return rtt
	}
	return slices.SortedFunc(maps.Keys(status.OutboundGateways), func(a, b string) int {
		return cmp.Or(cmp.Compare(trip(a), trip(b)), cmp.Compare(a, b))
	})
}

// Routes returns the number of connections to other servers of the region. It
// is 0 only if there are none; there are several per server.
func (s *Server) Routes() int {
	if !s.Embedded() {
		return 0
	}
	return s.server.NumRoutes()
}

// Close closes the Conn and stops the server, unless it is somebody else's. It
// returns once all of it has ended.
func (s *Server) Close() error {
	err := s.Conn.Close()
	if !s.Embedded() {
		return err
	}
	s.server.Shutdown()
	s.server.WaitForShutdown()
	return err
}
