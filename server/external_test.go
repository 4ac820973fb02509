package server_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/ports"
	"github.com/atolldb/atoll/server"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
)

// supercluster is examples/external-nats, on ports that are free, of processes of
// nats-server.
type supercluster struct {
	t            *testing.T
	program, dir string
	ports        map[string]string // those of the example to those taken here
	running      map[string]*exec.Cmd
}

var externalRegions = []string{"eu", "us", "ap"}

// passwords are what the configuration takes from the environment.
var passwords = []string{"MEMBER_PASSWORD=m1", "APP_PASSWORD=a1", "ROOT_PASSWORD=r1", "GATEWAY_PASSWORD=g1"}

func newSupercluster(t *testing.T) *supercluster {
	t.Helper()
	s := &supercluster{t: t, dir: t.TempDir(), ports: map[string]string{}, running: map[string]*exec.Cmd{}}
	s.program = filepath.Join(s.dir, "nats-server")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", s.program, "github.com/nats-io/nats-server/v2")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var replaced []string
	for i := range externalRegions {
		for _, port := range []string{fmt.Sprint(4301 + i), fmt.Sprint(7301 + i)} {
			s.ports[port] = freePort(t)
			replaced = append(replaced, ":"+port, ":"+s.ports[port])
		}
	}
	example, err := filepath.Glob(filepath.Join("..", "examples", "external-nats", "*.conf"))
	if err != nil || len(example) == 0 {
		t.Fatal("there is no configuration: ", err)
	}
	for _, path := range example {
		text, err := os.ReadFile(path)
		if err == nil {
			text = []byte(strings.NewReplacer(replaced...).Replace(string(text)))
			err = os.WriteFile(filepath.Join(s.dir, filepath.Base(path)), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, region := range externalRegions {
		s.start(region)
	}
	t.Cleanup(func() {
		for region := range s.running {
			s.kill(region)
		}
	})
	return s
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := ports.Draw()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}

// start starts the server of a region, and waits until it takes clients.
func (s *supercluster) start(region string) {
	s.t.Helper()
	run := exec.Command(s.program, "-c", filepath.Join(s.dir, region+".conf"), "-l", filepath.Join(s.dir, region+".log"))
	run.Env = append(os.Environ(), passwords...)
	if err := run.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.running[region] = run
	eventually(s.t, "the NATS server of "+region+" listens", func() bool {
		conn, err := net.Dial("tcp", s.address(region))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

func (s *supercluster) kill(region string) {
	s.t.Helper()
	if err := s.running[region].Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	_ = s.running[region].Wait()
	delete(s.running, region)
}

func (s *supercluster) address(region string) string {
	for i, r := range externalRegions {
		if r == region {
			return "127.0.0.1:" + s.ports[fmt.Sprint(4301+i)]
		}
	}
	return ""
}

// as is the address of a region with how a user logs in there.
func (s *supercluster) as(user, region string) string {
	return "nats://" + user + ":" + user[:1] + "1@" + s.address(region)
}

// member is the configuration of a member that uses the servers.
func (s *supercluster) member(region, name string) server.Config {
	c := alone(filepath.Join(s.dir, name))
	c.Region, c.Name, c.Listen, c.NATS = region, name, server.Listen{}, []string{s.as("member", region)}
	return withDoor(c)
}

func (s *supercluster) client(user string, regions ...string) *client.Client {
	s.t.Helper()
	var servers []string
	for _, region := range regions {
		servers = append(servers, s.as(user, region))
	}
	c, err := client.Connect(s.t.Context(), client.Options{Servers: servers, Timeout: patience})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestExternalNATS: members of three regions use three NATS servers of somebody
// else, by examples/external-nats. A region that loses its server takes writes all
// the same, by those who embed the member, and has missed nothing once it is back.
func TestExternalNATS(t *testing.T) {
	s := newSupercluster(t)
	members := map[string]*server.Server{}
	for _, name := range []string{"eu-1", "us-1", "ap-1", "eu-2"} {
		members[name] = start(t, s.member(name[:2], name))
		defer stop(t, members[name])
		becomes(t, members[name], "/readyz", http.StatusOK)
	}
	agree := func() bool {
		for _, m := range members {
			report, err := m.Client().Verify(t.Context(), 0, nil)
			if err != nil || !report.Converged() || len(report.Members) != len(members) {
				return false
			}
		}
		return true
	}
	eventually(t, "all agree", agree)
	if status, err := members["eu-1"].Client().Status(t.Context(), "", false); err != nil || !slices.Equal(status.GetRegions(), []string{"ap", "us"}) {
		t.Errorf("eu-1 knows the regions %v, %v", status.GetRegions(), err)
	}
	s.isolates(members)
	if _, err := client.Connect(t.Context(), client.Options{Servers: []string{s.as("app", "eu")}}); !errors.Is(err, client.ErrForbidden) {
		t.Errorf("a user who stands in no table: %v; want ErrForbidden", err)
	}
	if _, err := s.client("root", "eu").PutUser(t.Context(), client.User{Name: "app", Role: client.Writer}, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all members know the user", func() bool {
		for _, m := range members {
			if users, err := m.Client().Users(t.Context()); err != nil || len(users) != 1 {
				return false
			}
		}
		return true
	})

	app := s.client("app", "eu", "us")
	if _, err := app.Counter("k").Add(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ap has what eu was told", func() bool { return counterIs(t, members["ap-1"], 1) })

	s.kill("eu")
	becomes(t, members["eu-1"], "/readyz", http.StatusServiceUnavailable, "no connection to its NATS server")
	becomes(t, members["eu-1"], "/metrics", http.StatusOK, "atoll_network_connected 0", "atoll_ready 0")
	becomes(t, members["eu-1"], "/healthz", http.StatusOK)
	addTo(t, members["eu-1"], 10)
	addTo(t, members["us-1"], 100)
	if _, err := app.Counter("k").Add(t.Context(), 1000); err != nil { // in us, its second address
		t.Error(err)
	}
	eventually(t, "ap goes on with us", func() bool { return counterIs(t, members["ap-1"], 1101) })
	if !counterIs(t, members["eu-1"], 11) {
		t.Error("eu-1 does not count on by itself")
	}

	began := time.Now()
	s.start("eu")
	for name, m := range members {
		eventually(t, name+" has all of it", func() bool { return counterIs(t, m, 1111) })
	}
	eventually(t, "all agree again", agree)
	t.Logf("all agree %v after the NATS server of eu is back", time.Since(began).Round(time.Millisecond))
}

// isolates checks what each account reaches.
func (s *supercluster) isolates(members map[string]*server.Server) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	var views []string
	listed, err := s.client("root", "us").Members(ctx, "eu-1")
	for _, v := range listed {
		views = append(views, v.GetMember().GetName()+" "+v.GetState())
	}
	if err != nil || len(views) != len(members) {
		s.t.Errorf("root sees %v, %v", views, err)
	}
	app, err := nats.Dial(ctx, []string{s.as("app", "eu")}, nats.DialOptions{User: "app"})
	if err != nil {
		s.t.Fatal(err)
	}
	defer app.Close()
	overheard := make(chan string, 1000)
	for _, pattern := range []string{transport.AllDeltas, transport.Gossip, transport.Heartbeat, "kv.*.*.*"} {
		if _, err := app.Subscribe(pattern, func(m transport.Message) { overheard <- m.Subject }); err != nil {
			s.t.Fatal(err)
		}
	}
	before := counters(s.t, members["eu-1"])["messages_malformed"]
	for _, subject := range []string{transport.Delta(1), transport.Gossip, transport.Heartbeat, transport.Sync("eu-1"), transport.Questions("eu-1", transport.Trusted)} {
		if err := app.Publish(subject, []byte("nonsense")); err != nil {
			s.t.Error(err)
		}
	}
	// What comes later was looked at later.
	if _, err := app.Request(ctx, transport.Info("app"), nil); err != nil {
		s.t.Error(err)
	}
	addTo(s.t, members["us-1"], 5)
	addTo(s.t, members["us-1"], -5)
	eventually(s.t, "members hear of it", func() bool { return counterIs(s.t, members["eu-1"], 0) })
	if after := counters(s.t, members["eu-1"])["messages_malformed"]; after != before {
		s.t.Errorf("members hear what an application publishes: %d malformed messages, %d before", after, before)
	}
	if len(overheard) > 0 {
		s.t.Errorf("an application hears what members say: %s", <-overheard)
	}
}

func counters(t *testing.T, m *server.Server) map[string]uint64 {
	t.Helper()
	status, err := m.Client().Status(t.Context(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	return status.GetCounters()
}

// TestExternalRefused: what does not fit together is told before anything is made.
func TestExternalRefused(t *testing.T) {
	base := t.TempDir()
	one := start(t, alone(filepath.Join(base, "one")))
	defer stop(t, one)
	for name, test := range map[string]struct {
		change func(*server.Config)
		want   string
	}{
		"no name":       {func(c *server.Config) { c.Name = "" }, "a name of its own"},
		"listens":       {func(c *server.Config) { c.Listen.Client = "127.0.0.1:0" }, "an address to listen for clients"},
		"routes":        {func(c *server.Config) { c.Listen.Route = "127.0.0.1:0" }, "an address to listen for routes"},
		"gateways":      {func(c *server.Config) { c.Listen.Gateway = "127.0.0.1:0" }, "an address to listen for gateways"},
		"joins":         {func(c *server.Config) { c.Join = []string{"127.0.0.1:1"} }, "a member to join"},
		"regions":       {func(c *server.Config) { c.Regions = map[string][]string{"us": {"127.0.0.1:1"}} }, "a gateway of another region"},
		"advertises":    {func(c *server.Config) { c.GatewayAdvertise = "127.0.0.1:1" }, "advertise"},
		"two ways in":   {func(c *server.Config) { c.NATSCredentials, c.NATSNkey = "a", "b" }, "take one"},
		"no key":        {func(c *server.Config) { c.NATSCert = "a" }, "go together"},
		"no file":       {func(c *server.Config) { c.NATSNkey = filepath.Join(base, "nowhere") }, "no such file"},
		"no server":     {func(c *server.Config) { c.NATS, c.NATSCA = nil, "a" }, "name one as nats"},
		"other cluster": {func(c *server.Config) { c.Cluster = "other" }, `is "atoll", not "other"`},
		"other shards":  {func(c *server.Config) { c.Shards = 9 }, "16 shards, not 9"},
	} {
		c := alone(filepath.Join(base, "two"))
		c.Name, c.Listen, c.NATS = "two", server.Listen{}, []string{one.Addresses().Client}
		test.change(&c)
		s, err := server.Start(t.Context(), c, nil)
		if err == nil {
			stop(t, s)
		}
		if !errors.Is(err, server.ErrConfig) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want ErrConfig, %q", name, err, test.want)
		}
		if _, err := os.Stat(c.Data); err == nil {
			t.Fatalf("%s: a directory is left behind", name)
		}
	}
}

// TestExternalAway: a member that finds no server starts all the same, takes
// writes, and meets the others later.
func TestExternalAway(t *testing.T) {
	base := t.TempDir()
	port := freePort(t)
	c := alone(filepath.Join(base, "eu-1"))
	c.Name, c.Listen, c.NATS = "eu-1", server.Listen{}, []string{"127.0.0.1:" + port}
	eu1 := start(t, c)
	defer stop(t, eu1)
	eventually(t, "it takes a write", func() bool {
		_, err := eu1.Client().Set("s").Add(t.Context(), "x")
		return err == nil
	})
	quorum, err := eu1.Client().At(client.Quorum)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := quorum.Set("s").Add(t.Context(), "y"); !errors.Is(err, client.ErrNotEnough) {
		t.Errorf("alone, it takes itself for the majority: %v", err)
	}
	// A member with a server of its own lets others use that.
	host := alone(filepath.Join(base, "eu-2"))
	host.Name, host.Listen.Client = "eu-2", "127.0.0.1:"+port
	eu2 := start(t, host)
	defer stop(t, eu2)
	eventually(t, "they have met", func() bool {
		has, err := eu2.Client().Set("s").Has(t.Context(), "x")
		report, failed := eu1.Client().Verify(t.Context(), 0, nil)
		return err == nil && has && failed == nil && report.Converged() && len(report.Members) == 2
	})
}
