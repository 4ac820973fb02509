package replica

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/membership"
	"github.com/atolldb/atoll/internal/ring"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/memnet"
)

// enrolled has a member stand in the table, and beat fast.
func enrolled(version string) func(*Options) {
	return func(o *Options) {
		o.Record = func() *pb.Member {
			return &pb.Member{Name: o.Member, Region: o.Region, Weight: 1, Version: version, Client: o.Member + ":4222"}
		}
		o.Heartbeats = membership.Config{
			Interval: 10 * time.Millisecond, Slack: 20 * time.Millisecond, Patience: 100 * time.Millisecond,
		}
	}
}

// seen returns the table as a member has it, and how it sees the others.
func (m *member) seen() string {
	m.cluster.t.Helper()
	members, err := m.Members()
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	var text []string
	for _, v := range members.GetMembers() {
		is := v.GetMember()
		text = append(text, fmt.Sprintf("%s in %s at %s, version %s, %s", is.GetName(), is.GetRegion(), is.GetClient(), is.GetVersion(), v.GetState()))
	}
	return strings.Join(text, "; ")
}

// Every member stands in the table of every other one, as it said last. Who
// falls silent is found down, who says goodbye has left, and who comes back is
// alive again.
func TestMembers(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu, us, ap := c.start("eu", enrolled("1")), c.start("us", enrolled("1")), c.start("ap", enrolled("1"))
	table := func(usIs, usVersion, apIs string) string {
		return "ap in ap at ap:4222, version 1, " + apIs + "; eu in eu at eu:4222, version 1, alive; " +
			"us in us at us:4222, version " + usVersion + ", " + usIs
	}
	sees := func(m *member, want string) {
		t.Helper()
		eventually(t, m.options.Member+" sees "+want, func() bool { return m.seen() == want })
	}
	for _, m := range []*member{eu, us, ap} {
		sees(m, table("alive", "1", "alive"))
	}
	c.network.CutRegion("us") // it falls silent, without a word
	us.stop()
	c.network.RestoreRegion("us")
	sees(eu, table("down", "1", "alive"))
	ap.stop()
	sees(eu, table("down", "1", "left"))
	enrolled("2")(&us.options)
	us.restart(nil)
	ap.restart(nil)
	for _, m := range []*member{eu, us, ap} {
		sees(m, table("alive", "2", "alive"))
	}
}

// A record that says what it said before is not written again.
func TestEnrollOnce(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu", enrolled("1"))
	c.allKnow()
	before := eu.State(eu.System())
	if len(before.Vector) == 0 {
		t.Fatal("the table is empty")
	}
	eu.restart(nil)
	if now := eu.State(eu.System()); now.Root != before.Root || now.Vector.Compare(before.Vector) != crdt.Equal {
		t.Errorf("the table went from %v to %v", before, now)
	}
}

// One that was never heard since the start is expected all the same: the table
// says that it should be there.
func TestNeverHeard(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu, us := c.start("eu", enrolled("1")), c.start("us", enrolled("1"))
	eventually(t, "eu knows of us", func() bool { return strings.Contains(eu.seen(), "us in us") })
	c.network.CutRegion("us")
	us.stop()
	eu.restart(nil)
	eventually(t, "us is missed", func() bool { return strings.Contains(eu.seen(), "us:4222, version 1, down") })
}

// A member that is gone for good is removed, and counts no more; one that is
// there is not, and one that was removed comes back when it is started.
func TestRemoveMember(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu, us, ap := c.start("eu", enrolled("1")), c.start("us", enrolled("1")), c.start("ap", enrolled("1"))
	c.allKnow()
	for name, want := range map[string]error{"us": ErrPresent, "eu": ErrPresent, "nobody": crdt.ErrInvalid} {
		if err := eu.Remove(t.Context(), name); !errors.Is(err, want) {
			t.Errorf("removing %s: %v, want %v", name, err, want)
		}
	}
	us.stop()
	eventually(t, "us has left", func() bool { return strings.Contains(eu.seen(), "us:4222, version 1, left") })
	if err := eu.Remove(t.Context(), "us"); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*member{eu, ap} {
		eventually(t, m.options.Member+" knows two", func() bool { return strings.Count(m.seen(), "; ") == 1 })
		if _, err := m.atWithin(all, 20_000, incr("c", 1)); err != nil {
			t.Errorf("with all who are left: %v", err)
		}
	}
	us.restart(nil)
	c.allKnow()
}

// A member that was started empty, and should know others, is no majority by
// itself.
func TestNoMajorityAlone(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu", func(o *Options) { enrolled("1")(o); o.Joins = true })
	for _, level := range levels[1:] {
		if _, err := eu.at(level, incr("c", 1)); !errors.Is(err, ErrNotEnough) || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("a write at %v: %v", level, err)
		}
	}
	if n := eu.number(count("c")); n != 0 {
		t.Errorf("the counter is %d", n)
	}
	c.start("us", enrolled("1"))
	c.allKnow()
	if _, err := eu.atWithin(most, 20_000, incr("c", 1)); err != nil {
		t.Errorf("with another one: %v", err)
	}
}

// Nobody else than the cluster writes into its own shard.
func TestSystemShardIsClosed(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu", enrolled("1"))
	c.allKnow()
	before := eu.seen()
	request := &pb.Request{Operations: []*pb.Operation{set(memberPrefix+"eu", "nonsense")}}
	if _, err := eu.Do(t.Context(), eu.System(), request); err == nil {
		t.Error("it took a write")
	}
	answer, err := eu.end.Request(t.Context(), fmt.Sprintf("kv.eu.%d.-", eu.System()), marshal(request))
	if err == nil && len(answer) == 0 {
		t.Error("it took a request")
	}
	// The member itself goes on to write there, so the root may change.
	if now := eu.seen(); now != before {
		t.Errorf("the table was %q and is now %q", before, now)
	}
}

