package replica

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/ring"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/badgerstore"
	"github.com/atolldb/atoll/internal/store/memstore"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport/memnet"
)

// owners returns who owns a shard in a region, as a member has it.
func (m *member) owners(region string, shard int) []string {
	l, err := m.view()
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	return l.regions[region].current.Owners(shard)
}

// byName returns a member of the cluster.
func (c *cluster) byName(name string) *member {
	return c.members[slices.IndexFunc(c.members, func(m *member) bool { return m.options.Member == name })]
}

// ownersOf sets how many owners a shard has in a region.
func (m *member) ownersOf(n int) {
	m.cluster.t.Helper()
	if err := m.Configure(m.cluster.t.Context(), &pb.Settings{Owners: uint32(n)}); err != nil {
		m.cluster.t.Fatal(err)
	}
}

// agreeOnAll waits until the owners of every shard agree, and returns how many
// members have a copy of each.
func (c *cluster) agreeOnAll() map[int]int {
	c.t.Helper()
	c.allKnow()
	copies := map[int]int{}
	for shard := range testShards {
		eventually(c.t, fmt.Sprintf("the owners of shard %d agree", shard), func() bool {
			var owners []*member
			for _, m := range c.members {
				if m.shards[shard].held() {
					owners = append(owners, m)
				}
			}
			copies[shard] = len(owners)
			return len(owners) > 0 && agree(shard, owners)
		})
	}
	return copies
}

