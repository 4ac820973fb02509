package nats_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/atolldb/atoll/internal/wan"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
)

const patience = 20 * time.Second

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

func echo(_ context.Context, m transport.Message) ([]byte, error) { return m.Data, nil }

func serve(t *testing.T, on transport.Transport, pattern, group string, handle transport.Handler) transport.Subscription {
	t.Helper()
	sub, err := on.Serve(pattern, group, handle)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// request asks once and gives up after a second.
func request(t *testing.T, from transport.Transport, subject, text string) (string, error) {
	t.Helper()
	return requestWithin(t, time.Second, from, subject, text)
}

func requestWithin(t *testing.T, limit time.Duration, from transport.Transport, subject, text string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	answer, err := from.Request(ctx, subject, []byte(text))
	return string(answer), err
}

func awaitAnswer(t *testing.T, from transport.Transport, subject string) {
	t.Helper()
	eventually(t, subject+" is served", func() bool {
		_, err := request(t, from, subject, "")
		return err == nil
	})
}

func TestBadOptions(t *testing.T) {
	good := nats.Options{Region: "eu", Name: "eu-1"}
	for _, c := range []struct {
		change func(*nats.Options)
		want   []string
	}{
		{func(o *nats.Options) { o.Region = "" }, []string{"Region", "1 to 64 of A-Z a-z 0-9 _ -"}},
		{func(o *nats.Options) { o.Region = "eu.west" }, []string{"Region", "eu.west"}},
		{func(o *nats.Options) { o.Name = strings.Repeat("x", 65) }, []string{"Name"}},
		{func(o *nats.Options) { o.Name = "eu 1" }, []string{"Name", "eu 1"}},
		{func(o *nats.Options) { o.ClientListen = "4222" }, []string{"ClientListen", "4222", "host:port"}},
		{func(o *nats.Options) { o.ClientListen = ":4222" }, []string{"ClientListen", "no host", "0.0.0.0"}},
		{func(o *nats.Options) { o.ClusterListen = "127.0.0.1:http" }, []string{"ClusterListen", "port"}},
		{func(o *nats.Options) { o.GatewayListen = "127.0.0.1:65536" }, []string{"GatewayListen", "65535"}},
		{func(o *nats.Options) { o.GatewayListen = "192.0.2.1:0" }, []string{"for other regions", "192.0.2.1", "cannot assign"}},
		{func(o *nats.Options) { o.GatewayAdvertise = "127.0.0.1:0" }, []string{"GatewayAdvertise", "from 1"}},
		{func(o *nats.Options) { o.Routes = []string{"nats://127.0.0.1:6222"} }, []string{"Routes", "nats://"}},
		{func(o *nats.Options) { o.Gateways = map[string][]string{"us": nil} }, []string{"Gateways", "us", "no address"}},
		{func(o *nats.Options) { o.Gateways = map[string][]string{"u s": {"127.0.0.1:1"}} }, []string{"Gateways", "u s"}},
		{func(o *nats.Options) { o.Gateways = map[string][]string{"us": {"127.0.0.1"}} }, []string{"Gateways", "127.0.0.1", "missing port"}},
		{func(o *nats.Options) { o.MaxInFlight = -1 }, []string{"MaxInFlight"}},
		{func(o *nats.Options) { o.SolicitDelay = -1 }, []string{"SolicitDelay"}},
	} {
		o := good
		c.change(&o)
		s, err := nats.Start(t.Context(), o)
		if err == nil {
			s.Close()
			t.Errorf("Start with a bad option did not fail; want an error with %q", c.want)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q does not say %q on one line", err, want)
			}
		}
	}
}

func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	for peers, o := range map[string]nats.Options{
		"clients":                   {ClientListen: address},
		"members of the own region": {ClusterListen: address},
		"other regions":             {GatewayListen: address},
	} {
		o.Region, o.Name = "eu", "eu-1"
		_, err := nats.Start(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), "for "+peers+" on "+address) ||
			!strings.Contains(err.Error(), "address already in use") {
			t.Errorf("err = %v, want it to name %s and %s", err, peers, address)
		}
	}
}

func TestStartEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := nats.Start(ctx, nats.Options{Region: "eu", Name: "eu-1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want Canceled", err)
	}
	if _, err := nats.Dial(ctx, []string{"127.0.0.1:1"}, nats.DialOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want Canceled", err)
	}
}

