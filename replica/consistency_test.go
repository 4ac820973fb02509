package replica

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/membership"
	"github.com/atolldb/atoll/internal/store/memstore"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport/memnet"
)

// inRegion has a member stand in a region other than its name.
func inRegion(region string) func(*Options) {
	return func(o *Options) {
		o.Region = region
		o.Seeds = strings.Contains(o.Member, "-") && !strings.HasSuffix(o.Member, "-1") // the first one founds the region
		enrolled("1")(o)
	}
}

// at does operations at a level of consistency, with little patience.
func (m *member) at(level pb.Consistency, ops ...*pb.Operation) (*pb.Answer, error) {
	return m.atWithin(level, 200, ops...)
}

func (m *member) atWithin(level pb.Consistency, patienceMs uint32, ops ...*pb.Operation) (*pb.Answer, error) {
	return m.Do(m.cluster.t.Context(), shardOf(string(ops[0].Key)), &pb.Request{
		Operations: ops, Consistency: level.Enum(), PatienceMs: patienceMs,
	})
}

// allKnow waits until all members stand in the table of each, and own what they
// are to own by it.
func (c *cluster) allKnow() {
	c.t.Helper()
	for _, m := range c.members {
		eventually(c.t, m.options.Member+" knows all members", func() bool {
			return strings.Count(m.seen(), ";") == len(c.members)-1 && m.inPlace()
		})
	}
}

// inPlace says that no region that the member knows changes its owners, and that
// it has the copies that it is to have and no others.
func (m *member) inPlace() bool {
	l, err := m.view()
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	for _, in := range l.regions {
		if in.layout == nil || in.aim != nil {
			return false
		}
	}
	in := l.regions[m.options.Region]
	for _, s := range m.shards[:m.options.Shards] {
		if owns := in.claimOf(m.options.Member, s.index) == owner; owns != s.whole() || owns != s.serving.Load() || !owns && s.held() {
			return false
		}
	}
	return true
}

const (
	one   = pb.Consistency_ONE
	local = pb.Consistency_LOCAL_QUORUM
	most  = pb.Consistency_QUORUM
	each  = pb.Consistency_EACH_QUORUM
	all   = pb.Consistency_ALL
	exact = pb.Consistency_LINEARIZABLE
)

var levels = []pb.Consistency{one, local, most, each, all, exact}

// Each level works as long as the owners that it needs are there, for reads and
// for writes, and fails at once when they are known not to be, saying how many
// there were.
func TestLevels(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	first := c.start("eu-1", inRegion("eu"))
	for _, name := range []string{"eu-2", "eu-3", "us-1", "us-2", "us-3"} {
		c.start(name, inRegion(name[:2]))
	}
	c.allKnow()
	count := 0
	for _, step := range []struct {
		gone  string // goes now
		fails []pb.Consistency
		says  []string // of the errors
	}{
		{"", nil, nil},
		{"eu-2", []pb.Consistency{all}, []string{"5 can, not eu-2 (left), it takes 6; these are 2 of 3 in eu, 3 of 3 in us"}},
		{"us-1", []pb.Consistency{all}, []string{"4 can, not eu-2 (left), us-1 (left), it takes 6; these are 2 of 3 in eu, 2 of 3 in us"}},
		{"us-2", []pb.Consistency{most, each, all, exact}, []string{"it takes 4; these are 2 of 3 in eu, 1 of 3 in us", "it takes a majority in each region; these are"}},
		{"eu-3", []pb.Consistency{local, most, each, all, exact}, []string{"1 can, not eu-2 (left), eu-3 (left), it takes 2; these are 1 of 3 in eu;"}},
	} {
		for _, m := range c.members {
			if m.options.Member == step.gone {
				m.stop()
				first.sees(step.gone, membership.Left)
			}
		}
		said := ""
		for _, level := range levels {
			count++
			began := time.Now()
			_, writeErr := first.atWithin(level, 30_000, incr("c", 1))
			_, readErr := first.atWithin(level, 30_000, &pb.Operation{Key: []byte("c"), What: &pb.Operation_CounterGet{CounterGet: &pb.Empty{}}})
			if took := time.Since(began); took > 20*time.Second {
				t.Fatalf("without %s, at %v, a write and a read took %v: %v, %v", step.gone, level, took, writeErr, readErr)
			}
			for what, err := range map[string]error{"write": writeErr, "read": readErr} {
				if fails := slices.Contains(step.fails, level); errors.Is(err, ErrNotEnough) != fails || !fails && err != nil {
					t.Errorf("without %s, a %s at %v: %v", step.gone, what, level, err)
				}
				said += fmt.Sprintln(err)
			}
		}
		for _, text := range step.says {
			if !strings.Contains(said, text) {
				t.Errorf("without %s nothing says %q:\n%s", step.gone, text, said)
			}
		}
	}
	// A write that too few heard is kept all the same, but for those that must
	// ask before they write.
	if n := first.number(incr("c", 0)); n < int64(count-2) || n > int64(count) {
		t.Errorf("the counter is %d after %d increments", n, count)
	}
	for _, m := range c.members {
		if m.end == nil {
			m.open()
			m.meet()
		}
	}
}