// anyOwner returns a member of a region that serves a shard.
func (c *cluster) anyOwner(region string, shard int) *member {
	c.t.Helper()
	var found *member
	eventually(c.t, fmt.Sprintf("shard %d has an owner in %s", shard, region), func() bool {
		for _, m := range c.members {
			if m.options.Region == region && m.shards[shard].serving.Load() {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// doByOwner has an owner in a region do an operation: another one, if it has ceased to
// be one meanwhile, as is known to have changed nothing.
func (c *cluster) doByOwner(region string, op *pb.Operation) *pb.Answer {
	c.t.Helper()
	var answer *pb.Answer
	eventually(c.t, fmt.Sprintf("%v is done in %s", op, region), func() bool {
		var err error
		answer, err = c.anyOwner(region, shardOf(string(op.Key))).atWithin(local, 20_000, op)
		if err != nil && !errors.Is(err, ErrNotOwner) {
			c.t.Fatal(answer, err)
		}
		return err == nil
	})
	return answer
}

// Members that come take over what is theirs, with all that is in it, and those
// who owned it before give it up only then.
func TestMembersCome(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	first := c.start("eu-1", inRegion("eu"))
	first.ownersOf(2)
	keys := map[string]int64{}
	for i := range 400 {
		key := fmt.Sprint("key", i)
		keys[key] = int64(i + 1)
		first.do(incr(key, keys[key]))
	}
	for _, name := range []string{"eu-2", "eu-3", "us-1", "us-2", "us-3", "us-4"} {
		c.start(name, inRegion(name[:2]))
	}
	for shard, n := range c.agreeOnAll() {
		if n != 4 {
			t.Errorf("%d members have shard %d, want 2 in each of 2 regions", n, shard)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		for _, region := range []string{"eu", "us"} {
			if n := c.anyOwner(region, shardOf(key)).number(count(key)); n != keys[key] {
				t.Errorf("%s is %d in %s, want %d", key, n, region, keys[key])
			}
		}
	}
}

// newcomer returns a second member of a region of one, which has taken over all
// shards and cannot say so before report is called: only the first one counts
// until then.
func newcomer(t *testing.T) (c *cluster, first, second *member, report func()) {
	c = newCluster(t, memnet.Options{})
	first = c.start("eu-1", inRegion("eu"))
	first.do(incr("key", 1))
	held := make(chan struct{})
	report = sync.OnceFunc(func() { close(held) })
	t.Cleanup(report)
	d := &disk{Store: memstore.New()}
	d.onCommit(func(b *store.Batch, commit func() error) error {
		for _, w := range b.Writes() {
			if bytes.Contains(w.Key, []byte(progressPrefix+"eu-2")) {
				<-held
			}
		}
		return commit()
	})
	second = c.startOn("eu-2", d, inRegion("eu"))
	eventually(t, "eu-2 has all shards", func() bool {
		return !slices.ContainsFunc(second.shards[:testShards], func(s *shard) bool { return !s.whole() })
	})
	return c, first, second, report
}

// A newcomer that has all of its shards hands over nothing while the owners that
// were there count alone.
func TestNewcomerIsReady(t *testing.T) {
	c, first, second, report := newcomer(t)
	if h := second.holdings(); h.GetReady() != testShards || h.GetHanding() != 0 || h.GetOwned() != 0 {
		t.Errorf("the newcomer holds %v, want %d shards ready", h, testShards)
	}
	report()
	eventually(t, "both own all", func() bool {
		h, was := second.holdings(), first.holdings()
		return h.GetOwned() == testShards && h.GetReady() == 0 && was.GetOwned() == testShards
	})
	c.agreeOnAll()
}

// A change of owners that waits for a member that is not there says for whom, and
// so does the log; taken out of the table, it is not waited for.
func TestAwaited(t *testing.T) {
	told := make(lines, 1000)
	c := newCluster(t, memnet.Options{})
	first := c.start("eu-1", inRegion("eu"))
	first.ownersOf(2)
	lost := c.start("eu-2", inRegion("eu"))
	c.agreeOnAll()
	lost.stop()
	c.members = slices.DeleteFunc(c.members, func(m *member) bool { return m == lost })
	third := c.start("eu-3", func(o *Options) {
		inRegion("eu")(o)
		o.Logger = slog.New(slog.NewTextHandler(told, nil))
	})
	awaits := func(m *member, want ...string) bool {
		rings, err := m.Rings()
		return err == nil && slices.Equal(rings.GetRegions()[0].GetAwaited(), want)
	}
	for _, m := range c.members {
		eventually(t, m.options.Member+" says that the region waits for eu-2", func() bool { return awaits(m, "eu-2") })
	}
	eventually(t, "eu-3 says that it waits for eu-2", func() bool {
		h := third.Status(false).GetHoldings()
		return h.GetJoining() > 0 && slices.Equal(h.GetAwaited(), []string{"eu-2"})
	})
	if h := first.Status(false).GetHoldings(); len(h.GetAwaited()) > 0 {
		t.Errorf("eu-1 has %v, and waits for nobody", h)
	}
	for line := ""; !strings.Contains(line, "crdtctl member remove NAME") || !strings.Contains(line, "members=[eu-2]"); {
		select {
		case line = <-told:
		case <-time.After(patience):
			t.Fatal("the log does not say so")
		}
	}
	eventually(t, "eu-2 is removed", func() bool { return first.Remove(t.Context(), "eu-2") == nil })
	for _, m := range c.members {
		eventually(t, m.options.Member+" says that nobody is waited for", func() bool {
			return awaits(m) && len(m.Status(false).GetHoldings().GetAwaited()) == 0
		})
	}
	c.agreeOnAll()
}

// What is in the way is logged once a minute.
func TestComplaints(t *testing.T) {
	told := make(lines, 100)
	m := &member{cluster: newCluster(t, memnet.Options{}), options: testOptions("eu"), disk: &disk{Store: memstore.New()}}
	m.options.Logger = slog.New(slog.NewTextHandler(told, nil))
	m.open()
	defer m.stop()
	for range 10 {
		m.complain(errors.New("eu-2 does not answer"))
	}
	if len(told) != 1 {
		t.Errorf("%d lines of 10 complaints, want 1", len(told))
	}
	m.arranger.complained = m.arranger.complained.Add(-complainEvery)
	m.complain(errors.New("eu-2 does not answer"))
	if len(told) != 2 {
		t.Errorf("%d lines a minute later, want 2", len(told))
	}
}

// What is placed is what the pure function of the table says.
func TestPlacedByTable(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	heavy := func(o *Options) {
		inRegion("eu")(o)
		record := o.Record
		o.Record = func() *pb.Member {
			m := record()
			m.Weight, m.Zone = 3, "b"
			return m
		}
	}
	first := c.start("eu-1", inRegion("eu"))
	first.ownersOf(1)
	c.start("eu-2", heavy)
	c.agreeOnAll()
	want, err := ring.Place([]ring.Member{{Name: "eu-1", Weight: 1}, {Name: "eu-2", Weight: 3, Zone: "b"}}, testShards, 1)
	if err != nil {
		t.Fatal(err)
	}
	for shard := range testShards {
		if got := first.owners("eu", shard); !slices.Equal(got, want.Owners(shard)) {
			t.Errorf("shard %d is owned by %v, want %v", shard, got, want.Owners(shard))
		}
	}
}

// A member that is to leave hands over all it has, and owns nothing then; one
// that is gone for good is replaced by what the others have.
func TestMembersGo(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	first := c.start("eu-1", inRegion("eu"))
	first.ownersOf(2)
	for _, name := range []string{"eu-2", "eu-3", "eu-4"} {
		c.start(name, inRegion("eu"))
	}
	c.agreeOnAll()
	keys := map[string]int64{}
	write := func() {
		for i := range 200 {
			key := fmt.Sprint("key", i)
			keys[key]++
			c.doByOwner("eu", incr(key, 1))
		}
	}
	check := func() {
		t.Helper()
		for key, want := range keys {
			if n := c.doByOwner("eu", count(key)).Results[0].Number; n != want {
				t.Errorf("%s is %d, want %d", key, n, want)
			}
		}
	}
	write()
	if err := first.Decommission(t.Context(), "eu-1"); err != nil {
		t.Fatal(err)
	}
	write()
	c.agreeOnAll()
	for _, s := range first.shards[:testShards] {
		if s.held() {
			t.Errorf("the member that leaves holds shard %d", s.index)
		}
	}
	check()
	lost := c.byName("eu-3")
	lost.stop()
	c.members = slices.DeleteFunc(c.members, func(m *member) bool { return m == lost })
	second := c.byName("eu-2")
	eventually(t, "eu-3 has left", func() bool { return second.Remove(t.Context(), "eu-3") == nil })
	for _, m := range c.members { // until then its quorums need eu-3
		eventually(t, m.options.Member+" knows it", func() bool { return !m.listed()["eu-3"] })
	}
	write()
	c.agreeOnAll()
	check()
}

// The last member that stays is not decommissioned: nobody would serve what it has,
// and nothing would undo that. Where nobody stays all the same, as several were
// decommissioned at the same time, all go on.
func TestLastMemberStays(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu-1", inRegion("eu"))
	us := c.start("us-1", inRegion("us"))
	eu.do(incr("key", 7))
	c.allKnow()
	if err := us.Decommission(t.Context(), "eu-1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "eu-1 holds nothing", func() bool { return eu.inPlace() && !eu.shards[shardOf("key")].held() })
	if err := us.Decommission(t.Context(), "us-1"); !errors.Is(err, crdt.ErrInvalid) || !strings.Contains(err.Error(), "us-1 is the last member") {
		t.Errorf("%v; want that nobody would be left", err)
	}
	// As another member has written it meanwhile.
	last := proto.CloneOf(us.options.Record())
	last.Leaving = true
	if err := us.setEntry(memberPrefix+"us-1", last); err != nil {
		t.Fatal(err)
	}
	eventually(t, "eu-1 is an owner again", func() bool { return eu.inPlace() && eu.shards[shardOf("key")].serving.Load() })
	c.allKnow()
	for _, m := range c.members {
		if n := m.number(count("key")); n != 7 {
			t.Errorf("%s has %d, want 7", m.options.Member, n)
		}
	}
}

// Who founds a region in vain, as it was there before, owns what it has to take over
// first: until it has, it serves nobody and counts for nobody.
func TestFoundedInVain(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	for _, name := range []string{"eu-1", "eu-2", "eu-3"} {
		c.start(name, inRegion("eu"))
	}
	c.agreeOnAll()
	vain := c.byName("eu-3")
	for _, name := range []string{"eu-1", "eu-2"} {
		c.byName(name).end.Detach()
	}
	if err := vain.declare(founded, vain.shards[:testShards]...); err != nil {
		t.Fatal(err)
	}
	for _, s := range vain.shards[:testShards] {
		if vain.stands(s) {
			t.Errorf("shard %d counts", s.index)
		}
		eventually(t, fmt.Sprintf("shard %d is not served", s.index), func() bool { return !s.serving.Load() })
	}
	for _, name := range []string{"eu-1", "eu-2"} {
		c.byName(name).end.Attach()
	}
	for _, s := range vain.shards[:testShards] {
		eventually(t, fmt.Sprintf("shard %d is taken over", s.index), func() bool { return s.serving.Load() && vain.stands(s) })
	}
}

// When fewer members are to own a shard, those who stay hear first what all of the
// owners have acknowledged.
func TestFewerOwnersHearFirst(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	first := c.start("eu-1", inRegion("eu"))
	for _, name := range []string{"eu-2", "eu-3"} {
		c.start(name, inRegion("eu"))
	}
	c.agreeOnAll()
	eventually(t, "three own all", func() bool { return len(first.owners("eu", 0)) == 3 })
	c.byName("eu-3").end.Detach()
	first.ownersOf(1)
	eventually(t, "the layout advances", func() bool {
		l, err := first.view()
		if err != nil {
			t.Fatal(err)
		}
		in := l.regions["eu"]
		if len(in.current.Owners(0)) == 1 || in.next != nil && in.settled(l) {
			t.Fatal("the owners change, and one of them has not heard what the others have")
		}
		return in.next != nil
	})
	c.byName("eu-3").end.Attach()
	eventually(t, "one owns all", func() bool { return len(first.owners("eu", 0)) == 1 })
}

// Who is to leave need not be there for it: the owners who stay are a majority.
func TestLeavesWhileAway(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	first := c.start("eu-1", inRegion("eu"))
	for _, name := range []string{"eu-2", "eu-3"} {
		c.start(name, inRegion("eu"))
	}
	eventually(t, "three own all", func() bool { return len(first.owners("eu", 0)) == 3 })
	c.agreeOnAll()
	c.byName("eu-3").end.Detach()
	if err := first.Decommission(t.Context(), "eu-3"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two own all", func() bool { return len(first.owners("eu", 0)) == 2 })
	c.byName("eu-3").end.Attach()
}

// What a member has reported when owners last changed so does not count when they
// change so again.
func TestOwnersChangeBackAndForth(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	first := c.start("eu-1", inRegion("eu"))
	first.ownersOf(1)
	second := c.start("eu-2", inRegion("eu"))
	weigh := func(weight uint32) {
		l, err := first.view()
		if err == nil {
			record := proto.CloneOf(l.members["eu-2"])
			record.Weight = weight
			err = first.setEntry(memberPrefix+"eu-2", record)
		}
		if err == nil {
			l, err = first.view()
		}
		if err != nil {
			t.Fatal(err)
		}
		in := l.regions["eu"]
		if in.aim == nil || in.settled(l) {
			t.Fatalf("the owners change to %v, and one has not taken over what it gains", in.aimRing)
		}
	}
	settle := func() {
		eventually(t, "the owners have changed", func() bool {
			for _, m := range c.members {
				l, err := m.view()
				if err != nil || l.regions["eu"].aim != nil || len(l.members) < 2 {
					return false
				}
			}
			return true
		})
	}
	settle()
	for _, weight := range []uint32{9, 1, 9} {
		second.end.Detach() // or all may have been done before weigh looks
		weigh(weight)
		second.end.Attach()
		settle()
	}
}

// While owners change under a load, no acknowledged write is missing, and no
// read of a quorum goes back.
func TestChangeUnderLoad(t *testing.T) {
	random := seeded(t)
	c := newCluster(t, memnet.Options{})
	first := c.start("eu-1", inRegion("eu"))
	first.ownersOf(2)
	for _, name := range []string{"eu-2", "us-1", "us-2"} {
		c.start(name, inRegion(name[:2]))
	}
	c.agreeOnAll()
	stop, done := make(chan struct{}), make(chan map[string]int64)
	members := slices.Clone(c.members)
	go func() {
		acknowledged := map[string]int64{}
		defer func() { done <- acknowledged }()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			key := fmt.Sprint("key", i%50)
			for _, m := range members {
				if m.options.Region != []string{"eu", "us"}[i%2] || !m.shards[shardOf(key)].serving.Load() {
					continue
				}
				level := levels[i%4]
				if _, err := m.atWithin(level, 5000, incr(key, 1)); err == nil {
					acknowledged[key]++
					if level == most || level == each {
						answer, err := m.atWithin(most, 5000, count(key))
						if err == nil && answer.Results[0].Number < acknowledged[key]/2 {
							t.Errorf("%s reads %d at quorum, after %d acknowledged", key, answer.Results[0].Number, acknowledged[key])
						}
					}
				}
				break
			}
		}
	}()
	for _, name := range []string{"eu-3", "us-3", "eu-4"} {
		c.start(name, inRegion(name[:2]))
		if random.IntN(2) == 0 {
			c.allKnow()
		}
	}
	c.allKnow()
	first.ownersOf(3)
	time.Sleep(time.Millisecond)
	c.allKnow()
	close(stop)
	acknowledged := <-done
	c.agreeOnAll()
	for key, want := range acknowledged {
		if n := c.anyOwner("eu", shardOf(key)).number(count(key)); n < want {
			t.Errorf("%s is %d, %d increments were acknowledged", key, n, want)
		}
	}
	t.Logf("%d keys, %d acknowledged on the first", len(acknowledged), acknowledged["key0"])
}

// BenchmarkOwners measures increments of one region, by 64 writers who ask any
// of the owners, with 1, 2 and 3 owners of each shard, each on a disk of its own
// with fsync; x1 compares it with one owner at one, in the same run.
func BenchmarkOwners(b *testing.B) {
	alone := 0.0
	for owners := 1; owners <= 3; owners++ {
		c := newCluster(b, memnet.Options{})
		for i := range owners {
			s, err := badgerstore.Open(badgerstore.Options{Dir: b.TempDir(), Durability: badgerstore.Fsync})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { s.Close() })
			c.startOn(fmt.Sprint("eu-", i+1), &disk{Store: s}, inRegion("eu"))
		}
		// The stores are closed after the members, which Cleanup would close later.
		b.Cleanup(func() {
			for _, m := range c.members {
				m.stop()
			}
			c.members = nil
		})
		c.allKnow()
		for _, level := range []pb.Consistency{one, local} {
			b.Run(fmt.Sprintf("%d/%v", owners, level), func(b *testing.B) {
				rate := c.load(b, level)
				if owners == 1 && level == one {
					alone = rate
				}
				b.ReportMetric(rate, "op/s")
				b.ReportMetric(rate/alone, "x1")
			})
		}
	}
}

// load has 64 writers do b.N increments, and returns how many there were per
// second.
func (c *cluster) load(b *testing.B, level pb.Consistency) float64 {
	b.Helper()
	var next atomic.Int64
	var writers sync.WaitGroup
	start := time.Now()
	for w := range benchWriters {
		random := rand.New(rand.NewPCG(uint64(w), 1))
		writers.Go(func() {
			for i := int(next.Add(1)); i <= b.N; i = int(next.Add(1)) {
				op := incr(fmt.Sprint("counter", random.IntN(10_000)), 1)
				if _, err := c.members[random.IntN(len(c.members))].atWithin(level, 10_000, op); err != nil {
					b.Error(err)
				}
			}
		})
	}
	writers.Wait()
	return float64(b.N) / time.Since(start).Seconds()
}
