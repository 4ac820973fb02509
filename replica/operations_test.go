package replica

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
)

// alone returns a single member.
func alone(t testing.TB, change func(*Options)) *member {
	return newCluster(t, memnetOptions).start("eu", change)
}

func TestCounterOperations(t *testing.T) {
	m := alone(t, nil)
	for _, test := range []struct {
		op   *pb.Operation
		want int64
	}{
		{count("c"), 0},
		{incr("c", 5), 5},
		{incr("c", -7), -2},
		{incr("c", 0), -2},
		{count("c"), -2},
		{reset("c"), 0},
		{count("c"), 0},
		{incr("c", 3), 3},
		{del("c", crdt.TypeCounter), 1},
		{count("c"), 0},
		{del("c", crdt.TypeCounter), 0},
		{incr("c", math.MaxInt64), math.MaxInt64},
		{incr("c", -1), math.MaxInt64 - 1},
	} {
		if got := m.number(test.op); got != test.want {
			t.Errorf("%v = %d, want %d", test.op, got, test.want)
		}
	}
}

func TestSetOperations(t *testing.T) {
	m := alone(t, nil)
	for _, test := range []struct {
		op   *pb.Operation
		want int64
		flag bool
	}{
		{card("s"), 0, false},
		{add("s", "a", "b", "a"), 2, false},
		{add("s", "b", "c"), 1, false},
		{add("s"), 0, false},
		{card("s"), 3, false},
		{has("s", "a"), 0, true},
		{has("s", "x"), 0, false},
		{remove("s", "a", "x", "a"), 1, false},
		{has("s", "a"), 0, false},
		{card("s"), 2, false},
		{add("s", ""), 1, false},
		{has("s", ""), 0, true},
		{del("s", crdt.TypeSet), 1, false},
		{card("s"), 0, false},
		{has("s", "b"), 0, false},
		{add("s", "b"), 1, false},
		{card("s"), 1, false},
	} {
		if got := m.do(test.op)[0]; got.Number != test.want || got.Flag != test.flag {
			t.Errorf("%v = %v, want %d, %v", test.op, got, test.want, test.flag)
		}
	}
}

func TestRegisterOperations(t *testing.T) {
	m := alone(t, nil)
	if got := m.do(get("r"))[0]; got.Flag || len(got.Siblings) != 0 {
		t.Errorf("an absent register: %v", got)
	}
	last := uint64(0)
	for _, value := range []string{"one", "", "three"} {
		m.do(set("r", value))
		got := m.do(get("r"))[0]
		if !got.Flag || len(got.Siblings) != 1 || string(got.Siblings[0].Value) != value || got.Siblings[0].Time <= last {
			t.Errorf("after writing %q: %v, the time before was %d", value, got, last)
		}
		last = got.Siblings[0].Time
	}
	if n := m.number(del("r", crdt.TypeRegister)); n != 1 || len(m.values("r")) != 0 {
		t.Errorf("delete answers %d and leaves %q", n, m.values("r"))
	}
}