// A call that waits for an owner ends when that is confirmed to be down. Its
// write is kept.
func TestWaitingEndsWhenOwnersAreDown(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu", enrolled("1"))
	c.start("us", enrolled("1"))
	c.start("ap", enrolled("1"))
	c.allKnow()
	c.network.CutRegion("us")
	began := time.Now()
	_, err := eu.atWithin(all, 30_000, incr("c", 1))
	if took := time.Since(began); took > 20*time.Second || !errors.Is(err, ErrNotEnough) ||
		!strings.Contains(err.Error(), "2 can, not us (down), it takes 3; these are 1 of 1 in ap, 1 of 1 in eu, 0 of 1 in us; the write is kept, and spreads") {
		t.Errorf("after %v: %v", took, err)
	}
	if n := eu.number(count("c")); n != 1 {
		t.Errorf("the counter is %d, want 1", n)
	}
	if _, err := eu.atWithin(most, 30_000, incr("c", 1)); err != nil {
		t.Errorf("with a majority: %v", err)
	}
	c.network.RestoreRegion("us")
	eu.sees("us", membership.Alive)
	if _, err := eu.atWithin(all, 30_000, incr("c", 1)); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}

// An owner that one observer suspects alone may answer yet: it is waited for.
func TestSuspectsAreWaitedFor(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu, us := c.start("eu", enrolled("1")), c.start("us", enrolled("1"))
	c.start("ap", enrolled("1"))
	c.allKnow()
	c.network.Cut("us", "eu")
	eu.sees("us", membership.Suspect)
	answered := make(chan error, 1)
	go func() {
		_, err := eu.atWithin(all, 30_000, incr("c", 1))
		answered <- err
	}()
	eventually(t, "it waits", func() bool { return us.number(count("c")) == 1 })
	select {
	case err := <-answered:
		t.Fatalf("it does not wait: %v", err)
	default:
	}
	c.network.Restore("us", "eu")
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// A write that was made and waits for owners when its member stops is not said to be
// undone, as what ErrClosed is sent as would say. Nor is one whose owners are behind with
// the table of members: what ErrBehind is sent as has the client do it again.
func TestStoppedWhileWaiting(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu, us := c.start("eu", enrolled("1")), c.start("us", enrolled("1"))
	c.start("ap", enrolled("1"))
	c.allKnow()
	c.network.Cut("us", "eu")
	c.network.Cut("eu", "us")
	answered := make(chan error, 1)
	go func() {
		_, err := eu.atWithin(all, 30_000, incr("c", 1))
		answered <- err
	}()
	eventually(t, "it waits", func() bool { return eu.number(count("c")) == 1 })
	eu.stop()
	err := <-answered
	if e := EncodeError(err); e.GetCode() != pb.Error_NOT_ENOUGH || !strings.Contains(e.GetText(), "the write is kept, and spreads") {
		t.Errorf("%v is sent as %v", err, e)
	}
	c.network.Restore("us", "eu")
	c.network.Restore("eu", "us")
	eu.open()
	eu.meet()
	eventually(t, "it spreads", func() bool { return us.number(count("c")) == 1 })
	changed := fmt.Errorf("%w: the table of members has changed: %w; the write is kept, and spreads", ErrNotEnough, ErrBehind)
	if e := EncodeError(changed); e.GetCode() != pb.Error_NOT_ENOUGH {
		t.Errorf("%v is sent as %v", changed, e)
	}
}

// sees waits until a member finds another one in a state.
func (m *member) sees(other string, state membership.State) {
	m.cluster.t.Helper()
	eventually(m.cluster.t, fmt.Sprintf("%s sees %s as %v", m.options.Member, other, state), func() bool {
		states, _ := m.observer.opinion()
		return states[other] == state
	})
}

// A read at quorum shows what was acknowledged at quorum, also on an owner that
// has not heard of it: it hears of it first.
func TestQuorumsMeet(t *testing.T) {
	c, eu, us, late := three(t, enrolled("1"))
	c.allKnow()
	for i := range 30 {
		c.network.CutRegion("ap")
		if _, err := eu.atWithin(most, 20_000, incr("{q}c", 1), add("{q}s", fmt.Sprint(i)), set("{q}r", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		c.network.RestoreRegion("ap")
		reader := []*member{late, us}[i%2]
		answer, err := reader.atWithin(most, 20_000, count("{q}c"), card("{q}s"), get("{q}r"))
		if err != nil {
			t.Fatal(err)
		}
		r := answer.GetResults()
		if r[0].Number != int64(i+1) || r[1].Number != int64(i+1) || string(r[2].Siblings[0].Value) != fmt.Sprint(i) {
			t.Fatalf("after write %d, %s reads %v", i, reader.options.Member, r)
		}
	}
}

// What a linearizable read shows, later ones show, too, whoever serves them: it
// ends when a majority has heard what only the member that served it had.
func TestReadsAreNotTakenBack(t *testing.T) {
	c, eu, us, ap := three(t, enrolled("1"))
	c.allKnow()
	for i := range 30 {
		c.network.CutRegion("eu")
		if _, err := eu.at(one, incr("c", 1)); err != nil {
			t.Fatal(err)
		}
		c.network.RestoreRegion("eu")
		first, err := eu.atWithin(exact, 20_000, count("c"))
		if err != nil {
			t.Fatal(err)
		}
		c.network.CutRegion("eu")
		reader := []*member{us, ap}[i%2]
		second, err := reader.atWithin(exact, 20_000, count("c"))
		if err != nil {
			t.Fatal(err)
		}
		c.network.RestoreRegion("eu")
		shown, later := first.GetResults()[0].Number, second.GetResults()[0].Number
		if shown != int64(i+1) || later != shown {
			t.Fatalf("after %d increments, eu reads %d, and then %s %d", i+1, shown, reader.options.Member, later)
		}
	}
}

// What nobody was asked is not promised: a write at one is there at once on its
// own member only.
func TestLevelOneAsksNobody(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	a := c.startOn("a", &disk{Store: memstore.New()}, inRegion("eu"))
	if _, err := a.at(one, incr("c", 1)); err != nil {
		t.Error(err)
	}
	if _, err := a.at(99, incr("c", 1)); err == nil {
		t.Error("a level that does not exist is taken")
	}
}

// BenchmarkLevels measures what each level takes in a cluster of three regions
// of two members, with no distance between regions and with 50 ms there and
// back: one and local-quorum must not feel it.
func BenchmarkLevels(b *testing.B) {
	for _, distance := range []time.Duration{0, 50 * time.Millisecond} {
		c := newCluster(b, memnet.Options{})
		for _, from := range []string{"eu", "us", "ap"} {
			for _, to := range []string{"eu", "us", "ap"} {
				if from == to {
					continue
				}
				if err := c.network.SetLink(from, to, memnet.Link{Delay: distance / 2}); err != nil {
					b.Fatal(err)
				}
			}
		}
		for _, name := range []string{"eu-1", "eu-2", "us-1", "us-2", "ap-1", "ap-2"} {
			c.start(name, inRegion(name[:2]))
		}
		c.allKnow()
		for what, op := range map[string]*pb.Operation{"write": incr("c", 1), "read": count("c")} {
			for _, level := range levels {
				b.Run(fmt.Sprintf("%s/%v/%v", what, level, distance), func(b *testing.B) {
					var took []time.Duration
					for b.Loop() {
						start := time.Now()
						if _, err := c.members[0].atWithin(level, 10_000, op); err != nil {
							b.Fatal(err)
						}
						took = append(took, time.Since(start))
					}
					slices.Sort(took)
					b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
					b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
				})
			}
		}
	}
}

// Requests that name no level have the default of the cluster; those that do, and
// the table of members itself, do not care for it.
func TestDefaultLevel(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	a, b := c.start("a", enrolled("1")), c.start("b", enrolled("1"))
	c.allKnow()
	plain := &pb.Request{Operations: []*pb.Operation{incr("c", 1)}, PatienceMs: 200}
	if err := a.Configure(t.Context(), &pb.Settings{Consistency: all.Enum()}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "b has the setting", func() bool { return b.defaultLevel() == all })
	b.stop()
	if _, err := a.Do(t.Context(), shardOf("c"), plain); !errors.Is(err, ErrNotEnough) {
		t.Errorf("without a level, and with all as the default: %v", err)
	}
	if _, err := a.at(one, incr("c", 1)); err != nil {
		t.Errorf("at one: %v", err)
	}
	if err := a.Configure(t.Context(), &pb.Settings{Consistency: pb.Consistency(99).Enum()}); !errors.Is(err, crdt.ErrInvalid) {
		t.Errorf("a level that does not exist as the default: %v", err)
	}
	if err := a.Configure(t.Context(), &pb.Settings{Consistency: one.Enum()}); err != nil {
		t.Errorf("back to one, alone: %v", err)
	}
	if _, err := a.Do(t.Context(), shardOf("c"), plain); err != nil {
		t.Errorf("without a level, and with one as the default: %v", err)
	}
	b.restart(nil)
	eventually(t, "b has the setting, too", func() bool { return b.defaultLevel() == one })
}
