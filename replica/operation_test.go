package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store/badgerstore"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport/memnet"
)

// operationAt returns the n-th id of a moment.
func operationAt(t time.Time, n uint64) []byte {
	var random [10]byte
	binary.BigEndian.PutUint64(random[:], n)
	id := crdt.NewOperationID(t.UnixMilli(), random)
	return id[:]
}

// once sends operations under an id.
func (m *member) once(id []byte, ops ...*pb.Operation) (*pb.Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return m.Do(ctx, shardOf(string(ops[0].Key)), &pb.Request{Operations: ops, Operation: id})
}

// counts sends an increment under an id and checks the value that it answers and
// whether it was counted before.
func (m *member) counts(id []byte, op *pb.Operation, value int64, again bool) {
	m.cluster.t.Helper()
	answer, err := m.once(id, op)
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	if r := answer.Results[0]; r.Number != value || r.Flag != again {
		m.cluster.t.Errorf("%s answers %d, counted before: %t; want %d, %t", m.options.Member, r.Number, r.Flag, value, again)
	}
}

// all checks what every member counts.
func (c *cluster) all(key string, value int64) {
	c.t.Helper()
	for _, m := range c.members {
		if n := m.number(count(key)); n != value {
			c.t.Errorf("%s counts %d, want %d", m.options.Member, n, value)
		}
	}
}

func TestOperationCountsOnce(t *testing.T) {
	c, eu, us, ap := three(t, nil)
	id := operationAt(time.Now(), 1)
	eu.counts(id, incr("k", 5), 5, false)
	eu.counts(id, incr("k", 5), 5, true)
	eu.do(incr("k", 100))
	eu.counts(id, incr("k", 5), 105, true)
	c.converge()
	us.counts(id, incr("k", 5), 105, true)
	eu.do(reset("k"))
	c.converge()
	ap.counts(id, incr("k", 5), 0, true)
	eu.counts(operationAt(time.Now(), 2), incr("k", 5), 5, false)
	c.converge()
	c.all("k", 5)
}

// A record is in the batch of the event: what was acknowledged is known after a
// restart, too.
func TestOperationIsKnownAfterRestart(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	m := c.start("eu", nil)
	id := operationAt(time.Now(), 1)
	m.counts(id, incr("k", 5), 5, false)
	m.stop()
	m.open()
	m.counts(id, incr("k", 5), 5, true)
}

// Who comes late knows the operations of others, by walk as by events.
func TestOperationIsKnownAfterWalk(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	short := func(o *Options) { o.LogLimit = 1 }
	eu := c.start("eu", short)
	for i := range 20 {
		eu.counts(operationAt(time.Now(), uint64(i)), incr("k", 1), int64(i+1), false)
	}
	id := operationAt(time.Now(), 100)
	eu.counts(id, incr("k", 1), 21, false)
	eu.do(incr("k", 1))
	us := c.start("us", short)
	c.converge()
	us.counts(id, incr("k", 1), 22, true)
	c.all("k", 22)
}

// Copies that do not hear of each other all count an operation, and all but one
// take it back, also if the counter was reset on one side.
func TestOperationTakenTwiceCountsOnce(t *testing.T) {
	for name, resets := range map[string]bool{"": false, "and reset": true} {
		t.Run(name, func(t *testing.T) {
			c, eu, us, ap := three(t, nil)
			for _, m := range c.members {
				m.do(incr("k", 1000))
			}
			c.converge()
			for _, m := range c.members {
				c.network.CutRegion(m.options.Region)
			}
			ids := [][]byte{operationAt(time.Now(), 1), operationAt(time.Now(), 2)}
			for i, m := range c.members {
				m.counts(ids[0], incr("k", 5), 3005, false)
				if i < 2 {
					m.counts(ids[1], incr("k", 7), 3012, false)
				}
			}
			want := int64(3012)
			if resets { // it has seen both, and the 1000 of everybody
				eu.do(reset("k"))
				want = 0
				for i, first := range []*member{eu, eu} {
					for _, m := range []*member{us, ap}[:2-i] {
						if m.actorOf("k") < first.actorOf("k") {
							first = m
						}
					}
					if first != eu { // the one that stands was not seen by the reset
						want += []int64{5, 7}[i]
					}
				}
			}
			for _, m := range c.members {
				c.network.RestoreRegion(m.options.Region)
			}
			c.converge()
			c.all("k", want)
			corrected := eu.Counters()["operations_corrected"] + us.Counters()["operations_corrected"] + ap.Counters()["operations_corrected"]
			if corrected != 3 {
				t.Errorf("taken back %d, want 3", corrected)
			}
			for _, m := range c.members {
				m.counts(ids[0], incr("k", 5), want, true)
			}
		})
	}
}

