package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/allocs"
	"github.com/atolldb/atoll/internal/ring"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/memstore"
	"github.com/atolldb/atoll/merkle"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

// The shard that fuzzed bytes are about, and keys of it.
const fuzzShard = 3

var fuzzKeys = struct{ counter, set, register string }{
	keyIn(fuzzShard, "counter", 0), keyIn(fuzzShard, "set", 0), keyIn(fuzzShard, "register", 0),
}

// fuzzOptions are those of a member in whom nothing is left to chance.
func fuzzOptions(name string) Options {
	o := testOptions(name)
	o.Loops, o.SessionPatience = 1, time.Millisecond
	next := crdt.Actor(len(name)) << 32
	o.NewActor = func() crdt.Actor { next++; return next }
	o.Now = func() time.Time { return time.UnixMilli(1_700_000_000_000) }
	return o
}

// fuzzed opens a member without a network on what some writes have left, or
// returns the error of opening it.
func fuzzed(t testing.TB, o Options, writes []store.Write) (*member, error) {
	t.Helper()
	m := &member{cluster: &cluster{t: t}, options: o, disk: &disk{Store: memstore.New(), keep: true}}
	if err := m.disk.Commit(batchOf(writes)); err != nil {
		t.Fatal(err)
	}
	r, err := Open(o, m.disk)
	if err != nil {
		return nil, err
	}
	m.Replica = r
	t.Cleanup(func() { r.Close() })
	return m, nil
}