// Types of one key are objects of their own; a delete says how many there were.
func TestDeleteByType(t *testing.T) {
	m := alone(t, nil)
	fill := func() { m.do(incr("k", 1), add("k", "e"), set("k", "v")) }
	for of, want := range map[crdt.Type]int64{0: 3, crdt.TypeCounter: 1, crdt.TypeSet: 1, crdt.TypeRegister: 1} {
		fill()
		if got := m.number(del("k", of)); got != want {
			t.Errorf("delete of type %d answers %d, want %d", of, got, want)
		}
		r := m.do(count("k"), card("k"), get("k"))
		left := []bool{r[0].Flag, r[1].Number > 0, r[2].Flag}
		for i, there := range left {
			if gone := of == 0 || of == crdt.Types[i]; there == gone {
				t.Errorf("after a delete of type %d there are counter, set, register: %v", of, left)
			}
		}
		m.do(del("k", 0))
	}
	if got := m.number(del("k", 0)); got != 0 {
		t.Errorf("a delete of nothing answers %d", got)
	}
	if n := residue(t, m.disk); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

// Operations of a request see those before them; reads see all its writes.
func TestRequestInOrder(t *testing.T) {
	m := alone(t, nil)
	r := m.do(incr("k", 2), incr("k", 3), count("k"), add("k", "a", "b"), remove("k", "a"), card("k"),
		has("k", "a"), set("k", "x"), set("k", "y"), get("k"), del("k", crdt.TypeSet), add("k", "c"), page("k", "", 0))
	if r[0].Number != 2 || r[1].Number != 5 || r[2].Number != 5 || r[3].Number != 2 || r[4].Number != 1 {
		t.Errorf("counter and set: %v", r)
	}
	if r[6].Flag || r[10].Number != 1 || r[11].Number != 1 || fmt.Sprintf("%s", r[12].Values) != "[c]" {
		t.Errorf("set after delete: %v", r)
	}
	if len(r[9].Siblings) != 1 || string(r[9].Siblings[0].Value) != "y" {
		t.Errorf("register: %v", r[9])
	}
	if n := m.State(shardOf("k")).Vector; len(n) != 1 || n[n.Actors()[0]] != 1 {
		t.Errorf("one request made the events %v", n)
	}
}

// The vector of an answer covers what it shows.
func TestAnswerVector(t *testing.T) {
	m := alone(t, nil)
	answer, err := m.try(incr("k", 1))
	if err != nil {
		t.Fatal(err)
	}
	want := m.State(shardOf("k")).Vector
	if got, err := crdt.DecodeVector(answer.Vector); err != nil || got.Compare(want) != crdt.Equal {
		t.Errorf("a write answers %v, %v; want %v", got, err, want)
	}
	answer, err = m.try(count("k"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := crdt.DecodeVector(answer.Vector); err != nil || got.Compare(want) != crdt.Equal || answer.Member != "eu" {
		t.Errorf("a read answers %v, %v; want %v", got, err, want)
	}
}

// A request is done whole or not at all.
func TestRequestIsAtomic(t *testing.T) {
	m := alone(t, nil)
	m.do(incr("{k}c", 10), add("{k}s", "old"), set("{k}r", "old"), incr("{k}full", math.MaxInt64))
	before := m.State(shardOf("{k}"))
	_, err := m.try(incr("{k}c", 1), add("{k}s", "new"), remove("{k}s", "old"), del("{k}s", 0), set("{k}r", "new"),
		reset("{k}c"), incr("{k}full", 1))
	if !errors.Is(err, crdt.ErrOverflow) {
		t.Fatalf("overflow: %v", err)
	}
	r := m.do(count("{k}c"), page("{k}s", "", 0), get("{k}r"), count("{k}full"))
	if r[0].Number != 10 || fmt.Sprintf("%s", r[1].Values) != "[old]" || string(r[2].Siblings[0].Value) != "old" || r[3].Number != math.MaxInt64 {
		t.Errorf("after a request that failed: %v", r)
	}
	if after := m.State(shardOf("{k}")); after.Vector.Compare(before.Vector) != crdt.Equal || after.Root != before.Root {
		t.Errorf("the shard went from %v to %v", before, after)
	}
}

// A request that fails leaves the others of its group alone.
func TestFailureInGroup(t *testing.T) {
	m := alone(t, nil)
	m.do(incr("{k}full", math.MaxInt64))
	held := m.holdUp()
	var failed, good []chan error
	for i := range 5 {
		good = append(good, m.begin(incr("{k}c", 1), add("{k}s", fmt.Sprint(i))))
		failed = append(failed, m.begin(incr("{k}c", 1), incr("{k}full", 1)))
	}
	m.queued(10)
	held()
	for i := range good {
		if err := <-good[i]; err != nil {
			t.Error(err)
		}
		if err := <-failed[i]; !errors.Is(err, crdt.ErrOverflow) {
			t.Errorf("overflow: %v", err)
		}
	}
	if r := m.do(count("{k}c"), card("{k}s")); r[0].Number != 5 || r[1].Number != 5 {
		t.Errorf("counter and set: %v", r)
	}
}

func TestValidation(t *testing.T) {
	m := alone(t, nil)
	long := strings.Repeat("x", crdt.MaxValueBytes+1)
	many := make([]*pb.Operation, maxOperations+1)
	for i := range many {
		many[i] = incr("k", 1)
	}
	wrong := incr("k", 1)
	shard := shardOf("k")
	for name, test := range map[string]struct {
		shard int
		ops   []*pb.Operation
		want  error
		says  string
	}{
		"no operations":    {shard, nil, crdt.ErrInvalid, "0 operations"},
		"many operations":  {shard, many, crdt.ErrInvalid, "at most 1024"[8:]},
		"no such shard":    {testShards, []*pb.Operation{wrong}, ErrWrongShard, "0 to 7"},
		"negative shard":   {-1, []*pb.Operation{wrong}, ErrWrongShard, "-1"},
		"wrong shard":      {(shard + 1) % testShards, []*pb.Operation{wrong}, ErrWrongShard, `"k"`},
		"second wrong":     {shard, []*pb.Operation{wrong, incr(keyIn((shard+1)%testShards, "k", 0), 1)}, ErrWrongShard, "belongs"},
		"unknown":          {shard, []*pb.Operation{{Key: []byte("k")}}, crdt.ErrInvalid, "does not know"},
		"empty key":        {shard, []*pb.Operation{incr("", 1)}, crdt.ErrInvalid, "empty"},
		"empty key read":   {shard, []*pb.Operation{count("")}, crdt.ErrInvalid, "empty"},
		"long key":         {shard, []*pb.Operation{incr(long[:crdt.MaxKeyBytes+1], 1)}, crdt.ErrInvalid, "4097 bytes"},
		"long value":       {shard, []*pb.Operation{set("k", long)}, crdt.ErrInvalid, "1048577 bytes"},
		"long element":     {shard, []*pb.Operation{add("k", long[:crdt.MaxElementBytes+1])}, crdt.ErrInvalid, "32769 bytes"},
		"long removed":     {shard, []*pb.Operation{remove("k", long[:crdt.MaxElementBytes+1])}, crdt.ErrInvalid, "32769 bytes"},
		"long element has": {shard, []*pb.Operation{has("k", long[:crdt.MaxElementBytes+1])}, crdt.ErrInvalid, "32769 bytes"},
		"long cursor":      {shard, []*pb.Operation{page("k", long[:crdt.MaxElementBytes+1], 1)}, crdt.ErrInvalid, "cursor"},
		"many elements":    {shard, []*pb.Operation{add("k", make([]string, maxElements+1)...)}, crdt.ErrInvalid, "4097 elements"},
		"much at once":     {shard, []*pb.Operation{set("k", long[1:]), set("k", long[1:])}, crdt.ErrInvalid, "at most"},
		"unknown type":     {shard, []*pb.Operation{del("k", 9)}, crdt.ErrInvalid, "type 9"},
	} {
		answer, err := m.Do(context.Background(), test.shard, &pb.Request{Operations: test.ops})
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) || answer != nil {
			t.Errorf("%s: %v, %v; want %v that says %q", name, answer, err, test.want, test.says)
		}
	}
	if n := residue(t, m.disk); n != 0 {
		t.Errorf("%d keys after nothing but invalid requests", n)
	}
	longest := []*pb.Operation{incr(keyAs(long[:crdt.MaxKeyBytes], shard), 1)}
	longest = append(longest, add(string(longest[0].Key), long[:crdt.MaxElementBytes]))
	if _, err := m.try(longest...); err != nil {
		t.Errorf("the longest key and element: %v", err)
	}
}

// keyAs changes the end of a key until it belongs to the shard.
func keyAs(key string, shard int) string {
	for n := 0; ; n++ {
		if key = key[:len(key)-4] + fmt.Sprintf("%04d", n); shardOf(key) == shard {
			return key
		}
	}
}

func TestPages(t *testing.T) {
	m := alone(t, nil)
	want := append(names(250, "e"), "")
	m.fill("s", want)
	slices.Sort(want)
	for _, limit := range []uint32{1, 2, 7, 100, 250, 251, 0} {
		var got []string
		pages := 0
		for after := []byte(nil); ; pages++ {
			r := m.do(page("s", string(after), limit))[0]
			if n := len(r.Values); limit > 0 && n > int(limit) && (n > int(limit)+1 || len(r.Values[0]) > 0) {
				t.Errorf("a page of %d elements, asked for %d", n, limit)
			}
			for _, v := range r.Values {
				got = append(got, string(v))
			}
			if after = r.More; len(after) == 0 {
				break
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %d elements on %d pages, want %d", limit, len(got), pages, len(want))
		}
	}
	gone := m.do(page("s", "e-000100", 10))[0] // the cursor need not be there
	m.do(remove("s", "e-000100"))
	if again := m.do(page("s", "e-000100", 10))[0]; fmt.Sprint(gone.Values) != fmt.Sprint(again.Values) {
		t.Errorf("after a cursor that was removed: %s, before %s", again.Values, gone.Values)
	}
}

// A page ends where its bytes do, too.
func TestPageBytes(t *testing.T) {
	m := alone(t, nil)
	for i := range 40 {
		m.do(add("s", strings.Repeat(string(rune('A'+i)), crdt.MaxElementBytes/2)))
	}
	first := m.do(page("s", "", 0))[0]
	if n := len(first.Values); n > pageBytes/(crdt.MaxElementBytes/2)+1 || len(first.More) == 0 {
		t.Errorf("a page of %d elements of %d bytes", n, crdt.MaxElementBytes/2)
	}
	if got := m.elements("s"); len(got) != 40 {
		t.Errorf("%d elements on all pages", len(got))
	}
}

// Of a key that has no object of the type asked for, an answer names those
// that it has.
func TestOtherTypes(t *testing.T) {
	m := alone(t, nil)
	reads := []*pb.Operation{count("k"), page("k", "", 0), get("k"), card("k")}
	check := func(want ...string) {
		t.Helper()
		for i, r := range m.do(reads...) {
			if got := fmt.Sprint(r.OtherTypes); got != want[i] {
				t.Errorf("read %d names %v, want %v", i, got, want[i])
			}
		}
	}
	check("[]", "[]", "[]", "[]")
	m.do(incr("k", 1))
	check("[]", "[1]", "[1]", "[1]")
	m.do(add("k", "e"))
	check("[]", "[]", "[1 2]", "[]")
	m.do(reset("k"))
	check("[2]", "[]", "[2]", "[]")
	m.do(del("k", 0), set("k", "v"))
	check("[3]", "[3]", "[]", "[3]")
}

// A context that ends leaves the outcome unknown, and the member usable.
func TestImpatience(t *testing.T) {
	m := alone(t, nil)
	held := m.holdUp()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := m.Do(ctx, shardOf("k"), &pb.Request{Operations: []*pb.Operation{incr("k", 1)}})
		done <- err
	}()
	m.queued(1)
	cancel()
	if err := <-done; !errors.Is(err, ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("a write of the impatient: %v", err)
	}
	held()
	if n := m.number(incr("k", 1)); n != 2 {
		t.Errorf("the counter is %d, want 2", n)
	}
}

func TestClose(t *testing.T) {
	m := alone(t, nil)
	m.do(incr("k", 1))
	m.stop()
	if err := m.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	if _, err := m.try(incr("k", 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("a write after Close: %v", err)
	}
}

// A read that cannot be answered is refused before the writes beside it are
// done: after an error of the caller's nothing was changed.
func TestRefusedReadWritesNothing(t *testing.T) {
	m := alone(t, nil)
	long := strings.Repeat("e", crdt.MaxElementBytes+1)
	for _, read := range []*pb.Operation{has("k", long), page("k", long, 0)} {
		if _, err := m.try(incr("k", 1), read); !errors.Is(err, crdt.ErrInvalid) {
			t.Errorf("%.40v: %v, want ErrInvalid", read, err)
		}
	}
	if n := m.number(count("k")); n != 0 {
		t.Errorf("the counter of refused requests is %d", n)
	}
}

// Many reads in one request come to no more than a message carries, and one.
func TestReadsAreBounded(t *testing.T) {
	m := alone(t, nil)
	m.do(set("r", strings.Repeat("v", crdt.MaxValueBytes)))
	reads := slices.Repeat([]*pb.Operation{get("r")}, maxOperations)
	if _, err := m.try(reads...); !errors.Is(err, crdt.ErrInvalid) || !strings.Contains(err.Error(), "ask for less at a time") {
		t.Errorf("%d reads of 1 MiB: %v, want ErrInvalid", len(reads), err)
	}
	if _, err := m.try(reads[:3]...); err != nil {
		t.Errorf("3 reads of 1 MiB: %v", err)
	}
	writes := []*pb.Operation{incr("r", 1)}
	if _, err := m.try(append(writes, reads[:9]...)...); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a write and 9 reads of 1 MiB: %v, want ErrUnavailable: the write was made", err)
	}
	if n := m.number(count("r")); n != 1 {
		t.Errorf("the counter is %d, want 1", n)
	}
}
