package replica

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/atolldb/atoll/internal/ring"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/memnet"
)

// inSteps returns a region of two rings of three members each, a step of a change from
// one to the other.
func inSteps(t *testing.T, region string, step int) *regionLayout {
	t.Helper()
	ringOf := func(letter string) *ring.Placement {
		var members []ring.Member
		for i := range 3 {
			members = append(members, ring.Member{Name: fmt.Sprint(region, letter, i), Weight: 1})
		}
		p, err := ring.Place(members, 1, 3)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	old, other := ringOf("a"), ringOf("b")
	return []*regionLayout{{current: old}, {current: old, next: other}, {current: other}}[step]
}

// Two regions may change all their owners at the same time. Whoever gains a shard in one
// hears of every write that a majority has acknowledged by people who did not know that
// this region changes, and may be a step ahead with the other one: whichever owners it
// hears of, and whichever acknowledged.
func TestSourcesMeetQuorums(t *testing.T) {
	members := map[string]*pb.Member{}
	bit := map[string]int{}
	for _, region := range []string{"ap", "eu", "us"} {
		for _, letter := range []string{"a", "b"} {
			for i := range 3 {
				name := fmt.Sprint(region, letter, i)
				bit[name] = len(members)
				members[name] = &pb.Member{Name: name}
			}
		}
	}
	mask := func(owners []string) (m uint) {
		for _, name := range owners {
			m |= 1 << bit[name]
		}
		return m
	}
	majorities := func(of []uint, here uint) bool {
		return !slices.ContainsFunc(of, func(owners uint) bool { return 2*bits.OnesCount(owners&here) <= bits.OnesCount(owners) })
	}
	view := func(eu, us int) *layout {
		return &layout{members: members, regions: map[string]*regionLayout{
			"ap": inSteps(t, "ap", 0), "eu": inSteps(t, "eu", eu), "us": inSteps(t, "us", us),
		}}
	}
	// Who gains and who writes are at most a step apart: the owners between them know.
	for _, steps := range [][2]int{{0, 0}, {0, 1}, {1, 0}, {1, 1}, {1, 2}, {2, 1}, {2, 2}} {
		near, all := view(1, steps[0]).sources("eu", 0)
		asked := []uint{mask(near)}
		for _, owners := range all {
			asked = append(asked, mask(owners))
		}
		var wrote []uint
		for _, byRegion := range view(0, steps[1]).electorates(0) {
			wrote = append(wrote, mask(everyone([]map[string][]string{byRegion})))
		}
		for answered := range uint(1) << len(members) {
			if majorities(asked, answered) && majorities(wrote, ^answered) {
				t.Fatalf("with us at step %d, who gains in eu may hear %b, and none of whom a write took with us at step %d", steps[0], answered, steps[1])
			}
		}
	}
}

// deafened is a transport over which nothing is heard that others say of themselves, once
// that is asked for.
type deafened struct {
	transport.Transport
	on atomic.Bool
}

func (d *deafened) Subscribe(subject string, handle func(transport.Message)) (transport.Subscription, error) {
	return d.Transport.Subscribe(subject, func(m transport.Message) {
		if !d.on.Load() {
			handle(m)
		}
	})
}

// Who takes a shard over goes by the table of members as those have it whom it hears.
// Who is the only owner by the table that it has, as it may be that lost its disk and has
// not heard yet what the table has become, hears that of somebody else first.
func TestCatchUpHearsTheTable(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	c.start("eu-1", inRegion("eu"))
	us := c.start("us-1", inRegion("us"))
	wire := &deafened{}
	heir := &member{cluster: c, options: testOptions("eu-2"), disk: &disk{Store: newMemory()}}
	heir.wrap = func(end transport.Transport) transport.Transport { wire.Transport = end; return wire }
	inRegion("eu")(&heir.options)
	heir.options.Joins = true
	heir.open()
	heir.meet()
	c.members = append(c.members, heir)
	c.allKnow()
	wire.on.Store(true)
	known, err := heir.view()
	if err != nil {
		t.Fatal(err)
	}
	own := &pb.Ring{Owners: 3, Seats: []*pb.Seat{{Name: "eu-2", Weight: 1}}}
	placed, err := heir.placement(own)
	if err != nil {
		t.Fatal(err)
	}
	early := &layout{members: known.members, regions: map[string]*regionLayout{"eu": {layout: &pb.Layout{Current: own}, current: placed}}}
	for name, before := range map[string]*layout{"us-2": known, "us-3": early} {
		ring := &pb.Ring{Owners: 3, Seats: []*pb.Seat{{Name: "us-1", Weight: 1}, {Name: name, Weight: 1}}}
		if err := us.Enroll(&pb.Member{Name: name, Region: "us"}); err != nil {
			t.Fatal(err)
		}
		if err := us.setEntry(layoutPrefix+"us", &pb.Layout{Current: known.regions["us"].layout.GetCurrent(), Next: ring, Number: 99}); err != nil {
			t.Fatal(err)
		}
		before.state = heir.shards[heir.System()].published.Load()
		heir.roster.Store(before)
		_ = heir.catchUp(before, heir.shards[0]) // those are not there
		now, err := heir.view()
		if err != nil {
			t.Fatal(err)
		}
		if in := now.regions["us"]; in == nil || in.next == nil || !slices.Contains(in.next.Owners(0), name) {
			t.Errorf("eu-2 does not know that %s is to be an owner in us: %v", name, in)
		}
	}
}

// Two regions that were told of each other and have not met yet are no cluster each:
// none has a quorum of more than itself, and none goes by its own owners alone before it
// has heard those of the other.
func TestRegionsThatHaveNotMet(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	c.network.Cut("us", "eu")
	c.network.Cut("eu", "us")
	told := func(region, other string) func(*Options) {
		return func(o *Options) {
			inRegion(region)(o)
			o.Joins, o.Told = true, []string{other}
		}
	}
	eu := c.start("eu-1", told("eu", "us"))
	c.start("eu-2", told("eu", "us"))
	us := c.start("us-1", told("us", "eu"))
	c.start("us-2", told("us", "eu"))
	for _, m := range []*member{eu, us} {
		m.do(incr("k", 1))
		eventually(t, m.options.Member+" knows its neighbour", func() bool { return strings.Count(m.seen(), ";") == 1 })
		for _, level := range []pb.Consistency{local, most, each, all, exact} {
			if _, err := m.at(level, incr("k", 1)); !errors.Is(err, ErrNotEnough) || !strings.Contains(err.Error(), "or start it without naming them; nothing was changed") {
				t.Errorf("%s at %v: %v", m.options.Member, level, err)
			}
		}
		l, err := m.view()
		if err != nil {
			t.Fatal(err)
		}
		if l.regions[m.options.Region].isThere() {
			t.Errorf("%s goes by its owners alone", m.options.Member)
		}
	}
	c.network.Restore("us", "eu")
	c.network.Restore("eu", "us")
	c.allKnow()
	for _, m := range []*member{eu, us} {
		if _, err := m.atWithin(pb.Consistency_LINEARIZABLE, 20_000, incr("k", 1)); err != nil {
			t.Error(err)
		}
	}
	c.converge()
	if n := eu.number(count("k")); n != 4 {
		t.Errorf("%d, want 4", n)
	}
}

// A region that is there was told of one that was named and never founded: it takes quorums,
// and whoever joins takes over, as its owners know who was there when they came.
func TestRegionThatNeverCame(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu-1", inRegion("eu"))
	told := func(o *Options) {
		inRegion("eu")(o)
		o.Joins, o.Told = true, []string{"us"}
	}
	second := c.start("eu-2", told)
	if err := eu.Enroll(&pb.Member{Name: "us-1", Region: "us"}); err != nil {
		t.Fatal(err)
	}
	newcomer := c.start("eu-3", told)
	for _, restarts := range []bool{false, true} {
		m := newcomer
		if restarts {
			m = second
			m.restart(nil)
		}
		eventually(t, m.options.Member+" owns what it is to own", func() bool {
			return !slices.ContainsFunc(m.shards[:testShards], func(s *shard) bool { return !s.is(complete) || !s.serving.Load() })
		})
		for _, level := range []pb.Consistency{local, most, each, all, exact} {
			if _, err := m.atWithin(level, 20_000, incr("k", 1)); err != nil {
				t.Errorf("%s at %v: %v", m.options.Member, level, err)
			}
		}
	}
}

// Who is the only owner of its region by the table, and may have lost its disk and with it
// what it knew of others, takes nothing over before it has heard of those who were named to it.
func TestNobodyVouches(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu-1", func(o *Options) { inRegion("eu")(o); o.Joins = true })
	eventually(t, "its region is there", func() bool {
		l, err := eu.view()
		return err == nil && l.regions["eu"] != nil && l.regions["eu"].isThere()
	})
	if err := eu.Enroll(&pb.Member{Name: "eu-2", Region: "eu"}); err != nil {
		t.Fatal(err)
	}
	known, err := eu.view()
	if err != nil {
		t.Fatal(err)
	}
	unsure := *known
	unsure.untold = []string{"us"}
	if _, err := eu.asOfNow(t.Context(), &unsure, eu.shards[0]); !errors.Is(err, ErrNotEnough) || !strings.Contains(err.Error(), "other regions us") {
		t.Errorf("it goes by what it alone knows: %v", err)
	}
}