func TestLinksAreCounted(t *testing.T) {
	c := newSupercluster(t)
	c.Join("eu", "eu-1")
	c.Join("eu", "eu-2")
	c.Join("us", "us-1")
	eventually(t, "all links are up", func() bool {
		eu1, eu2, us := c.members["eu-1"], c.members["eu-2"], c.members["us-1"]
		toUS := func(s *nats.Server) bool { return s.Gateways()["us"].Outbound == 1 }
		return eu1.Routes() > 0 && eu2.Routes() > 0 && us.Routes() == 0 && toUS(eu1) && toUS(eu2) &&
			us.Gateways()["eu"].Outbound == 1 && us.Gateways()["eu"].Inbound == 2
	})
	if links := c.members["eu-1"].Gateways(); len(links) != 1 {
		t.Errorf("Gateways() = %v, want us only", links)
	}
	c.Cut("us")
	eventually(t, "the links to us are down", func() bool {
		return len(c.members["eu-1"].Gateways()) == 0 && len(c.members["us-1"].Gateways()) == 0
	})
}

// Two members of one name in two regions must not take each other for one.
func TestNamesakesInTwoRegions(t *testing.T) {
	c := newSupercluster(t)
	eu := c.start(c.options("eu", "one"))
	us := c.start(c.options("us", "one"))
	serve(t, eu, "kv.1", "owners", echo)
	awaitAnswer(t, us, "kv.1")
}

// A cable cut: nobody is told, and what was under way arrives after the heal.
func TestSilentCut(t *testing.T) {
	c := newSupercluster(t)
	eu, us := c.Join("eu", "eu-1"), c.Join("us", "us-1")
	var late atomic.Int64
	serve(t, us, "kv.1", "owners", func(_ context.Context, m transport.Message) ([]byte, error) {
		if string(m.Data) == "late" {
			late.Add(1)
		}
		return nil, nil
	})
	awaitAnswer(t, eu, "kv.1")

	c.wan.Cut("us", wan.Silent)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := eu.Request(ctx, "kv.1", []byte("late")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a request into the silence: %v, want DeadlineExceeded", err)
	}
	if _, err := requestWithin(t, patience, us, "kv.1", ""); err != nil {
		t.Errorf("a request inside the region: %v", err)
	}
	if late.Load() != 0 {
		t.Error("a request crossed the cut")
	}
	c.wan.Heal("us")
	if _, err := requestWithin(t, patience, eu, "kv.1", ""); err != nil {
		t.Errorf("the first request after the heal: %v", err)
	}
	eventually(t, "the late request arrives", func() bool { return late.Load() == 1 })
}

func TestHealIsQuick(t *testing.T) {
	c := newSupercluster(t)
	eu, us := c.Join("eu", "eu-1"), c.Join("us", "us-1")
	serve(t, us, "kv.1", "owners", echo)
	awaitAnswer(t, eu, "kv.1")
	answered := func() error {
		_, err := requestWithin(t, 200*time.Millisecond, eu, "kv.1", "")
		return err
	}
	var took []time.Duration
	for range 2 {
		c.Cut("us")
		eventually(t, "us is gone", func() bool { return errors.Is(answered(), transport.ErrNoResponders) })
		c.Heal("us")
		healed := time.Now()
		eventually(t, "us answers", func() bool { return answered() == nil })
		took = append(took, time.Since(healed).Round(time.Millisecond))
	}
	t.Logf("answers %v after the heal", took)
	if slowest := slices.Max(took); slowest > 15*time.Second {
		t.Errorf("it took %v until answers came after a heal", slowest)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	c := newSupercluster(t)
	for _, name := range []string{"eu-1", "us-1"} {
		m := c.Join(name[:2], name)
		serve(t, m, "kv.*", "owners", echo)
		serve(t, m, transport.Sync(name), "", echo)
		if _, err := m.Subscribe("delta.*", func(transport.Message) {}); err != nil {
			t.Fatal(err)
		}
	}
	client, err := nats.Dial(t.Context(), []string{c.members["eu-1"].Addresses().Client}, nats.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	awaitAnswer(t, client, "sync.us-1")
	for range 2 { // the second has nothing to do
		client.Close()
		c.Leave("eu-1")
		c.Leave("us-1")
		if err := c.wan.Close(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all goroutines have ended", func() bool {
		if runtime.NumGoroutine() <= before {
			return true
		}
		runtime.Gosched()
		return false
	})
}

// An endpoint that closes must not disturb the others, although micro can
// only stop them together. A request may get lost at that moment, in a server
// that had looked up the old subscription; that is rare, and all it may do.
func TestServiceChangesUnderLoad(t *testing.T) {
	c := newSupercluster(t)
	eu1, eu2 := c.Join("eu", "eu-1"), c.Join("eu", "eu-2")
	var mu sync.Mutex
	served := map[string]int{} // how often, by text: what is late is not lost
	counting := func(_ context.Context, m transport.Message) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		served[string(m.Data)]++
		return nil, nil
	}
	serve(t, eu1, "kv.1", "owners", counting)
	serve(t, eu1, "sync.eu-1", "", counting)
	awaitAnswer(t, eu2, "kv.1")
	awaitAnswer(t, eu2, "sync.eu-1")

	stop := make(chan struct{})
	var asked atomic.Int64
	var callers sync.WaitGroup
	for _, subject := range []string{"kv.1", "sync.eu-1"} {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				text := fmt.Sprint(asked.Add(1))
				if _, err := requestWithin(t, patience, eu2, subject, text); err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s while others change: %v", subject, err)
					return
				}
			}
		})
	}
	for i := range 50 {
		sub := serve(t, eu1, fmt.Sprintf("kv.%d", 2+i), "owners", echo)
		if err := sub.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	callers.Wait()
	mu.Lock()
	defer mu.Unlock()
	delete(served, "") // of those that found out when all was ready
	lost := int(asked.Load()) - len(served)
	t.Logf("%d requests, %d lost", asked.Load(), lost)
	if lost < 0 || lost > 2 || asked.Load() < 50 {
		t.Errorf("of %d requests %d were lost", asked.Load(), lost)
	}
	for text, times := range served {
		if times > 1 {
			t.Errorf("request %s was served %d times", text, times)
		}
	}
}

