package replica

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport/memnet"
)

// hint does operations in place of the owners.
func (m *member) hint(ops ...*pb.Operation) error {
	_, err := m.DoHinted(m.cluster.t.Context(), shardOf(string(ops[0].Key)), &pb.Request{Operations: ops})
	return err
}

// orphan returns a cluster of three members with one owner for each shard, a key
// of each type in one shard, the owner of it, and the two others.
func orphan(t *testing.T) (c *cluster, keys []string, owner *member, others []*member) {
	c = newCluster(t, memnet.Options{})
	c.start("eu-1", inRegion("eu")).ownersOf(1)
	for _, name := range []string{"eu-2", "eu-3"} {
		c.start(name, inRegion("eu"))
	}
	c.agreeOnAll()
	for i := range 3 {
		keys = append(keys, keyIn(3, "k", i))
	}
	owner = c.anyOwner("eu", 3)
	others = slices.DeleteFunc(slices.Clone(c.members), func(m *member) bool { return m == owner })
	return c, keys, owner, others
}

// What is written while no owner can be reached is there when one is back, and
// nowhere else any more; a restart of who keeps it does not lose it.
func TestHints(t *testing.T) {
	c, keys, owner, others := orphan(t)
	owner.do(incr(keys[0], 5))
	owner.do(set(keys[2], "old"))
	owner.stop()
	for i, m := range others {
		for _, op := range []*pb.Operation{incr(keys[0], 10), add(keys[1], fmt.Sprint("e", i)), set(keys[2], fmt.Sprint("new", i))} {
			if err := m.hint(op); err != nil {
				t.Fatal(err)
			}
		}
	}
	if h := others[0].holdings(); h.GetHints() != 1 || h.GetHanding() != 1 {
		t.Errorf("holdings are %v, want hints of 1 shard", h)
	}
	others[0].restart(nil)
	if h := others[0].holdings(); h.GetHints() != 1 {
		t.Errorf("after a restart, holdings are %v, want hints of 1 shard", h)
	}
	owner.restart(nil)
	c.agreeOnAll()
	if n := owner.number(count(keys[0])); n != 25 {
		t.Errorf("the counter is %d, want 25", n)
	}
	if got := owner.elements(keys[1]); !slices.Equal(got, []string{"e0", "e1"}) {
		slices.Sort(got)
		if !slices.Equal(got, []string{"e0", "e1"}) {
			t.Errorf("the set is %v", got)
		}
	}
	if n := len(owner.do(get(keys[2]))[0].GetSiblings()); n != 3 {
		t.Errorf("the register has %d siblings, want 3: nobody had seen another's", n)
	}
	// Once more: the copies that were removed are started anew, under others.
	owner.stop()
	if err := others[0].hint(incr(keys[0], 100)); err != nil {
		t.Fatal(err)
	}
	owner.restart(nil)
	c.agreeOnAll()
	if n := owner.number(count(keys[0])); n != 125 {
		t.Errorf("the counter is %d, want 125", n)
	}
}

// What needs to know what is there is refused, and so is what would be too much.
func TestHintsAreBounded(t *testing.T) {
	c, keys, owner, others := orphan(t)
	owner.stop()
	m := others[0]
	for name, op := range map[string]*pb.Operation{
		"reset": reset(keys[0]), "remove": remove(keys[1], "e"), "delete": del(keys[0], crdt.TypeCounter), "read": count(keys[0]),
	} {
		if err := m.hint(op); !errors.Is(err, ErrNotOwner) {
			t.Errorf("%s: %v, want %v", name, err, ErrNotOwner)
		}
	}
	if m.shards[3].held() {
		t.Error("what was refused has started a copy")
	}
	const limit, size, fit = 64 << 10, 10 << 10, 6
	m.options.HintLimit = limit
	m.restart(nil)
	for n := range fit {
		if err := m.hint(add(keys[1], fmt.Sprint("e", n)+strings.Repeat("x", size))); err != nil {
			t.Fatalf("element %d of %d: %v", n+1, fit, err)
		}
	}
	kept := func() {
		t.Helper()
		err := m.hint(set(keys[2], strings.Repeat("x", size)))
		const why = "MiB of writes wait here already for owners that cannot be reached, and hint_limit allows 0.1 MiB"
		if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), why) {
			t.Errorf("beyond the limit: %v; want %v, %q", err, ErrBusy, why)
		}
		h, now := m.holdings(), m.Measure()
		if n := h.GetHintBytes(); n < fit*size || n > limit || now.HintedBytes != n || h.GetHintLimit() != limit || now.HintLimit != limit {
			t.Errorf("it says to keep %d of %d bytes, and measures %d of %d; these are %d elements of %d",
				n, h.GetHintLimit(), now.HintedBytes, now.HintLimit, fit, size)
		}
	}
	kept()
	m.restart(nil)
	kept()
	if err := m.hint(incr(keys[0], 1)); err != nil {
		t.Errorf("what still fits: %v", err)
	}
	owner.restart(nil)
	c.agreeOnAll()
	if n := m.holdings().GetHintBytes(); n != 0 {
		t.Errorf("%d bytes of hints are left when all is handed over", n)
	}
}

// Who is to take a write only if no owner is there takes it once it has noticed, and
// has written nothing before.
func TestHintsIfAbsent(t *testing.T) {
	_, keys, owner, others := orphan(t)
	m := others[0]
	try := func() error {
		_, err := m.DoHinted(t.Context(), shardOf(keys[0]), &pb.Request{Operations: []*pb.Operation{incr(keys[0], 1)}, IfAbsent: true})
		return err
	}
	if err := try(); !errors.Is(err, ErrNotOwner) || !strings.Contains(err.Error(), owner.options.Member+" is there") {
		t.Errorf("with the owner there: %v, want %v", err, ErrNotOwner)
	}
	if m.shards[3].held() {
		t.Error("what was refused has started a copy")
	}
	owner.stop()
	defer owner.restart(nil)
	eventually(t, "it takes the write", func() bool { return try() == nil })
}

// Who has met nobody yet does not know that no owner is there.
func TestHintsOfStrangers(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	m := c.start("eu-2", func(o *Options) {
		inRegion("eu")(o)
		o.Joins, o.FoundAfter = true, time.Hour
	})
	_, err := m.DoHinted(t.Context(), 0, &pb.Request{Operations: []*pb.Operation{incr(keyIn(0, "k", 0), 1)}, IfAbsent: true})
	if code := EncodeError(err).GetCode(); err == nil || code != pb.Error_NOT_OWNER {
		t.Errorf("%v, told as %v; want %v", err, code, pb.Error_NOT_OWNER)
	}
}

// A copy that stands in for owners takes no operation ids: it ends before it could
// take anything back. Nothing is written for what it refuses.
func TestHintsTakeNoOperationIDs(t *testing.T) {
	_, keys, owner, others := orphan(t)
	owner.stop()
	defer owner.restart(nil)
	m := others[0]
	request := &pb.Request{Operations: []*pb.Operation{incr(keys[0], 1)}, Operation: operationAt(time.Now(), 1)}
	if _, err := m.DoHinted(t.Context(), shardOf(keys[0]), request); !errors.Is(err, ErrNotRemembered) {
		t.Errorf("%v, want %v", err, ErrNotRemembered)
	}
	if m.shards[3].held() {
		t.Error("what was refused has started a copy")
	}
}
