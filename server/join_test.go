package server_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/server"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
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

// TestJoinOtherProtocol: a member that is understood by none of those it is to join
// is told so, and which of the two to upgrade, before anything is made, and does not
// get into their table.
func TestJoinOtherProtocol(t *testing.T) {
	one := start(t, alone(filepath.Join(t.TempDir(), "one")))
	defer stop(t, one)
	behind, err := nats.Dial(t.Context(), []string{one.Addresses().Client}, nats.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer behind.Close()
	// What is asked here comes to one as if a program of this protocol had asked.
	front, err := nats.Start(t.Context(), nats.Options{Region: "eu", Name: one.Config().Name})
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	var number atomic.Uint32
	for pattern, question := range map[string]proto.Message{
		transport.Info(transport.Any): &pb.Request{}, transport.Questions(one.Config().Name, transport.Any): &pb.SyncRequest{},
	} {
		if _, err := front.Serve(pattern, "", func(ctx context.Context, m transport.Message) ([]byte, error) {
			asked := question.ProtoReflect().New()
			if err := proto.Unmarshal(m.Data, asked.Interface()); err != nil {
				return nil, err
			}
			asked.Set(asked.Descriptor().Fields().ByName("protocol"), protoreflect.ValueOfUint32(number.Load()))
			data, err := proto.Marshal(asked.Interface())
			if err != nil {
				return nil, err
			}
			return behind.Request(ctx, m.Subject, data)
		}); err != nil {
			t.Fatal(err)
		}
	}
	c := alone(filepath.Join(t.TempDir(), "two"))
	c.Name, c.Join, c.Cluster, c.Shards = "two", []string{front.Addresses().Client}, "", 0
	number.Store(pb.Protocol + 1)
	s, err := server.Start(t.Context(), c, nil)
	if s != nil {
		stop(t, s)
	}
	want := fmt.Sprintf("%d, of a newer Atoll: upgrade this member; it speaks %d to %d", pb.Protocol+1, pb.OldestProtocol, pb.Protocol)
	if !errors.Is(err, server.ErrConfig) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), front.Addresses().Client) {
		t.Errorf("%v; want the address, and %q", err, want)
	}
	if _, err := os.Stat(c.Data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data directory is there, or %v", err)
	}
	if views, err := one.Client().Members(t.Context(), ""); err != nil || len(views) != 1 {
		t.Errorf("the table of members has %v, %v; want one", views, err)
	}
	status, err := one.Client().Status(t.Context(), "", false)
	if err != nil || status.GetCounters()["messages_protocol"] == 0 {
		t.Errorf("it is not counted: %v, %v", status, err)
	}
	number.Store(pb.Protocol) // what it is refused for is the number alone
	if s, err = server.Start(t.Context(), c, nil); err != nil {
		t.Fatal(err)
	}
	stop(t, s)
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
