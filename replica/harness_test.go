package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/ring"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/memstore"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/memnet"
)

const (
	testShards = 8
	patience   = 60 * time.Second // how long anything may take; never waited for
)

// testOptions are those of a member in its own region, with a quick pace.
func testOptions(name string) Options {
	return Options{
		Cluster: "test", Member: name, Region: name, Shards: testShards, LogLimit: 4096,
		GossipInterval: 20 * time.Millisecond, QuestionTimeout: 3 * time.Second,
		AntiEntropy: antientropy.Config{
			Grace: 5 * time.Millisecond, Backoff: 5 * time.Millisecond, WalkInterval: time.Hour,
		},
	}
}

// seeded returns a source of randomness, the seed of which is printed.
func seeded(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// cluster is some members on an in-memory network. When the test ends, all are
// closed and what they leave on disk is audited.
type cluster struct {
	t       testing.TB
	network *memnet.Network
	members []*member
}

type member struct {
	*Replica
	cluster *cluster
	options Options
	disk    *disk
	end     *memnet.Member
	wrap    func(transport.Transport) transport.Transport // nil: as it is
}

func newCluster(t testing.TB, options memnet.Options) *cluster {
	network, err := memnet.New(options)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, network: network}
	t.Cleanup(func() {
		for _, m := range c.members {
			m.stop()
		}
		for _, m := range c.members {
			audit(t, m.disk, m.options)
		}
		checkDots(t, c.members)
	})
	return c
}

// three returns a cluster of three members in three regions.
func three(t testing.TB, change func(*Options)) (*cluster, *member, *member, *member) {
	c := newCluster(t, memnet.Options{})
	return c, c.start("eu", change), c.start("us", change), c.start("ap", change)
}

// start adds a member with an empty store in memory.
func (c *cluster) start(name string, change func(*Options)) *member {
	c.t.Helper()
	return c.startOn(name, &disk{Store: memstore.New()}, change)
}

func (c *cluster) startOn(name string, d *disk, change func(*Options)) *member {
	c.t.Helper()
	m := &member{cluster: c, options: testOptions(name), disk: d}
	if change != nil {
		change(&m.options)
	}
	m.open()
	m.meet()
	c.members = append(c.members, m)
	return m
}

// open opens the replica, which meets nobody yet.
func (m *member) open() {
	m.cluster.t.Helper()
	r, err := Open(m.options, m.disk)
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	m.Replica = r
}

// meet connects the replica to the others.
func (m *member) meet() {
	m.cluster.t.Helper()
	end, err := m.cluster.network.Join(m.options.Region, m.options.Member)
	if err == nil {
		m.end = end
		if m.wrap == nil {
			err = m.Start(end)
		} else {
			err = m.Start(m.wrap(end))
		}
	}
	if err != nil {
		m.cluster.t.Fatal(err)
	}
}

// stop closes the replica and keeps its disk.
func (m *member) stop() {
	if err := m.Close(); err != nil {
		m.cluster.t.Error(err)
	}
	if m.end != nil {
		m.end.Close()
		m.end = nil
	}
}

// restart stops the member and starts it on what its disk holds, or on another.
func (m *member) restart(d *disk) {
	m.cluster.t.Helper()
	m.stop()
	if d != nil {
		m.disk = d
	}
	m.open()
	m.meet()
}

// disk is a store whose commits can be watched, held up, and made to fail.
type disk struct {
	store.Store
	mu      sync.Mutex
	hook    func(b *store.Batch, commit func() error) error
	keep    bool
	batches [][]store.Write
	commits int
}

func (d *disk) Commit(b *store.Batch) error {
	d.mu.Lock()
	hook := d.hook
	d.mu.Unlock()
	commit := func() error {
		err := d.Store.Commit(b)
		d.mu.Lock()
		defer d.mu.Unlock()
		if err == nil && len(b.Writes()) > 0 {
			d.commits++
			if d.keep {
				d.batches = append(d.batches, slices.Clone(b.Writes()))
			}
		}
		return err
	}
	if hook == nil || len(b.Writes()) == 0 {
		return commit()
	}
	return hook(b, commit)
}

// onCommit has every commit go through f from now on; nil ends that.
func (d *disk) onCommit(f func(b *store.Batch, commit func() error) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook = f
}

// committed returns how many batches were applied.
func (d *disk) committed() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.commits
}

// prefix returns a disk with the first n batches, as a crash leaves it.
func (d *disk) prefix(t testing.TB, n int) *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := &disk{Store: memstore.New(), keep: true}
	for _, writes := range d.batches[:n] {
		if err := out.Commit(batchOf(writes)); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func batchOf(writes []store.Write) *store.Batch {
	var b store.Batch
	for _, w := range writes {
		if w.Value == nil {
			b.Delete(w.Key)
		} else {
			b.Put(w.Key, w.Value)
		}
	}
	return &b
}

// eventually waits until a condition on several members holds, for which there
// is no event to wait for.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v", what, patience)
		}
		<-ticks.C
	}
}

// converge waits until all members, or the given ones, agree on every shard.
func (c *cluster) converge(members ...*member) {
	c.t.Helper()
	if len(members) == 0 {
		members = c.members
	}
	deadline := time.Now().Add(patience)
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	for shard := 0; shard < testShards; {
		if agree(shard, members) {
			shard++
			continue
		}
		if time.Now().After(deadline) {
			for _, m := range members {
				c.t.Logf("%s: %+v %v", m.options.Member, m.State(shard), m.Counters())
			}
			c.t.Fatalf("shard %d has not converged after %v", shard, patience)
		}
		<-ticks.C
	}
}

