package server_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/server"
)

// TestJoinByOneAddress: a member of any region that serves applications is all
// that a new one needs to be told. What it learned so it knows after a restart,
// when that member is gone.
func TestJoinByOneAddress(t *testing.T) {
	base := t.TempDir()
	config := func(region, name string, join ...string) server.Config {
		c := alone(filepath.Join(base, name))
		c.Region, c.Name, c.Join = region, name, join
		return c
	}
	first := config("eu", "eu-1")
	first.Cluster, first.Shards = "shop", 16
	eu1 := start(t, first)
	join := func(region, name string) (server.Config, *server.Server) {
		c := config(region, name, eu1.Addresses().Client)
		c.Cluster, c.Shards = "", 0
		return c, start(t, c)
	}
	_, us1 := join("us", "us-1")
	defer stop(t, us1)
	again, us2 := join("us", "us-2")
	_, eu2 := join("eu", "eu-2")
	defer stop(t, eu2)
	all := func(s *server.Server, members int) func() bool {
		return func() bool {
			report, err := s.Client().Verify(t.Context(), 0, nil)
			return err == nil && report.Converged() && len(report.Members) == members && report.Shards == 16
		}
	}
	addTo(t, us2, 7)
	for _, s := range []*server.Server{eu1, us1, us2, eu2} {
		eventually(t, s.Config().Name+" has all", all(s, 4))
	}
	stop(t, eu1)
	stop(t, us2)
	us2 = start(t, again)
	defer stop(t, us2)
	eventually(t, "us-2 is back, without the member that it joined", func() bool {
		return counterIs(t, us2, 7) && us2.Config().Cluster == "shop"
	})
	eventually(t, "us-1 and us-2 see each other", func() bool {
		views, err := us2.Client().Members(t.Context(), "")
		alive := 0
		for _, v := range views {
			if v.GetState() == "alive" && v.GetMember().GetRegion() == "us" {
				alive++
			}
		}
		return err == nil && alive == 2
	})
}

// TestJoinOneAfterTheOther: whoever joins learns of those who are there, also
// while others are joining that know of nobody yet.
func TestJoinOneAfterTheOther(t *testing.T) {
	base := t.TempDir()
	first := start(t, alone(filepath.Join(base, "1")))
	defer stop(t, first)
	for _, name := range []string{"2", "3", "4", "5", "6"} {
		c := alone(filepath.Join(base, name))
		c.Name, c.Join = name, []string{first.Addresses().Client}
		s := start(t, c)
		defer stop(t, s)
		if route := first.Addresses().Cluster; !slices.Contains(s.Config().Join, route) {
			t.Errorf("%s joins %v, want %s among them", name, s.Config().Join, route)
		}
	}
}

// TestJoinRefused: what does not fit is told before anything is made.
func TestJoinRefused(t *testing.T) {
	base := t.TempDir()
	one := start(t, alone(filepath.Join(base, "one")))
	defer stop(t, one)
	for name, test := range map[string]struct {
		change func(*server.Config)
		want   string
	}{
		"cluster": {func(c *server.Config) { c.Cluster = "other" }, `of the cluster "atoll", not "other"`},
		"shards":  {func(c *server.Config) { c.Shards = 9 }, "shards, not 9"},
	} {
		c := alone(filepath.Join(base, name))
		c.Name, c.Join, c.Cluster, c.Shards = name, []string{one.Addresses().Client}, "", 0
		test.change(&c)
		s, err := server.Start(t.Context(), c, nil)
		if !errors.Is(err, server.ErrConfig) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v; want %q", name, s, err, test.want)
		}
		if _, err := os.Stat(c.Data); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the data directory is there, or %v", name, err)
		}
	}
}

// TestJoinLater: an address at which nobody listens yet is taken for that of a
// member of the own region that will.
func TestJoinLater(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c := alone(t.TempDir())
	c.Name, c.Join = "b", []string{address}
	s := start(t, c)
	defer stop(t, s)
	if joined := s.Config().Join; len(joined) != 1 || joined[0] != address {
		t.Errorf("it joins %v, want %s", joined, address)
	}
}