// A record of somebody else does not take the place of a member.
func TestEnrollNamesake(t *testing.T) {
	m := alone(t, enrolled("1"))
	if err := m.Enroll(&pb.Member{Name: "eu", Region: "us"}); !errors.Is(err, crdt.ErrInvalid) || !strings.Contains(err.Error(), "a member eu in region eu") {
		t.Errorf("%v; want that the name is taken", err)
	}
	if err := m.Enroll(&pb.Member{Name: "us", Region: "us"}); err != nil {
		t.Error(err)
	}
	if table := m.seen(); !strings.Contains(table, "eu in eu at eu:4222") || !strings.Contains(table, "us in us") {
		t.Errorf("the table is %s", table)
	}
}

// A region whose last member was removed while it was about to own more is no
// error of whoever still works on that.
func TestReportOfARegionThatIsGone(t *testing.T) {
	ring := &pb.Ring{Owners: 1, Seats: []*pb.Seat{{Name: "eu", Weight: 1}}}
	l := &layout{regions: map[string]*regionLayout{"eu": {aimRing: ring, layout: &pb.Layout{Number: 7}}, "us": {}}}
	for region, want := range map[string]bool{"eu": true, "us": false, "ap": false} {
		if got := l.aims(region, &pb.Progress{Ring: ringHash(ring), Layout: 7}); got != want {
			t.Errorf("%s aims at the ring: %v, want %v", region, got, want)
		}
	}
	for _, other := range []*pb.Progress{{Ring: 1, Layout: 7}, {Ring: ringHash(ring), Layout: 6}} {
		if l.aims("eu", other) {
			t.Errorf("eu aims at %v", other)
		}
	}
}

// A record in the table under a name that is none, of a region that is none, or
// under another's name counts for nobody, and all others go on. (One without a
// name, in a region that is there, once took from everybody who owns what.)
func TestNonsenseRecord(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu", enrolled("1"))
	eventually(t, "it owns its region", func() bool { return eu.holdings().GetOwned() == testShards })
	for name, record := range map[string]*pb.Member{
		"":    {Region: "eu"},
		"a b": {Name: "a b", Region: "eu"},
		"us":  {Name: "us", Region: "a.b"},
		"ap":  {Name: "eu", Region: "eu"},
	} {
		record := marshal(record)
		if _, err := eu.DoSystem(t.Context(), &pb.Request{Operations: []*pb.Operation{
			{Key: []byte(membersKey), What: &pb.Operation_SetAdd{SetAdd: &pb.Elements{Elements: [][]byte{[]byte(name)}}}},
			{Key: []byte(memberPrefix + name), What: &pb.Operation_RegisterSet{RegisterSet: record}},
		}}); err != nil {
			t.Fatal(err)
		}
		if table, err := eu.Table(); err != nil || len(table) != 1 || table[0].GetName() != "eu" {
			t.Errorf("with a record of %q: %v, %v", name, table, err)
		}
		if _, err := eu.atWithin(all, 20_000, incr("c", 1)); err != nil {
			t.Errorf("with a record of %q: %v", name, err)
		}
	}
}

// A region that has all the members it can have takes no more, and were one to
// stand in the table all the same, the others go on owning what they do.
func TestTooManyMembers(t *testing.T) {
	m := alone(t, enrolled("1"))
	record := func(i int) *pb.Member { return &pb.Member{Name: fmt.Sprintf("z%d", i), Region: "us", Weight: 1} }
	for i := range ring.MaxMembers {
		if err := m.Enroll(record(i)); err != nil {
			t.Fatal(err)
		}
	}
	one := record(ring.MaxMembers)
	if err := m.Enroll(one); !errors.Is(err, crdt.ErrInvalid) {
		t.Errorf("one too many: %v", err)
	}
	if err := m.Enroll(record(0)); err != nil {
		t.Errorf("one that is there: %v", err)
	}
	one.Name = "a" // before all others
	if err := m.enroll(one); err != nil {
		t.Fatal(err)
	}
	if err := m.setEntry(layoutPrefix+"us", &pb.Layout{Current: &pb.Ring{Owners: 1, Seats: []*pb.Seat{seatOf(record(0))}}}); err != nil {
		t.Fatal(err)
	}
	if l, err := m.view(); err != nil || len(l.regions["us"].wanted.GetSeats()) != ring.MaxMembers {
		t.Errorf("who owns what is not known any more: %v", err)
	}
}

// A heartbeat that names what can be no member is refused: what is kept of it
// would be as large as a message, of every member.
func TestSuspectsAreMembers(t *testing.T) {
	m, end := stranger(t)
	for name, suspects := range map[string][]string{
		"a long name": {strings.Repeat("x", 65)}, "no name": {"us", ""}, "a bad name": {"a b"}, "too many": make([]string, maxPeers+1),
	} {
		before := m.Counters()["messages_malformed"]
		if err := end.Publish(transport.Heartbeat, marshal(&pb.Heartbeat{Member: "stranger", Suspects: suspects, Cluster: m.clusterNumber()})); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" is counted", func() bool { return m.Counters()["messages_malformed"] > before })
	}
}