func agree(shard int, members []*member) bool {
	return !slices.ContainsFunc(members, func(m *member) bool {
		return !antientropy.Agree(m.State(shard), members[0].State(shard))
	})
}

// settle converges, and then again until nobody has anything to tidy up.
func (c *cluster) settle(members ...*member) {
	c.t.Helper()
	if len(members) == 0 {
		members = c.members
	}
	for before := -1; ; {
		c.converge(members...)
		sum := 0
		for _, m := range members {
			m.idle()
			sum += m.disk.committed()
		}
		if sum == before {
			return
		}
		before = sum
	}
}

// idle waits until all loops have done what waited when it was called.
func (m *member) idle() {
	m.cluster.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for range 2 { // what the first makes urgent is done before the second
		for i := range m.loops {
			if err := m.submitAndWait(ctx, task{shard: m.shards[i]}); err != nil {
				m.cluster.t.Fatal(err)
			}
		}
	}
}

// do serves operations on keys of one shard, and fails the test on errors.
func (m *member) do(ops ...*pb.Operation) []*pb.Result {
	m.cluster.t.Helper()
	answer, err := m.try(ops...)
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	return answer.Results
}

func (m *member) try(ops ...*pb.Operation) (*pb.Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return m.Do(ctx, shardOf(string(ops[0].Key)), &pb.Request{Operations: ops})
}

// number does one operation and returns the number it answers.
func (m *member) number(op *pb.Operation) int64 {
	m.cluster.t.Helper()
	return m.do(op)[0].Number
}

// elements returns all elements of a set, page by page.
func (m *member) elements(key string) []string {
	m.cluster.t.Helper()
	var all []string
	for after := []byte(nil); ; {
		r := m.do(page(key, string(after), 1000))[0]
		for _, v := range r.Values {
			all = append(all, string(v))
		}
		if after = r.More; len(after) == 0 {
			slices.Sort(all)
			return all
		}
	}
}

// values returns the siblings of a register, the winner first.
func (m *member) values(key string) []string {
	m.cluster.t.Helper()
	var values []string
	for _, s := range m.do(get(key))[0].Siblings {
		values = append(values, string(s.Value))
	}
	return values
}

func shardOf(key string) int { return ring.Shard(key, testShards) }

// The operations, by short names.

func incr(key string, k int64) *pb.Operation {
	return &pb.Operation{Key: []byte(key), What: &pb.Operation_CounterAdd{CounterAdd: k}}
}

func reset(key string) *pb.Operation {
	return &pb.Operation{Key: []byte(key), What: &pb.Operation_CounterReset{CounterReset: &pb.Empty{}}}
}

func count(key string) *pb.Operation {
	return &pb.Operation{Key: []byte(key), What: &pb.Operation_CounterGet{CounterGet: &pb.Empty{}}}
}

func add(key string, elements ...string) *pb.Operation {
	return &pb.Operation{Key: []byte(key), What: &pb.Operation_SetAdd{SetAdd: elementsOf(elements)}}
}

func remove(key string, elements ...string) *pb.Operation {
	return &pb.Operation{Key: []byte(key), What: &pb.Operation_SetRemove{SetRemove: elementsOf(elements)}}
}

func elementsOf(elements []string) *pb.Elements {
	out := &pb.Elements{}
	for _, e := range elements {
		out.Elements = append(out.Elements, []byte(e))
	}
	return out
}

func has(key, element string) *pb.Operation {
	return &pb.Operation{Key: []byte(key), What: &pb.Operation_SetHas{SetHas: []byte(element)}}
}

func card(key string) *pb.Operation {
	return &pb.Operation{Key: []byte(key), What: &pb.Operation_SetCard{SetCard: &pb.Empty{}}}
}

func page(key, after string, limit uint32) *pb.Operation {
	return &pb.Operation{Key: []byte(key), What: &pb.Operation_SetMembers{
		SetMembers: &pb.Page{After: []byte(after), Limit: limit},
	}}
}

func set(key, value string) *pb.Operation {
	return &pb.Operation{Key: []byte(key), What: &pb.Operation_RegisterSet{RegisterSet: []byte(value)}}
}

func get(key string) *pb.Operation {
	return &pb.Operation{Key: []byte(key), What: &pb.Operation_RegisterGet{RegisterGet: &pb.Empty{}}}
}

func del(key string, of crdt.Type) *pb.Operation {
	return &pb.Operation{Key: []byte(key), What: &pb.Operation_Delete{Delete: &pb.Delete{Type: uint32(of)}}}
}

// keyIn returns the i-th key of a kind that belongs to the shard.
func keyIn(shard int, kind string, i int) string {
	for n := 0; ; n++ {
		if key := fmt.Sprintf("%s-%d-%d", kind, i, n); shardOf(key) == shard {
			return key
		}
	}
}

// names returns n names of elements.
func names(n int, kind string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%06d", kind, i)
	}
	return out
}

// fill adds elements to a set, as many in a request as it takes.
func (m *member) fill(key string, elements []string) {
	m.cluster.t.Helper()
	for some := range slices.Chunk(elements, maxElements) {
		m.do(add(key, some...))
	}
}

var errDisk = errors.New("the disk is on fire")

// scaled returns how much of something a test does: less under the race
// detector, and little in short mode.
func scaled(full, race int) int {
	switch {
	case testing.Short():
		return max(1, race/4)
	case raceDetector:
		return race
	}
	return full
}

func newMemory() store.Store { return memstore.New() }

func counterField(key string) crdt.FieldID {
	return crdt.FieldID{Object: crdt.Object{Key: key, Type: crdt.TypeCounter}}
}