func (m *member) actorOf(key string) uint64 { return m.shards[shardOf(key)].writer.Load() }

func TestOperationOfManyCounters(t *testing.T) {
	c, eu, us, _ := three(t, nil)
	id := operationAt(time.Now(), 1)
	ops := []*pb.Operation{incr("{k}1", 1), incr("{k}2", 2), incr("{k}1", 3), count("{k}1")}
	for i, m := range []*member{eu, eu, us} {
		answer, err := m.once(id, ops...)
		if err != nil {
			t.Fatal(err)
		}
		if r := answer.Results; r[3].Number != 4 || r[0].Flag != (i > 0) {
			t.Errorf("%d: %v", i, r)
		}
		c.converge()
	}
	c.all("{k}1", 4)
	c.all("{k}2", 2)
}

func TestOperationsRefused(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	m := c.start("eu", func(o *Options) { o.OperationLimit = 2 })
	now := time.Now()
	for what, test := range map[string]struct {
		id   []byte
		op   *pb.Operation
		want error
	}{
		"too old":       {operationAt(now.Add(-31*time.Minute), 1), incr("k", 1), ErrNotRemembered},
		"of the future": {operationAt(now.Add(31*time.Minute), 1), incr("k", 1), ErrNotRemembered},
		"too short":     {[]byte("id"), incr("k", 1), crdt.ErrInvalid},
		"not counting":  {operationAt(now, 1), set("k", "v"), crdt.ErrInvalid},
		"resetting":     {operationAt(now, 1), reset("k"), crdt.ErrInvalid},
	} {
		m.unchanged(func() {
			if _, err := m.once(test.id, test.op); !errors.Is(err, test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v; want %v", what, err, test.want)
			}
		})
	}
	if code := EncodeError(ErrNotRemembered).Code; code != pb.Error_NOT_REMEMBERED {
		t.Errorf("the code is %v", code)
	}
	m.counts(operationAt(now, 1), incr("k", 1), 1, false)
	m.counts(operationAt(now, 2), incr("k", 1), 2, false)
	m.unchanged(func() {
		if _, err := m.once(operationAt(now, 3), incr("k", 1)); !errors.Is(err, ErrNotRemembered) {
			t.Errorf("beyond the limit: %v", err)
		}
	})
	m.counts(operationAt(now, 2), incr("k", 1), 2, true)
	m.do(incr("k", 1)) // without an id it goes on
}

// shiftable is a clock for all members that can be set ahead.
type shiftable struct{ ahead atomic.Int64 }

func (s *shiftable) Now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

// set gives the clock to a member, and tells it who owns all shards.
func (s *shiftable) set(o *Options) {
	o.Now = s.Now
	o.Owners = func() map[string][]string {
		return map[string][]string{"eu": {"eu"}, "us": {"us"}, "ap": {"ap"}}
	}
}

