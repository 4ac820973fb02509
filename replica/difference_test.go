package replica

import (
	"fmt"
	"testing"

	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport/memnet"
)

// shortLog has members forget events quickly, so that they must walk.
func shortLog(o *Options) { o.LogLimit = 4 }

// measured has members walk, and repeat a question only if it is lost: one that is
// answered slowly would be counted several times, with all of its answers.
func measured(o *Options) {
	shortLog(o)
	o.QuestionTimeout = 5 * patience // the first repetition comes after a third of patience
}

// inBulk does one operation for each key, many in a request.
func (m *member) inBulk(keys []string, op func(key string) *pb.Operation) {
	m.cluster.t.Helper()
	requests := make([][]*pb.Operation, testShards)
	for _, key := range keys {
		shard := shardOf(key)
		if requests[shard] = append(requests[shard], op(key)); len(requests[shard]) == maxOperations {
			m.do(requests[shard]...)
			requests[shard] = nil
		}
	}
	for _, request := range requests {
		if len(request) > 0 {
			m.do(request...)
		}
	}
}

// synced returns the bytes of all questions and answers so far.
func (c *cluster) synced() uint64 { return c.network.Traffic("sync.").Bytes }

// TestBytesFollowTheDifference: with 100,000 keys of which 100 differ, a walk
// takes at most 5 % of the bytes of a full transfer.
func TestBytesFollowTheDifference(t *testing.T) {
	all, differ := names(scaled(100_000, 20_000), "key"), scaled(100, 20)
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu", measured)
	eu.inBulk(all, func(key string) *pb.Operation { return incr(key, 1) })

	before := c.synced()
	us := c.start("us", measured)
	c.converge()
	full := c.synced() - before

	c.network.CutRegion("us")
	for i := range differ {
		eu.do(incr(all[i*len(all)/differ], 1))
	}
	pulled, fetched := us.Counters()["fields_pulled"], us.Counters()["events_fetched"]
	walks := us.Counters()["walks"]
	before = c.synced()
	c.network.RestoreRegion("us")
	c.converge()
	part := c.synced() - before
	walks = us.Counters()["walks"] - walks
	pulled = us.Counters()["fields_pulled"] - pulled
	fetched = us.Counters()["events_fetched"] - fetched

	t.Logf("%d keys: a full transfer takes %d bytes; %d keys that differ take %d bytes, %.2f %%, in %d walks, %d fields and %d events",
		len(all), full, differ, part, 100*float64(part)/float64(full), walks, pulled, fetched)
	// On a busy machine eu may seem to have been away, and walks begin anew.
	if part = part * testShards / max(walks, testShards); part*100 > full*5 {
		t.Errorf("a walk takes %d bytes, more than 5 %% of the %d of a full transfer", part, full)
	}
}

// TestBytesInsideOneLeaf: a set is one leaf, however large. Three elements of
// 100,000 that differ are found by comparing ranges of it.
func TestBytesInsideOneLeaf(t *testing.T) {
	elements := names(max(20_000, scaled(100_000, 20_000)), "element")
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu", measured)
	eu.fill("set", elements)
	before := c.synced()
	us := c.start("us", measured)
	c.converge()
	full := c.synced() - before

	c.network.CutRegion("us")
	eu.do(remove("set", elements[7]))
	eu.do(add("set", "new"))
	eu.do(add("set", elements[77])) // replaces a dot
	for i := range 4 {              // the log has forgotten the three
		eu.do(incr(keyIn(shardOf("set"), "other", i), 1))
	}
	walks := us.Counters()["walks"]
	before = c.synced()
	c.network.RestoreRegion("us")
	c.converge()
	part := c.synced() - before
	// On a busy machine eu may seem to have been away, and the walk begins anew.
	walks = us.Counters()["walks"] - walks

	t.Logf("%d elements: a full transfer takes %d bytes; three that differ take %d bytes, %.2f %%, in %d walks",
		len(elements), full, part, 100*float64(part)/float64(full), walks)
	if part > 30_000*walks {
		t.Errorf("a walk takes %d bytes for three elements", part/max(walks, 1))
	}
	if r := us.do(card("set"), has("set", elements[7]), has("set", "new"), has("set", elements[77])); r[0].Number != int64(len(elements)) ||
		r[1].Flag || !r[2].Flag || !r[3].Flag {
		t.Errorf("after the walk: %v", r)
	}
	if n := us.Counters()["walks"]; n < 2 {
		t.Errorf("%d walks", n)
	}
}

// Long names do not make long bounds.
func TestBytesOfLongNames(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu", measured)
	long := make([]string, 60)
	for i := range long {
		long[i] = fmt.Sprintf("%030000d", i)
	}
	for i := range long {
		eu.do(add("set", long[i]))
	}
	us := c.start("us", measured)
	c.converge()
	c.network.CutRegion("us")
	eu.do(remove("set", long[3]))
	for i := range 5 {
		eu.do(incr(keyIn(shardOf("set"), "other", i), 1))
	}
	walks := us.Counters()["walks"]
	before := c.synced()
	c.network.RestoreRegion("us")
	c.converge()
	n := c.synced() - before
	walks = us.Counters()["walks"] - walks
	t.Logf("one of 60 elements of 30,000 bytes takes %d bytes in %d walks", n, walks)
	if n > 200_000*walks {
		t.Errorf("%d bytes in %d walks for one of 60 elements of 30,000 bytes", n, walks)
	}
	if n := us.number(card("set")); n != 59 {
		t.Errorf("%d elements", n)
	}
}
