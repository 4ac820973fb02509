package server_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/ring"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/wan"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/replica"
	"github.com/atolldb/atoll/server"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
)

// patience bounds every wait.
const patience = 30 * time.Second

// alone is the configuration of a member that needs no other.
func alone(data string) server.Config {
	return server.Config{
		Region: "eu", Data: data, Shards: 16, Listen: server.Listen{Client: "127.0.0.1:0"},
		SolicitDelay: 5 * time.Millisecond, GossipInterval: 50 * time.Millisecond,
	}
}

func start(t *testing.T, c server.Config) *server.Server {
	t.Helper()
	s, err := server.Start(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stop(t *testing.T, s *server.Server) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	for !so() {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			t.Fatal("waited in vain: ", what)
		}
	}
}

// noneLeft checks that no goroutine is left of those that ran on top of
// before.
func noneLeft(t *testing.T, before int) {
	t.Helper()
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	stop(t, start(t, alone(dir))) // libraries start what stays for good
	before := runtime.NumGoroutine()
	for i := range 3 {
		s := start(t, alone(dir))
		if n, err := s.Client().Counter("starts").Add(t.Context(), 1); err != nil || n != int64(i+1) {
			t.Errorf("start %d: counter %d, %v", i+1, n, err)
		}
		stop(t, s)
		noneLeft(t, before)
	}
}

// TestFailedStart: a start that fails half-way leaves nothing that keeps the
// next from succeeding.
func TestFailedStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	stop(t, start(t, alone(dir)))
	before := runtime.NumGoroutine()
	for name, test := range map[string]struct {
		ctx    context.Context
		change func(*server.Config)
		want   error // nil: any
		text   string
	}{
		"client port taken":  {t.Context(), func(c *server.Config) { c.Listen.Client = taken.Addr().String() }, nil, "already in use"},
		"route port taken":   {t.Context(), func(c *server.Config) { c.Listen.Route = taken.Addr().String() }, nil, "already in use"},
		"gateway port taken": {t.Context(), func(c *server.Config) { c.Listen.Gateway = taken.Addr().String() }, nil, "already in use"},
		"strange address":    {t.Context(), func(c *server.Config) { c.Listen.Client, c.Insecure = "192.0.2.1:0", true }, nil, "an address of this machine"},
		"another cluster":    {t.Context(), func(c *server.Config) { c.Cluster = "other" }, replica.ErrForeign, "atoll, not other"},
		"other shards":       {t.Context(), func(c *server.Config) { c.Shards = 8 }, replica.ErrForeign, "16 shards, not 8"},
		"given up":           {ended, func(*server.Config) {}, context.Canceled, ""},
		"no region":          {t.Context(), func(c *server.Config) { c.Region = "" }, server.ErrConfig, "region"},
	} {
		t.Run(name, func(t *testing.T) {
			config := alone(dir)
			test.change(&config)
			s, err := server.Start(test.ctx, config, nil)
			if err == nil {
				stop(t, s)
			}
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("Start: %v; want %v, %q", err, test.want, test.text)
			}
			stop(t, start(t, alone(dir)))
		})
	}
	noneLeft(t, before)
}

func TestDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	s := start(t, alone(dir))
	defer stop(t, s)
	if _, err := server.Start(t.Context(), alone(dir), nil); !errors.Is(err, store.ErrInUse) {
		t.Errorf("a second member: %v; want ErrInUse", err)
	}
	if _, err := s.Client().Counter("k").Add(t.Context(), 1); err != nil {
		t.Errorf("the first one afterwards: %v", err)
	}
}

// TestEmbedded: the client of an embedded member does what one from afar does,
// and both see the same.
func TestEmbedded(t *testing.T) {
	s := start(t, alone(t.TempDir()))
	defer stop(t, s)
	far, err := client.Connect(t.Context(), client.Options{Servers: []string{s.Addresses().Client}})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	near := s.Client()
	ctx := t.Context()
	for name, c := range map[string]*client.Client{"near": near, "far": far} {
		if _, err := c.Counter("counter").Add(ctx, 2); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Set("set").Add(ctx, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Register("none").Get(ctx); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("%s: no register: %v", name, err)
		}
		if _, err := c.Counter("").Value(ctx); !errors.Is(err, client.ErrInvalid) {
			t.Errorf("%s: an empty key: %v", name, err)
		}
	}
	for name, c := range map[string]*client.Client{"near": near, "far": far} {
		value, err := c.Counter("counter").Value(ctx)
		n, err2 := c.Set("set").Len(ctx)
		if value != 4 || n != 2 || err != nil || err2 != nil {
			t.Errorf("%s sees %d, %v and %d elements, %v; want 4 and 2", name, value, err, n, err2)
		}
		status, err := c.Status(ctx, "", false)
		if err != nil || status.GetMember() != "eu" || status.GetVersion() != server.Version {
			t.Errorf("%s: status %v, %v", name, status, err)
		}
		eventually(t, name+" finds all converged", func() bool { // once the owners are settled
			report, err := c.Verify(ctx, 0, nil)
			return err == nil && report.Converged()
		})
	}
}

