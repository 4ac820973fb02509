package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/internal/metrics"
	"github.com/atolldb/atoll/internal/quiet"
)

const (
	// maxHTTPRequests is how many requests the door answers at once; others are
	// refused with 503.
	maxHTTPRequests = 64
	// maxHTTPHeader bounds the header of a request, and maxLevel the body of one
	// that sets the level of the log, in bytes.
	maxHTTPHeader, maxLevel = 16 << 10, 64
	// maxHTTPConnections is how many connections are open at once; others wait.
	maxHTTPConnections = 256
	// httpPatience bounds how long a requester takes to send its request, or the
	// next one, and httpAnswer how long the answer takes, a profile of a minute included.
	httpPatience, httpAnswer = 5 * time.Second, 2 * time.Minute
	// httpFarewell bounds how long what is under way may take when the member
	// stops.
	httpFarewell = time.Second
)

// Why a member is not ready.
var (
	errNotYet  = errors.New("it is starting")
	errNoMore  = errors.New("it is stopping")
	errNoLinks = errors.New("it has no connection to its NATS server")
)

// door is the HTTP server for those who run a member. It is open from before
// the store is until all else has ended.
type door struct {
	listener net.Listener
	server   http.Server
	level    *slog.LevelVar // nil: not to be changed
	member   atomic.Pointer[Server]
	stopping atomic.Bool
	token    string // without which nothing is answered; "": anybody may ask
	denied   atomic.Uint64
	refusals quiet.Notes // by host
	log      *slog.Logger
	places   chan struct{} // one for each request under way
	ended    chan struct{} // closed when the server has ended
}

// openDoor listens, and answers from now on; nil if the configuration has no
// address for it.
func openDoor(c Config, log *slog.Logger) (*door, error) {
	if c.Listen.HTTP == "" {
		return nil, nil
	}
	listener, err := net.Listen("tcp", c.Listen.HTTP)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err // without the address, which stands before
		}
		return nil, advised(fmt.Errorf("cannot listen for HTTP on %s: %w", c.Listen.HTTP, err))
	}
	d := &door{
		listener: listener, level: c.LogLevel,
		places: make(chan struct{}, maxHTTPRequests), ended: make(chan struct{}), log: log,
	}
	accepting, err := c.lockHTTP(d, bound(listener, maxHTTPConnections))
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	d.server = http.Server{
		Handler: d.handler(c.Pprof), MaxHeaderBytes: maxHTTPHeader,
		ReadHeaderTimeout: httpPatience, ReadTimeout: httpPatience, WriteTimeout: httpAnswer, IdleTimeout: httpPatience,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(d.ended)
		if err := d.server.Serve(accepting); !errors.Is(err, http.ErrServerClosed) {
			log.Error("HTTP is served no more", "error", err)
		}
	}()
	return d, nil
}

// close lets the requests under way end, and waits until all has. It may be
// called of no door.
func (d *door) close() error {
	if d == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), httpFarewell)
	defer cancel()
	err := d.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = d.server.Close() // a profile, or somebody who does not read
	}
	<-d.ended
	return err
}

// serves has the door answer for a member that serves its region; stops has it
// say that this is over. Both may be called of no door.
func (d *door) serves(s *Server) {
	if d != nil {
		d.member.Store(s)
	}
}

func (d *door) stops() {
	if d != nil {
		d.stopping.Store(true)
	}
}

// handler answers a bounded number of requests at once, of those who have the
// token, and nothing that a page of somebody else has a browser ask for, but for
// looks.
func (d *door) handler(profiles bool) http.Handler {
	return d.bounded(d.guarded(http.NewCrossOriginProtection().Handler(d.routes(profiles))))
}

func (d *door) routes(profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		say(w, http.StatusOK, "/metrics\n/healthz\n/readyz\n/loglevel")
	})
	scrapes := metrics.Handler(func() metrics.Sample { return d.member.Load().sample() })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if d.member.Load() == nil {
			say(w, http.StatusServiceUnavailable, errNotYet.Error())
			return
		}
		scrapes.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { tell(w, d.health()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { tell(w, d.ready()) })
	mux.HandleFunc("GET /loglevel", func(w http.ResponseWriter, _ *http.Request) { d.sayLevel(w) })
	mux.HandleFunc("PUT /loglevel", d.setLevel)
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// bounded answers a bounded number of requests at once.
func (d *door) bounded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case d.places <- struct{}{}:
			defer func() { <-d.places }()
			h.ServeHTTP(w, r)
		default:
			say(w, http.StatusServiceUnavailable, "too many requests at once")
		}
	})
}

func say(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text+"\n") // who does not want it, has gone
}

// tell answers with ok, or with one line that says why not.
func tell(w http.ResponseWriter, err error) {
	if err != nil {
		say(w, http.StatusServiceUnavailable, strings.Join(strings.Fields(err.Error()), " "))
		return
	}
	say(w, http.StatusOK, "ok")
}

// health returns why only a restart can help; a member that is starting, or
// cannot reach anybody, is well.
func (d *door) health() error {
	if s := d.member.Load(); s != nil {
		return s.failed()
	}
	return nil
}

// ready returns why the member cannot answer reads for its region.
func (d *door) ready() error {
	s := d.member.Load()
	switch {
	case d.stopping.Load():
		return errNoMore
	case s == nil:
		return errNotYet
	}
	return s.ready()
}

func (d *door) sayLevel(w http.ResponseWriter) {
	if d.level == nil {
		say(w, http.StatusNotFound, "the log of this program is not to be set here")
		return
	}
	say(w, http.StatusOK, strings.ToLower(d.level.Level().String()))
}

func (d *door) setLevel(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLevel))
	var level slog.Level
	if err == nil {
		level, err = ParseLevel(strings.TrimSpace(string(text)))
	}
	if err != nil {
		say(w, http.StatusBadRequest, fmt.Sprintf("the body is to be one of %s", levelNames))
		return
	}
	if d.level != nil {
		d.level.Set(level)
	}
	d.sayLevel(w)
}

// levelNames are the levels of a log that people can choose.
const levelNames = "debug, info, warn or error"

// ParseLevel reads the level of a log: debug, info, warn or error. It fails
// with ErrConfig.
func ParseLevel(text string) (slog.Level, error) {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(text, level.String()) {
			return level, nil
		}
	}
	return 0, fmt.Errorf("%w: log level %q; it is %s", ErrConfig, text, levelNames)
}

// ready returns why the member cannot answer reads for its region.
func (s *Server) ready() error {
	if err := s.failed(); err != nil {
		return err
	}
	if !s.network.Connected() {
		return errNoLinks
	}
	return s.replica.Ready()
}

// sample returns what is told to Prometheus. A free space that is not known is
// told as 0.
func (s *Server) sample() metrics.Sample {
	usage, _ := s.disk.Usage()
	regions := map[string]bool{}
	for _, region := range s.config.otherRegions() {
		regions[region] = false
	}
	for region, links := range s.network.Gateways() {
		regions[region] = links.Outbound > 0
	}
	return metrics.Sample{
		Cluster: s.config.Cluster, Member: s.config.Name, Region: s.config.Region, Version: Version,
		Ready: s.ready() == nil, Engine: s.replica.Measure(),
		Store: metrics.Store{Failed: s.failed() != nil, Used: usage.Used, Free: usage.Free, Reserve: usage.Reserve},
		Network: metrics.Network{
			Connected: s.network.Connected(), Routes: s.network.Routes(), Regions: regions,
			Refused: s.network.Refused(), Denied: s.Denied(), Losses: s.losses.Load(),
		},
	}
}
