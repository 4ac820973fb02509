package replica

import (
	"bytes"
	"cmp"
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

func scanOf(prefix string, page *pb.Scan) *pb.Operation {
	return &pb.Operation{Key: []byte(prefix), What: &pb.Operation_Scan{Scan: page}}
}

// scanned returns all that a scan of a shard shows, page by page, and how many
// pages that took.
func (m *member) scanned(shard int, prefix string, of crdt.Type, limit uint32) (shown []string, pages int) {
	m.cluster.t.Helper()
	for after := []byte(nil); ; {
		answer, err := m.Do(m.cluster.t.Context(), shard, &pb.Request{
			Operations: []*pb.Operation{scanOf(prefix, &pb.Scan{After: after, Limit: limit, Type: uint32(of)})},
		})
		if err != nil {
			m.cluster.t.Fatal(err)
		}
		r := answer.GetResults()[0]
		if len(r.GetObjects()) > int(limit) && limit > 0 {
			m.cluster.t.Fatalf("a page of %d objects, of at most %d", len(r.GetObjects()), limit)
		}
		for _, o := range r.GetObjects() {
			shown = append(shown, fmt.Sprintf("%q %v %d", o.GetKey(), crdt.Type(o.GetType()), o.GetFields()))
		}
		pages++
		if after = r.GetMore(); len(after) == 0 {
			return shown, pages
		}
	}
}

// TestScan compares what scans show with what reads of every key say there is,
// after random operations.
func TestScan(t *testing.T) {
	random := seeded(t)
	m := newCluster(t, memnet.Options{}).start("eu", nil)
	const shard = fuzzShard
	var keys []string
	for _, end := range []string{"", "a", "ab", "a\x00", "a\x01", "a\x02", "a\x03", "\xff", "\xff\xff", "\xffa", "é", "b"} {
		keys = append(keys, "{"+keyIn(shard, "tag", 0)+"}"+end)
	}
	for range 400 {
		key := keys[random.IntN(len(keys))]
		element := fmt.Sprint(random.IntN(3))
		op := []*pb.Operation{
			incr(key, 1), reset(key), add(key, element), remove(key, element), remove(key, "0", "1", "2"), set(key, "v"), del(key, 0),
		}[random.IntN(7)]
		request := &pb.Request{Operations: []*pb.Operation{op}}
		if _, adds := op.GetWhat().(*pb.Operation_CounterAdd); adds { // which leaves a record beside the counter
			id := crdt.NewOperationID(time.Now().UnixMilli(), [10]byte{byte(random.Uint32())})
			request.Operation = id[:]
		}
		if _, err := m.Do(t.Context(), shard, request); err != nil {
			t.Fatal(err)
		}
	}
	m.do(incr(keys[1], 1), add(keys[1], "e"), set(keys[1], "v")) // types that look like the end of a key
	type shown struct {
		key, text string
		of        crdt.Type
	}
	var there []shown
	for _, key := range keys {
		r := m.do(count(key), card(key), get(key))
		for of, n := range map[crdt.Type]int64{
			crdt.TypeCounter: numberOf(r[0].GetFlag()), crdt.TypeSet: r[1].GetNumber(), crdt.TypeRegister: numberOf(r[2].GetFlag()),
		} {
			if n > 0 {
				there = append(there, shown{key, fmt.Sprintf("%q %v %d", key, of, n), of})
			}
		}
	}
	slices.SortFunc(there, func(a, b shown) int { return cmp.Compare(a.key+string(rune(a.of)), b.key+string(rune(b.of))) })
	tag := keys[0]
	for _, prefix := range []string{"", tag[:3], tag, tag + "a", tag + "a\x01", tag + "a\x02", tag + "\xff", tag + "\xff\xff", tag + "z"} {
		for _, of := range []crdt.Type{0, crdt.TypeCounter, crdt.TypeSet, crdt.TypeRegister} {
			var want []string
			for _, s := range there {
				if strings.HasPrefix(s.key, prefix) && (of == 0 || of == s.of) {
					want = append(want, s.text)
				}
			}
			for _, limit := range []uint32{0, 1, 2, 7} {
				got, pages := m.scanned(shard, prefix, of, limit)
				if !slices.Equal(got, want) {
					t.Errorf("prefix %q, type %v, %d in a page:\n got %q\nwant %q", prefix, of, limit, got, want)
				}
				if most := len(there) + 1; pages > most {
					t.Errorf("%d pages of %d objects", pages, len(there))
				}
			}
		}
	}
}

func numberOf(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// TestScanAfterReset: a counter of which a reset has left what only its owner removes
// is not there.
func TestScanAfterReset(t *testing.T) {
	c, eu, us, _ := three(t, nil)
	key := keyIn(fuzzShard, "counter", 0)
	eu.do(incr(key, 3))
	c.converge()
	c.network.CutRegion("eu")
	us.do(reset(key))
	if got, _ := us.scanned(fuzzShard, "", 0, 0); len(got) > 0 {
		t.Errorf("it shows %q", got)
	}
	us.do(incr(key, 1))
	if got, _ := us.scanned(fuzzShard, "", 0, 0); len(got) != 1 {
		t.Errorf("after an increment it shows %q", got)
	}
	c.network.RestoreRegion("eu")
	c.settle()
}

// TestScanPageIsBounded: a page has no more bytes than it should, however long the
// keys are, and is not sought for ever among what does not show.
func TestScanPageIsBounded(t *testing.T) {
	m := newCluster(t, memnet.Options{}).start("eu", nil)
	tag := "{" + keyIn(fuzzShard, "tag", 0) + "}"
	const long = 300
	for i := range long {
		m.do(add(tag+"long"+strings.Repeat("x", 4000-len(tag))+fmt.Sprintf("%04d", i), "e"))
	}
	if got, pages := m.scanned(fuzzShard, tag+"long", 0, 0); len(got) != long || pages != 3 {
		t.Errorf("%d objects in %d pages", len(got), pages)
	}
	for low := 0; low < maxScanned+10; low += maxOperations {
		var ops []*pb.Operation
		for i := low; i < min(low+maxOperations, maxScanned+10); i++ {
			ops = append(ops, set(fmt.Sprintf("%sother%06d", tag, i), ""))
		}
		m.do(ops...)
	}
	if got, pages := m.scanned(fuzzShard, tag+"other", crdt.TypeSet, 0); len(got) != 0 || pages != 2 {
		t.Errorf("%d objects in %d pages", len(got), pages)
	}
}

func TestScanRefused(t *testing.T) {
	m := newCluster(t, memnet.Options{}).start("eu", nil)
	for what, ops := range map[string][]*pb.Operation{
		"a long prefix":     {scanOf(strings.Repeat("k", crdt.MaxKeyBytes+1), &pb.Scan{})},
		"a foreign cursor":  {scanOf("b", &pb.Scan{After: []byte("a\x01")})},
		"a long cursor":     {scanOf("", &pb.Scan{After: make([]byte, crdt.MaxKeyBytes+2)})},
		"an unknown type":   {scanOf("", &pb.Scan{Type: uint32(crdt.TypeOperation)})},
		"one beside others": {scanOf(fuzzKeys.set, &pb.Scan{}), add(fuzzKeys.set, "e")},
	} {
		answer, err := m.Do(t.Context(), fuzzShard, &pb.Request{Operations: ops})
		if !errors.Is(err, crdt.ErrInvalid) {
			t.Errorf("%s: %v, %v", what, answer, err)
		}
	}
}

// TestScanAtQuorum: a scan shows all that was acknowledged at its level, on an owner
// that has not heard of it, too.
func TestScanAtQuorum(t *testing.T) {
	c, eu, us, late := three(t, enrolled("1"))
	c.allKnow()
	for i := range 20 {
		c.network.CutRegion("ap")
		key := keyIn(fuzzShard, "scanned", i)
		if _, err := eu.atWithin(most, 20_000, incr(key, 1)); err != nil {
			t.Fatal(err)
		}
		c.network.RestoreRegion("ap")
		answer, err := []*member{late, us}[i%2].Do(t.Context(), fuzzShard, &pb.Request{
			Operations: []*pb.Operation{scanOf("", &pb.Scan{})}, Consistency: most.Enum(), PatienceMs: 20_000,
		})
		if err != nil || len(answer.GetResults()[0].GetObjects()) != i+1 {
			t.Fatalf("after write %d: %v, %v", i, answer, err)
		}
	}
}

// TestScanOfUser: who may touch only some keys may scan only these.
func TestScanOfUser(t *testing.T) {
	u := &pb.User{Name: "u", Role: pb.Role_READ, Prefixes: [][]byte{[]byte("a:"), []byte("b:")}}
	for prefix, may := range map[string]bool{"": false, "a": false, "a:": true, "b:x": true, "c": false} {
		err := permit(u, &pb.Request{Operations: []*pb.Operation{scanOf(prefix, &pb.Scan{})}})
		if (err == nil) != may || err != nil && (!errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), `["a:" "b:"]`)) {
			t.Errorf("a scan of %q: %v", prefix, err)
		}
	}
}