// TestAfterClose: an embedded client of a member that is closed is told so,
// whatever it calls, and that nothing was changed.
func TestAfterClose(t *testing.T) {
	s := start(t, alone(t.TempDir()))
	c := s.Client()
	quorum, err := c.At(client.Quorum)
	if err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	for name, call := range map[string]func(ctx context.Context) error{
		"Add":        func(ctx context.Context) error { _, err := c.Counter("k").Add(ctx, 1); return err },
		"AddUnnamed": func(ctx context.Context) error { _, err := c.Counter("k").AddUnnamed(ctx, 1); return err },
		"Value":      func(ctx context.Context) error { _, err := c.Counter("k").Value(ctx); return err },
		"Set":        func(ctx context.Context) error { return c.Register("k").Set(ctx, []byte("v")) },
		"quorum":     func(ctx context.Context) error { return quorum.Register("k").Set(ctx, []byte("v")) },
		"session":    func(ctx context.Context) error { _, err := c.Session().Set("k").Len(ctx); return err },
		"Delete":     func(ctx context.Context) error { _, err := c.Delete(ctx, "k"); return err },
		"Status":     func(ctx context.Context) error { _, err := c.Status(ctx, "", false); return err },
		"Verify":     func(ctx context.Context) error { _, err := c.Verify(ctx, 0, nil); return err },
		"SetOwners":  func(ctx context.Context) error { _, err := c.SetOwners(ctx, 2); return err },
		"later":      func(ctx context.Context) error { _, err := s.Client().Counter("k").Value(ctx); return err },
	} {
		err := call(t.Context())
		if want := "the embedded member is closed; nothing was changed"; !errors.Is(err, client.ErrUnreachable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want ErrUnreachable, %q", name, err, want)
		}
	}
}

// TestCloseMeanwhile: what is under way while a member is closed is not known to be
// done, or was not done; no disk failed, and nothing that was acknowledged is lost.
func TestCloseMeanwhile(t *testing.T) {
	config := alone(t.TempDir())
	s := start(t, config)
	c := s.Client()
	var callers sync.WaitGroup
	var added, unknown atomic.Int64
	begun := make(chan struct{}, 16)
	for range cap(begun) / 2 {
		callers.Go(func() {
			begun <- struct{}{}
			for {
				switch _, err := c.Counter("k").Add(t.Context(), 1); {
				case err == nil:
					added.Add(1)
					continue
				case errors.Is(err, client.ErrOutcomeUnknown):
					unknown.Add(1)
				case !errors.Is(err, client.ErrUnreachable):
					t.Errorf("a write: %v", err)
				}
				return
			}
		})
		callers.Go(func() {
			begun <- struct{}{}
			_, err := c.Counter("k").Value(t.Context())
			for err == nil {
				_, err = c.Counter("k").Value(t.Context())
			}
			if !errors.Is(err, client.ErrUnreachable) {
				t.Errorf("a read: %v", err)
			}
		})
	}
	for range cap(begun) {
		<-begun
	}
	stop(t, s)
	callers.Wait()
	s = start(t, config)
	defer stop(t, s)
	n, err := s.Client().Counter("k").Value(t.Context())
	if least := added.Load(); err != nil || n < least || n > least+unknown.Load() {
		t.Errorf("%d, %v; %d were acknowledged, and of %d it is not known", n, err, least, unknown.Load())
	}
}

// regions starts eu-1 and eu-2, which join, and us-1.
func regions(t *testing.T) (eu1, eu2, us1 *server.Server) {
	t.Helper()
	dir := t.TempDir()
	config := func(region, name string) server.Config {
		c := alone(filepath.Join(dir, name))
		c.Region, c.Name = region, name
		return c
	}
	eu1 = start(t, config("eu", "eu-1"))
	second := config("eu", "eu-2")
	second.Join = []string{eu1.Addresses().Cluster}
	eu2 = start(t, second)
	other := config("us", "us-1")
	other.Regions = map[string][]string{"eu": {eu1.Addresses().Gateway, eu2.Addresses().Gateway}}
	us1 = start(t, other)
	eventually(t, "all three know each other", func() bool {
		for _, s := range []*server.Server{eu1, eu2, us1} {
			report, err := s.Client().Verify(t.Context(), 0, nil)
			if err != nil || len(report.Members) != 3 || !report.Converged() {
				return false
			}
		}
		return true
	})
	return eu1, eu2, us1
}

