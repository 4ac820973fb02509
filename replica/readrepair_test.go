package replica

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/memnet"
)

// earless is a transport that, once told so, brings no events and no gossip.
type earless struct {
	transport.Transport
	now atomic.Bool
}

func (d *earless) Subscribe(pattern string, handle func(transport.Message)) (transport.Subscription, error) {
	return d.Transport.Subscribe(pattern, func(m transport.Message) {
		if d.now.Load() && (m.Subject == transport.Gossip || strings.HasPrefix(m.Subject, "delta.")) {
			return
		}
		handle(m)
	})
}

// An owner that a read finds behind gets what it lacks, although nothing else
// tells it of that.
func TestReadRepair(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	a := c.start("a", enrolled("1"))
	c.start("b", enrolled("1"))
	z := &member{cluster: c, options: testOptions("z"), disk: &disk{Store: newMemory()}}
	wire := &earless{}
	z.wrap = func(end transport.Transport) transport.Transport { wire.Transport = end; return wire }
	enrolled("1")(&z.options)
	z.open()
	z.meet()
	c.members = append(c.members, z)
	c.allKnow()
	wire.now.Store(true)
	for i, level := range []pb.Consistency{all, each, all} {
		a.do(incr("c", 1), add("{c}s", fmt.Sprint(i)))
		before := a.Counters()
		answer, err := a.atWithin(level, 30_000, count("c"))
		if err != nil || answer.GetResults()[0].GetNumber() != int64(i+1) {
			t.Fatalf("a read at %v: %v, %v", level, answer, err)
		}
		eventually(t, fmt.Sprintf("z has what was read at %v", level), func() bool { return z.number(card("{c}s")) == int64(i+1) })
		if n := a.Counters()["read_repairs"] - before["read_repairs"]; n == 0 {
			t.Errorf("after a read at %v, no owner was told", level)
		}
	}
	before := a.Counters()
	if _, err := a.atWithin(all, 30_000, count("c")); err != nil {
		t.Fatal(err)
	}
	if n := a.Counters()["read_repairs"] - before["read_repairs"]; n > 0 {
		t.Errorf("%d owners were told, and none was behind", n)
	}
}

// So many owners are told at the same time and no more, and each one thing after
// the other.
func TestReadRepairIsBounded(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	m := &member{cluster: c, options: testOptions("eu"), disk: &disk{Store: newMemory()}}
	c.members = append(c.members, m)
	m.open() // it is not started, so nobody is told yet
	request := &pb.Request{Operations: []*pb.Operation{count("c")}}
	var behind []heard
	for i := range maxTold + 6 {
		behind = append(behind, heard{owner: fmt.Sprint("m", i)})
	}
	behind[1].lower = crdt.VersionVector{1: 3}
	for range 2 {
		m.tellLaggards(m.shards[shardOf("c")], request, crdt.VersionVector{1: 3}, behind)
	}
	if n := m.Counters(); n["read_repairs"] != 2*maxTold || n["read_repairs_left"] != 2*5 {
		t.Errorf("told %d times and left %d times, want %d and %d", n["read_repairs"], n["read_repairs_left"], 2*maxTold, 2*5)
	}
	if n := len(m.laggards.due); n != maxTold {
		t.Errorf("%d wait to be told, want %d", n, maxTold)
	}
	is := laggard{"m0", shardOf("c")}
	first, second, newer := m.laggards.next(is), &pb.Hear{}, &pb.Hear{}
	m.laggards.add(is, second)
	m.laggards.add(is, newer)
	if next := m.laggards.next(is); first == nil || next != newer || m.laggards.next(is) != nil || len(m.laggards.told) != maxTold-1 {
		t.Errorf("it is told %v, then %v; %d are left", first, next, len(m.laggards.told))
	}
}