// The keys with a prefix end where those without one begin, whatever bytes it has.
func TestPrefixEnd(t *testing.T) {
	for shard := range 1 << 16 {
		for _, more := range []string{"", "a", "\x80", "\xff", "é\xff\xff"} {
			low := append(shardKey('h', shard, 8), more...)
			end := prefixEnd(low)
			last := append(slices.Clone(low), 0xff, 0xff, 0xff, 0xff)
			if bytes.Compare(last, end) >= 0 || bytes.HasPrefix(end, low) || bytes.Compare(end, shardEnd('h', shard)) > 0 {
				t.Fatalf("the keys that begin with %x end at %x", low, end)
			}
		}
	}
}

// What a scan may show is what any range has heard, and it waits until all have heard
// what its session has seen.
func TestScanWhileCatchingUp(t *testing.T) {
	heard := crdt.NewHeard(crdt.VersionVector{1: 5})
	heard.Join("", leafStart(7), crdt.VersionVector{2: 3})
	request := &pb.Request{Operations: []*pb.Operation{scanOf("a", &pb.Scan{})}}
	if v := seen(heard, request); v[1] != 5 || v[2] != 3 {
		t.Errorf("it may show %v", v)
	}
	if n := unheard(heard, request, crdt.VersionVector{2: 3}); n != 3 {
		t.Errorf("%d events are missing, want 3 in the higher ranges", n)
	}
}