// servedBy returns who answers a read in a region.
func servedBy(t *testing.T, conn transport.Transport, region, key string) string {
	t.Helper()
	request, err := proto.Marshal(&pb.Request{Operations: []*pb.Operation{
		{Key: []byte(key), What: &pb.Operation_CounterGet{CounterGet: &pb.Empty{}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	reply, err := conn.Request(ctx, transport.Requests(region, ring.Shard(key, 16), transport.Trusted), request)
	var answer pb.Answer
	if err == nil {
		err = proto.Unmarshal(reply, &answer)
	}
	if err != nil || answer.GetError() != nil {
		t.Fatalf("%v, %v", err, answer.GetError())
	}
	return answer.GetMember()
}

// TestShortCut: what was lost while regions could not reach each other is made
// up for when they can, and not when gossip happens to come round to it.
func TestShortCut(t *testing.T) {
	network, err := wan.New("eu", "us")
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	dir := t.TempDir()
	var members []*server.Server
	for _, region := range []string{"eu", "us"} {
		c := alone(filepath.Join(dir, region))
		c.Region, c.Regions = region, network.Addresses()
		c.GatewayAdvertise = c.Regions[region][0]
		delete(c.Regions, region)
		c.GossipInterval = time.Hour
		s := start(t, c)
		defer stop(t, s)
		network.Attach(region, s.Addresses().Gateway)
		members = append(members, s)
	}
	ctx := t.Context()
	elements := func(s *server.Server, n int) func() bool {
		return func() bool {
			got, err := s.Client().Set("written").Len(ctx)
			return err == nil && got == n
		}
	}
	for round := range 2 {
		for _, s := range members {
			if _, err := s.Client().Set("written").Add(ctx, fmt.Sprint(s.Config().Region, round)); err != nil {
				t.Fatal(err)
			}
		}
		network.Heal("us")
		for _, s := range members {
			eventually(t, s.Config().Region+" has it all", elements(s, 2*(round+1)))
		}
		network.Cut("us", wan.Reset)
	}
}

func TestTwoMembersAndTwoRegions(t *testing.T) {
	eu1, eu2, us1 := regions(t)
	ctx := t.Context()
	for i, s := range []*server.Server{eu1, eu2, us1} {
		if _, err := s.Client().Set("written").Add(ctx, s.Config().Name); err != nil {
			t.Fatalf("member %d: %v", i, err)
		}
	}
	for _, s := range []*server.Server{eu1, eu2, us1} {
		eventually(t, "every write is in "+s.Config().Name, func() bool {
			n, err := s.Client().Set("written").Len(ctx)
			return err == nil && n == 3
		})
	}

	// Requests are served at home, by either member.
	dial := func(urls ...string) *nats.Conn {
		conn, err := nats.Dial(ctx, urls, nats.DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	served := map[string]int{}
	inEU, inUS := dial(eu2.Addresses().Client), dial(us1.Addresses().Client)
	for i := range 64 {
		served["eu by "+servedBy(t, inEU, "eu", fmt.Sprint("key-", i))]++
		served["us by "+servedBy(t, inUS, "us", fmt.Sprint("key-", i))]++
	}
	if len(served) != 3 || served["eu by eu-1"]+served["eu by eu-2"] != 64 || served["us by us-1"] != 64 {
		t.Errorf("requests were served so: %v", served)
	}

	// Without one member, the other one serves.
	far, err := client.Connect(ctx, client.Options{Servers: []string{eu1.Addresses().Client, eu2.Addresses().Client, us1.Addresses().Client}})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	stop(t, eu1)
	eventually(t, "a write is taken without eu-1", func() bool {
		n, err := far.Counter("without eu-1").Add(ctx, 1)
		return err == nil && n > 0
	})
	if by := servedBy(t, inEU, "eu", "key"); by != "eu-2" {
		t.Errorf("with eu-1 gone, %s serves eu", by)
	}

	// Without a region, the other one serves its clients.
	value, err := far.Counter("without eu-1").Value(ctx)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "us-1 has what eu-2 took", func() bool {
		n, err := us1.Client().Counter("without eu-1").Value(ctx)
		return err == nil && n == value
	})
	stop(t, eu2)
	eventually(t, "a write is taken without eu", func() bool {
		n, err := far.Counter("without eu").Add(ctx, 1)
		return err == nil && n > 0
	})
	if n, err := far.Counter("without eu-1").Value(ctx); err != nil || n != value {
		t.Errorf("us says %d, %v; want %d", n, err, value)
	}
	stop(t, us1)
}