func TestDiscovery(t *testing.T) {
	c := newSupercluster(t)
	eu := c.start(c.options("eu", "eu-1"))
	serve(t, eu, "kv.*", "owners", func(_ context.Context, m transport.Message) ([]byte, error) {
		return nil, errors.New("no")
	})
	gone := serve(t, eu, "info", "owners", echo)
	serve(t, eu, "sync.eu-1", "", echo)
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := request(t, eu, "kv.1", ""); err == nil {
		t.Fatal("no error")
	}

	tool, err := natsgo.Connect("nats://" + eu.Addresses().Client)
	if err != nil {
		t.Fatal(err)
	}
	defer tool.Close()
	var stats micro.Stats
	eventually(t, "the service is found", func() bool {
		reply, err := tool.Request("$SRV.STATS.atoll", nil, time.Second)
		if err != nil {
			return false
		}
		if err := json.Unmarshal(reply.Data, &stats); err != nil {
			t.Fatal(err)
		}
		return len(stats.Endpoints) == 2 // not the old one with three
	})
	if stats.Metadata["member"] != "eu.eu-1" {
		t.Errorf("metadata %v", stats.Metadata)
	}
	for _, e := range stats.Endpoints {
		var data struct{ Handled, Failed int }
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatal(err)
		}
		switch e.Name {
		case "kv-all":
			if e.Subject != "kv.*" || e.QueueGroup != "owners" || data.Handled != 1 || data.Failed != 1 {
				t.Errorf("endpoint %+v, data %+v", e, data)
			}
		case "sync-eu-1":
		default:
			t.Errorf("endpoint %q", e.Name)
		}
	}
	reply, err := tool.Request("kv.1", nil, time.Second)
	if err != nil || reply.Header.Get(micro.ErrorCodeHeader) != "500" || reply.Header.Get(micro.ErrorHeader) != "no" {
		t.Errorf("a tool's request: %v, %v", reply, err)
	}
}

// A subscriber that blocks loses messages and is told so; afterwards it goes on.
func TestSlowSubscriber(t *testing.T) {
	c := newSupercluster(t)
	o := c.options("eu", "eu-1")
	reasons := make(chan string, 10)
	o.Lost = func(reason string) { reasons <- reason }
	eu := c.start(o)
	release, last := make(chan struct{}), make(chan struct{}, 1)
	var received atomic.Int64
	_, err := eu.Subscribe("delta.*", func(m transport.Message) {
		<-release
		if string(m.Data) == "" {
			received.Add(1)
			return
		}
		select {
		case last <- struct{}{}:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for reported := false; !reported; {
		for range 1000 {
			if err := eu.Publish("delta.1", nil); err != nil {
				t.Fatal(err)
			}
		}
		if sent += 1000; sent > 1_000_000 {
			t.Fatal("a million messages wait for a slow subscriber")
		}
		select {
		case reason := <-reasons:
			reported = true
			if !strings.Contains(reason, "slow") || !strings.Contains(reason, "delta.*") {
				t.Errorf("reason %q", reason)
			}
		default:
		}
	}
	close(release)
	eventually(t, "the subscriber receives again", func() bool {
		if err := eu.Publish("delta.1", []byte("last")); err != nil {
			t.Fatal(err)
		}
		select {
		case <-last:
			return true
		case <-time.After(10 * time.Millisecond):
			return false
		}
	})
	if got := received.Load(); got >= int64(sent) {
		t.Errorf("received %d of %d: nothing was lost", got, sent)
	}
}