// forgets has a member forget until nothing is left, or says for how long it has
// tried in vain.
func (m *member) forgets(within time.Duration) error {
	m.cluster.t.Helper()
	for deadline := time.Now().Add(within); ; {
		m.forgetOperations()
		snap := m.disk.Snapshot()
		left := 0
		for shard := range testShards {
			n, err := countRecords(snap, shard)
			if err != nil {
				m.cluster.t.Fatal(err)
			}
			left += n
		}
		snap.Close()
		switch {
		case left == 0:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%d records are left after %v", left, within)
		}
	}
}

// Records go once they are old and everybody has heard of them, and not before;
// then they are gone everywhere, and the operation is refused.
func TestOperationsAreForgotten(t *testing.T) {
	clock := &shiftable{}
	c, eu, us, ap := three(t, clock.set)
	id := operationAt(clock.Now(), 1)
	eu.counts(id, incr("k", 5), 5, false)
	c.converge()
	if eu.forgets(0) == nil {
		t.Error("forgotten while it may be asked for")
	}
	c.network.CutRegion("ap")
	late := operationAt(clock.Now(), 2)
	eu.counts(late, incr("k", 5), 10, false)
	ap.counts(late, incr("k", 5), 10, false)
	clock.ahead.Store(int64(61 * time.Minute))
	c.converge(eu, us)
	if eu.forgets(300*time.Millisecond) == nil {
		t.Error("forgotten while ap is cut off")
	}
	c.network.RestoreRegion("ap")
	c.converge()
	c.all("k", 10)
	if err := eu.forgets(patience); err != nil {
		t.Error(err)
	}
	c.converge()
	for _, m := range c.members {
		if err := m.forgets(patience); err != nil {
			t.Errorf("%s: %v", m.options.Member, err)
		}
		m.unchanged(func() {
			if _, err := m.once(id, incr("k", 5)); !errors.Is(err, ErrNotRemembered) {
				t.Errorf("%s: %v; want ErrNotRemembered", m.options.Member, err)
			}
		})
	}
	c.all("k", 10)
}

// What the writer of a duplicate cannot take back any more stays, is forgotten
// after twice the time, and is told.
func TestOperationOfAnEndedActor(t *testing.T) {
	clock := &shiftable{}
	c, eu, us, ap := three(t, clock.set)
	c.network.CutRegion("eu")
	c.network.CutRegion("us")
	id := operationAt(clock.Now(), 1)
	eu.counts(id, incr("k", 5), 5, false)
	us.counts(id, incr("k", 5), 5, false)
	for _, m := range []*member{eu, us} {
		changed := m.shards[shardOf("k")].changed()
		m.part(1) // all of its actors end
		for m.actorOf("k") != 0 {
			<-changed
			changed = m.shards[shardOf("k")].changed()
		}
	}
	c.network.RestoreRegion("eu")
	c.network.RestoreRegion("us")
	c.converge()
	c.all("k", 10)
	ap.counts(id, incr("k", 5), 10, true)
	clock.ahead.Store(int64(121 * time.Minute))
	if err := ap.forgets(patience); err != nil {
		t.Error(err)
	}
	if n := ap.Counters()["operations_counted_twice"]; n != 1 {
		t.Errorf("told of %d, want 1", n)
	}
}

// BenchmarkOperations shows what an id costs an increment, of one counter and of
// many.
func BenchmarkOperations(b *testing.B) {
	for _, counters := range []int{1, 100_000} {
		for _, ids := range []bool{false, true} {
			b.Run(fmt.Sprintf("counters=%d/ids=%t", counters, ids), func(b *testing.B) {
				m := benchMember(b, badgerstore.Fsync)
				m.options.OperationLimit = 1 << 30
				m.stop()
				m.open()
				var next atomic.Uint64
				b.SetParallelism(benchWriters / 2)
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						op := incr(fmt.Sprintf("counter-%06d", rand.IntN(counters)), 1)
						request := &pb.Request{Operations: []*pb.Operation{op}}
						if ids {
							request.Operation = operationAt(time.Now(), next.Add(1))
						}
						if _, err := m.Do(context.Background(), shardOf(string(op.Key)), request); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
			})
		}
	}
}