// lived returns all that is on the disk of a member that has been written to.
func lived(t testing.TB, name string) (writes []store.Write) {
	t.Helper()
	m, err := fuzzed(t, fuzzOptions(name), nil)
	if err != nil {
		t.Fatal(err)
	}
	m.do(incr(fuzzKeys.counter, 5))
	m.do(incr(fuzzKeys.counter, -7))
	m.do(add(fuzzKeys.set, names(40, name)...))
	m.do(remove(fuzzKeys.set, names(3, name)...))
	m.do(set(fuzzKeys.register, name))
	m.idle()
	snap := m.disk.Snapshot()
	defer snap.Close()
	if err := snap.Scan(nil, nil, func(key, value []byte) error {
		writes = append(writes, store.Write{Key: bytes.Clone(key), Value: bytes.Clone(value)})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return writes
}

// survives lets a member take in what others say, and checks that what it has
// then is well-formed, never less than before, and can be opened.
func survives(t *testing.T, writes []store.Write, size int, f func(m *member)) {
	t.Helper()
	survivesAs(t, fuzzOptions("eu"), writes, size, f)
}

func survivesAs(t *testing.T, o Options, writes []store.Write, size int, f func(m *member)) {
	t.Helper()
	m, err := fuzzed(t, o, writes)
	if err != nil {
		t.Fatal(err)
	}
	before := m.State(fuzzShard).Vector
	allocs.Check(t, size, 4<<20, 400, func() {
		f(m)
		m.idle()
	})
	if after := m.State(fuzzShard).Vector; !after.Dominates(before) {
		t.Errorf("the vector fell from %v to %v", before, after)
	}
	m.do(add(keyIn(fuzzShard, "other", 0), "e")) // it goes on
	if n := m.Counters()["commit_errors"]; n > 0 {
		t.Errorf("%d changes could not be committed", n)
	}
	if err := m.verify(m.shards[fuzzShard]); err != nil {
		t.Error(err)
	}
	m.Close()
	audit(t, m.disk, m.options)
	again, err := Open(m.options, m.disk)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// foreignEvents returns events of a stranger on the keys of the shard.
func foreignEvents() []*crdt.Event {
	field := func(key string, of crdt.Type, name string) crdt.FieldID {
		return crdt.FieldID{Object: crdt.Object{Key: key, Type: of}, Name: name}
	}
	one := func(seq uint64, c crdt.Change) *crdt.Event {
		return &crdt.Event{Dot: crdt.Dot{Actor: 99, Seq: seq}, Time: 1, Changes: []crdt.Change{c}}
	}
	put := func(seq uint64, p crdt.Payload) crdt.Entries {
		return crdt.Entries{{Dot: crdt.Dot{Actor: 99, Seq: seq}, Payload: p}}
	}
	eu := crdt.Actor(2<<32 + 1)
	seen := one(2, crdt.Change{Field: field(fuzzKeys.set, crdt.TypeSet, "eu-000009"), Removes: []crdt.Dot{{Actor: eu, Seq: 3}}})
	seen.Deps = crdt.VersionVector{eu: 5}
	cleared := &crdt.Event{
		Dot: crdt.Dot{Actor: 99, Seq: 1}, Deps: crdt.VersionVector{eu: 5},
		Clears: []crdt.Clear{{Object: crdt.Object{Key: fuzzKeys.set, Type: crdt.TypeSet}, UpTo: crdt.VersionVector{eu: 5}}},
	}
	reset := one(1, crdt.Change{Field: field(fuzzKeys.counter, crdt.TypeCounter, ""), Puts: crdt.Entries{{
		Dot: crdt.Dot{Actor: eu, Seq: 1}, Payload: crdt.Contribution{N: 2, Total: -2, ResetN: 2, ResetTotal: -2},
	}}})
	reset.Deps = crdt.VersionVector{eu: 5}
	return []*crdt.Event{
		one(1, crdt.Change{Field: field(fuzzKeys.set, crdt.TypeSet, "new"), Puts: put(1, crdt.Presence{})}),
		one(1, crdt.Change{Field: field(fuzzKeys.counter, crdt.TypeCounter, ""), Puts: put(1, crdt.Contribution{N: 1, Total: 3})}),
		one(1, crdt.Change{Field: field(fuzzKeys.register, crdt.TypeRegister, ""), Puts: put(1, crdt.Sibling{Time: 1 << 50, Value: []byte("v")})}),
		seen, cleared, reset,
	}
}

// FuzzDelta broadcasts bytes to a member: as they are, and as an event.
func FuzzDelta(f *testing.F) {
	writes := lived(f, "eu")
	for _, e := range foreignEvents() {
		raw := e.AppendTo(nil)
		f.Add(raw)
		f.Add(marshal(&pb.Delta{Member: "peer", Event: raw, Cluster: fuzzCluster(f)}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		survives(t, writes, len(b), func(m *member) {
			subject := transport.Delta(fuzzShard)
			m.receiveDelta(transport.Message{Subject: subject, Data: b})
			wrapped := marshal(&pb.Delta{Member: "peer", Event: b, Cluster: m.clusterNumber()})
			m.receiveDelta(transport.Message{Subject: subject, Data: wrapped})
		})
	})
}

// fuzzCluster returns the number of the cluster that fuzzed members are of.
func fuzzCluster(f *testing.F) uint64 {
	m, err := fuzzed(f, fuzzOptions("eu"), nil)
	if err != nil {
		f.Fatal(err)
	}
	return m.clusterNumber()
}

// FuzzGossip says bytes to a member, who plans what to do about them and says
// how its peers stand to it.
func FuzzGossip(f *testing.F) {
	writes := lived(f, "eu")
	vector := crdt.VersionVector{2<<32 + 1: 99, 7: 1 << 60}.AppendTo(nil)
	state := &pb.ShardState{Shard: fuzzShard, Vector: vector, Root: merkle.Digest{}.AppendTo(nil), Whole: true}
	f.Add(vector)
	f.Add(marshal(&pb.Gossip{
		Member: "peer", Region: "us", Incarnation: 5, Cluster: fuzzCluster(f), Shards: []*pb.ShardState{state}, Sum: 1, Last: true,
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		survives(t, writes, len(b), func(m *member) {
			m.receiveGossip(transport.Message{Subject: transport.Gossip, Data: b})
			m.receiveGossip(transport.Message{Subject: transport.Gossip, Data: marshal(&pb.Gossip{
				Member: "peer", Region: "us", Cluster: m.clusterNumber(), Last: true,
				Shards: []*pb.ShardState{{Shard: fuzzShard, Vector: b, Root: state.Root, Whole: true}},
			})})
			m.peers.mu.Lock()
			m.peers.planner.Tick(m.options.Now(), m.State, standings(nil).doubt)
			m.peers.questions()
			m.peers.planner.Tick(m.options.Now().Add(time.Hour), m.State, standings(nil).doubt)
			m.peers.mu.Unlock()
			m.Status(true)
		})
	})
}

// FuzzRequest has a member serve bytes as the request of a client.
func FuzzRequest(f *testing.F) {
	writes := lived(f, "eu")
	for _, ops := range [][]*pb.Operation{
		{incr(fuzzKeys.counter, 1), count(fuzzKeys.counter)},
		{reset(fuzzKeys.counter), incr(fuzzKeys.counter, -1<<63)},
		{add(fuzzKeys.set, "a", "", "b"), remove(fuzzKeys.set, "eu-000005"), has(fuzzKeys.set, "a"), card(fuzzKeys.set)},
		{scanOf("", &pb.Scan{Limit: 2, After: []byte("s")})},
		{page(fuzzKeys.set, "", 3), page(fuzzKeys.set, "eu-000005", 1<<31)},
		{set(fuzzKeys.register, "v"), get(fuzzKeys.register)},
		{del(fuzzKeys.set, 0), add(fuzzKeys.set, "c"), del(fuzzKeys.register, crdt.TypeRegister)},
	} {
		f.Add(marshal(&pb.Request{Operations: ops}))
		f.Add(marshal(&pb.Request{Operations: ops, After: crdt.VersionVector{2<<32 + 1: 2, 7: 1 << 60}.AppendTo(nil)}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		survives(t, writes, len(b), func(m *member) {
			shard := fuzzShard
			var request pb.Request
			if proto.Unmarshal(b, &request) == nil && len(request.GetOperations()) > 0 {
				shard = ring.Shard(string(request.GetOperations()[0].GetKey()), testShards)
			}
			data, err := m.serveRequest(t.Context(), transport.Message{Subject: transport.Requests("eu", shard, transport.Trusted), Data: b})
			var answer pb.Answer
			if err != nil || proto.Unmarshal(data, &answer) != nil {
				t.Fatalf("%x, %v", data, err)
			}
			if answer.GetError() == nil && len(answer.GetResults()) != len(request.GetOperations()) {
				t.Errorf("%d results of %d operations", len(answer.GetResults()), len(request.GetOperations()))
			}
		})
	})
}

// FuzzQuestion puts bytes to a member as the question of another. What it
// answers, it must itself understand; its own state does not change.
func FuzzQuestion(f *testing.F) {
	writes := lived(f, "eu")
	digest := merkle.Digest{Count: 1}.AppendTo(nil)
	for _, q := range []*pb.SyncRequest{
		{What: &pb.SyncRequest_Fetch{Fetch: &pb.Fetch{Shard: fuzzShard, Vector: crdt.VersionVector{2<<32 + 1: 2}.AppendTo(nil)}}},
		{What: &pb.SyncRequest_Walk{Walk: &pb.Walk{Shard: fuzzShard, Ranges: []*pb.Range{{Digest: digest}}}}},
		{What: &pb.SyncRequest_Walk{Walk: &pb.Walk{Shard: fuzzShard, Ranges: []*pb.Range{
			{Low: []byte("\x10"), High: []byte("\x60ab"), Digest: digest}, {Low: []byte("\x60ab"), Digest: digest},
		}}}},
		{What: &pb.SyncRequest_Status{Status: &pb.StatusQuery{Shards: true}}},
		{What: &pb.SyncRequest_States{States: &pb.Empty{}}},
		{What: &pb.SyncRequest_Users{Users: &pb.Empty{}}},
		{What: &pb.SyncRequest_PutUser{PutUser: &pb.PutUser{User: &pb.User{Name: "web", Role: pb.Role_WRITE, Prefixes: [][]byte{[]byte("a")}}}}},
		{What: &pb.SyncRequest_RemoveUser{RemoveUser: "web"}},
		{What: &pb.SyncRequest_Enroll{Enroll: &pb.Member{Name: "eu-2", Region: "eu"}}},
		{What: &pb.SyncRequest_Settings{Settings: &pb.Settings{Owners: 2}}},
	} {
		f.Add(marshal(q))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var question pb.SyncRequest
		if proto.Unmarshal(b, &question) != nil {
			question.Reset()
		}
		survives(t, writes, len(b), func(m *member) {
			state := fmt.Sprint(m.State(fuzzShard))
			question.Cluster = m.clusterNumber()
			for _, data := range [][]byte{b, marshal(&question)} {
				answer, err := m.serveSync(t.Context(), transport.Message{Subject: transport.Sync("eu"), Data: data})
				if err != nil {
					t.Fatal(err)
				}
				understood(t, question.GetWalk(), answer)
				for _, user := range []string{transport.Trusted, "nobody"} {
					said, err := m.serveQuestion(t.Context(), transport.Message{Subject: transport.Questions("eu", user), Data: data})
					var answer pb.SyncAnswer
					if err == nil {
						err = proto.Unmarshal(said, &answer)
					}
					if err != nil || user == "nobody" && answer.GetError().GetCode() != pb.Error_FORBIDDEN {
						t.Errorf("%s is answered %v, %v", user, &answer, err)
					}
				}
			}
			if after := fmt.Sprint(m.State(fuzzShard)); after != state {
				t.Errorf("a question changed %s to %s", state, after)
			}
		})
	})
}

// understood checks that an answer to a question fits it.
func understood(t *testing.T, q *pb.Walk, data []byte) {
	t.Helper()
	var answer pb.SyncAnswer
	if err := proto.Unmarshal(data, &answer); err != nil {
		t.Fatal(err)
	}
	if walked := answer.GetWalked(); walked != nil && answer.GetError() == nil {
		if _, err := decodeParts(int(q.GetShard()), testShards, walked); err != nil {
			t.Errorf("the answer to a walk is not understood: %v", err)
		}
	}
	for _, raw := range answer.GetFetched().GetEvents() {
		if _, err := crdt.DecodeEvent(raw); err != nil {
			t.Errorf("the answer to a fetch is not understood: %v", err)
		}
	}
	for i, s := range answer.GetStates().GetShards() {
		if _, err := antientropy.DecodeState(s); err != nil || int(s.GetShard()) != i {
			t.Errorf("the state of shard %d is not understood: %v", i, err)
		}
	}
}

// insisting answers each question with the same bytes, a few times.
type insisting struct {
	transport.Transport
	answer []byte
	left   atomic.Int32 // a question that takes long is asked again meanwhile
}

func (i *insisting) Request(context.Context, string, []byte) ([]byte, error) {
	if i.left.Add(-1) < 0 {
		return nil, transport.ErrUnreachable
	}
	return i.answer, nil
}

func (i *insisting) Publish(string, []byte) error { return nil }

// insists returns a network of one peer, which answers so many questions.
func insists(answer []byte, times int32) *network {
	peer := &insisting{answer: answer}
	peer.left.Store(times)
	return &network{transport: peer}
}

// FuzzAnswer gives bytes to a member as a peer's answers to all that it asks.
func FuzzAnswer(f *testing.F) {
	writes := lived(f, "eu")
	for _, answer := range honestAnswers(f) {
		f.Add(marshal(answer))
		if walked := answer.GetWalked(); walked != nil { // the same of one who has heard nothing
			walked.Vectors = [][]byte{crdt.VersionVector{}.AppendTo(nil)}
			f.Add(marshal(answer))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		survives(t, writes, len(b), func(m *member) {
			m.receiveGossip(transport.Message{Subject: transport.Gossip, Data: marshal(&pb.Gossip{
				Member: "peer", Region: "us", Cluster: m.clusterNumber(),
			})})
			for _, ask := range []func(){
				func() { _, _ = m.fetch(t.Context(), "peer", fuzzShard) },
				func() { _ = m.walk(t.Context(), "peer", fuzzShard) },
				func() { m.askStates("peer") },
			} {
				m.network.Store(insists(b, 3))
				ask()
			}
		})
	})
}

// honestAnswers are those of a peer with other data, whose answer to a walk is
// once made of all fields and once of digests.
func honestAnswers(f *testing.F) (answers []*pb.SyncAnswer) {
	us, err := fuzzed(f, fuzzOptions("usa"), lived(f, "usa"))
	if err != nil {
		f.Fatal(err)
	}
	for _, digest := range []merkle.Digest{{}, {Count: 1}} {
		walked, err := us.serveWalk(&pb.Walk{Shard: fuzzShard, Ranges: []*pb.Range{{Digest: digest.AppendTo(nil)}}})
		if err != nil {
			f.Fatal(err)
		}
		answers = append(answers, &pb.SyncAnswer{What: &pb.SyncAnswer_Walked{Walked: walked}})
	}
	fetched, err := us.serveFetch(&pb.Fetch{Shard: fuzzShard, Vector: crdt.VersionVector{}.AppendTo(nil)})
	if err != nil {
		f.Fatal(err)
	}
	return append(answers,
		&pb.SyncAnswer{What: &pb.SyncAnswer_Fetched{Fetched: fetched}},
		&pb.SyncAnswer{What: &pb.SyncAnswer_States{States: &pb.States{Shards: us.states()}}})
}

// FuzzStored puts bytes on the disk of a member, under each kind of key, and
// with a checksum where there is one. It refuses to start, or serves what it
// can, and says what is damaged.
func FuzzStored(f *testing.F) {
	writes := lived(f, "eu")
	for _, w := range writes {
		if len(w.Key) < 3 || w.Key[2] == fuzzShard && (w.Key[0] != 'e' || len(w.Value) < 20) {
			value := w.Value
			if raw, sound := unseal(w.Key, value); sound {
				value = raw
			}
			f.Add(w.Key, value, true)
		}
	}
	f.Fuzz(func(t *testing.T, key, value []byte, sealed bool) {
		if len(key) == 0 || len(key) > store.MaxKeyBytes || len(value) == 0 {
			return
		}
		damaged := store.Write{Key: key, Value: value}
		if sealed && key[0] != 'c' {
			damaged.Value = seal(key, value)
		}
		allocs.Check(t, len(key)+len(value), 4<<20, 400, func() { serveDamaged(t, append(writes[:len(writes):len(writes)], damaged)) })
	})
}

// serveDamaged opens a member on a disk with damage, asks for all it has, and
// lets it repair what it can.
func serveDamaged(t *testing.T, writes []store.Write) {
	m, err := fuzzed(t, fuzzOptions("eu"), writes)
	if err != nil {
		if !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, ErrForeign) {
			t.Errorf("opening says %v", err)
		}
		return
	}
	defer m.Close()
	for _, op := range []*pb.Operation{
		count(fuzzKeys.counter), card(fuzzKeys.set), page(fuzzKeys.set, "", 100), get(fuzzKeys.register),
		incr(fuzzKeys.counter, 1), add(fuzzKeys.set, "new"), set(fuzzKeys.register, "new"), del(fuzzKeys.set, 0), reset(fuzzKeys.counter),
	} {
		if _, err := m.try(op); err != nil && !errors.Is(err, ErrUnavailable) && !errors.Is(err, crdt.ErrOverflow) {
			t.Errorf("%v: %v", op, err)
		}
	}
	_ = m.verify(m.shards[fuzzShard])
	for _, q := range []*pb.SyncRequest{
		{What: &pb.SyncRequest_Fetch{Fetch: &pb.Fetch{Shard: fuzzShard, Vector: crdt.VersionVector{}.AppendTo(nil)}}},
		{What: &pb.SyncRequest_Walk{Walk: &pb.Walk{Shard: fuzzShard, Ranges: []*pb.Range{{Digest: merkle.Digest{}.AppendTo(nil)}}}}},
		{What: &pb.SyncRequest_Status{Status: &pb.StatusQuery{Shards: true}}},
	} {
		q.Cluster = m.clusterNumber()
		if _, err := m.serveSync(t.Context(), transport.Message{Subject: transport.Sync("eu"), Data: marshal(q)}); err != nil {
			t.Error(err)
		}
	}
	m.tend() // as far as that goes without peers
}
