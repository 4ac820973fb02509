package replica

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/allocs"
	"github.com/atolldb/atoll/internal/membership"
	"github.com/atolldb/atoll/internal/ring"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/memstore"
	"github.com/atolldb/atoll/merkle"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

// oneLine checks that an error is of one of some kinds, and one line.
func oneLine(t *testing.T, err error, kinds ...error) {
	t.Helper()
	if err == nil {
		return
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is more than one line", err)
	}
	if len(kinds) > 0 && !slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) }) {
		t.Errorf("%v is none of %v", err, kinds)
	}
}

// meetPeer has a member know a peer.
func (m *member) meetPeer() {
	m.receiveGossip(transport.Message{Subject: transport.Gossip, Data: marshal(&pb.Gossip{
		Member: "peer", Region: "us", Cluster: m.clusterNumber(), Incarnation: 1,
	})})
}

// FuzzHeartbeat says bytes to a member as heartbeats, of a peer and of anybody.
// Who was never heard is not observed, a detector counts nobody who is not
// there, and what it keeps of a peer are names of members.
func FuzzHeartbeat(f *testing.F) {
	cluster := fuzzCluster(f)
	for _, h := range []*pb.Heartbeat{
		{Member: "peer", Incarnation: 5, Suspects: []string{"eu", "ap"}, Cluster: cluster},
		{Member: "peer", Incarnation: math.MaxUint64, Leaving: true, Cluster: cluster},
		{Member: "eu", Incarnation: 7, Suspects: []string{"a b"}, Cluster: cluster},
	} {
		f.Add(marshal(h))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		survives(t, nil, len(b), func(m *member) {
			m.meetPeer()
			m.receiveHeartbeat(transport.Message{Subject: transport.Heartbeat, Data: b})
			var h pb.Heartbeat
			if proto.Unmarshal(b, &h) == nil {
				h.Member, h.Cluster, h.Protocol = "peer", m.clusterNumber(), pb.Protocol
				before := m.Counters()["messages_malformed"]
				m.receiveHeartbeat(transport.Message{Subject: transport.Heartbeat, Data: marshal(&h)})
				strange := slices.ContainsFunc(h.GetSuspects(), func(name string) bool { return !namePattern.MatchString(name) })
				if refused := m.Counters()["messages_malformed"] > before; refused != strange {
					t.Errorf("suspects %q are refused: %v", h.GetSuspects(), refused)
				}
			}
			now := m.options.Now()
			for _, later := range []time.Duration{0, time.Second, 2 * time.Second, time.Hour} {
				m.observer.tick(now.Add(later))
				for _, v := range m.observer.views(now.Add(later)) {
					if v.Member != "peer" || v.Suspicions > v.Observers || v.Observers > 1 || math.IsNaN(v.Phi) {
						t.Errorf("it sees %+v", v)
					}
				}
			}
		})
	})
}

// FuzzTable puts bytes into the registers of the system shard that members write
// of themselves: a record under a name, the layout of its region, its progress, a
// setting. Whoever reads them then gets what makes sense, or one line; nobody
// stands in the table under a name that is none, or under another's.
func FuzzTable(f *testing.F) {
	record := &pb.Member{Name: "us-1", Region: "us", Zone: "a", Weight: 3, Client: "10.0.0.1:4222", Route: "10.0.0.1:6222", Gateway: "10.0.0.1:7222"}
	seats := []*pb.Seat{{Name: "us-1", Zone: "a", Weight: 3}, {Name: "us-2", Weight: 1}}
	both := &pb.Layout{Current: &pb.Ring{Owners: 3, Seats: seats[1:]}, Next: &pb.Ring{Owners: 2, Seats: seats}, Number: 7}
	progress := marshal(&pb.Progress{Ring: ringHash(both.GetNext()), Layout: 7})
	f.Add("us-1", marshal(record), marshal(both), progress, "3")
	f.Add("us-1", marshal(record), marshal(&pb.Layout{Current: both.GetNext()}), progress, "QUORUM")
	f.Add("us-1", marshal(&pb.Member{Name: "us-1", Region: "us", Leaving: true}), []byte{}, []byte{}, "-1")
	f.Add("", marshal(&pb.Member{Region: "us"}), []byte{}, []byte{}, "")
	f.Add("a b", marshal(&pb.Member{Name: "a b", Region: "us", Weight: 1 << 31}), marshal(&pb.Layout{}), []byte{}, "16")
	f.Add("eu", marshal(&pb.Member{Name: "eu", Region: "a.b"}), marshal(&pb.Layout{Current: &pb.Ring{Owners: 1 << 31}}), []byte{}, "17")
	f.Fuzz(func(t *testing.T, name string, record, layout, progress []byte, setting string) {
		o := fuzzOptions("eu")
		enrolled("1")(&o)
		m, err := fuzzed(t, o, nil)
		if err != nil {
			t.Fatal(err)
		}
		var region pb.Member
		_ = proto.Unmarshal(record, &region)
		ops := enrolling(m.options.Record())
		if name != m.options.Member {
			ops = append(ops, &pb.Operation{Key: []byte(membersKey), What: &pb.Operation_SetAdd{SetAdd: &pb.Elements{Elements: [][]byte{[]byte(name)}}}})
		}
		for key, value := range map[string][]byte{
			memberPrefix + name: record, layoutPrefix + region.GetRegion(): layout, progressPrefix + name: progress,
			ownersKey: []byte(setting), levelKey: []byte(setting),
		} {
			ops = append(ops, &pb.Operation{Key: []byte(key), What: &pb.Operation_RegisterSet{RegisterSet: value}})
		}
		if _, err := m.DoSystem(t.Context(), &pb.Request{Operations: ops}); err != nil {
			oneLine(t, err, crdt.ErrInvalid)
			return
		}
		size := len(record) + len(layout) + len(progress) + len(setting)
		allocs.Check(t, size, 4<<20, 400, func() { readTable(t, m) })
	})
}

// readTable reads all that follows from the table of members.
func readTable(t *testing.T, m *member) {
	table, err := m.Table()
	if err != nil {
		t.Fatal(err)
	}
	for i, is := range table {
		if !namePattern.MatchString(is.GetName()) || !namePattern.MatchString(is.GetRegion()) || i > 0 && is.GetName() <= table[i-1].GetName() {
			t.Errorf("the table has %v", is)
		}
	}
	if seen, err := m.Members(); err != nil || len(seen.GetMembers()) != len(table) {
		t.Errorf("%v, %v are the members of %v", seen, err, table)
	}
	m.expect(m.options.Now())
	m.Status(true)
	oneLine(t, m.Ready())
	l, err := m.view()
	if err != nil { // a layout that makes no sense
		oneLine(t, err, ErrUnavailable)
		oneLine(t, m.handOverAll())
		return
	}
	if l.owners < 1 || l.owners > ring.MaxOwners || pb.Consistency_name[int32(l.level)] == "" {
		t.Errorf("%d owners, level %v", l.owners, l.level)
	}
	if rings, err := m.Rings(); err != nil || len(rings.GetRegions()) != len(l.regions) {
		t.Errorf("%v, %v", rings, err)
	}
	for _, set := range l.electorates(fuzzShard) {
		for _, owners := range set {
			for _, owner := range owners {
				if l.members[owner] == nil || len(owners) > ring.MaxOwners {
					t.Errorf("%q owns, and the table is %v", owners, table)
				}
			}
		}
	}
	for level := range pb.Consistency_name {
		if level := pb.Consistency(level); level != pb.Consistency_ONE {
			_, err := m.quorums(level, fuzzShard)
			oneLine(t, err, ErrNotEnough)
		}
	}
	for name, in := range l.regions {
		in.advanced(l)
		l.awaited(name, standings{"us-1": membership.Down})
		in.claimOf(m.options.Member, fuzzShard)
		if in.aim != nil {
			m.turn(in)
		}
	}
}

// handOverAll asks for what needs to know who owns what, where that is not
// known.
func (m *member) handOverAll() error {
	_, err := m.electorates(fuzzShard)
	return err
}

// FuzzUsers puts bytes into the table of users. A user stands there under its own
// name, may do no more than its role says, and who is unknown nothing.
func FuzzUsers(f *testing.F) {
	f.Add("web", marshal(&pb.User{Name: "web", Role: pb.Role_WRITE, Prefixes: [][]byte{[]byte("a")}, Keys: []string{publicKey(1)}}))
	f.Add("web", marshal(&pb.User{Name: "web", Role: 17, Keys: []string{publicKey(1)}}))
	f.Add("root", marshal(&pb.User{Name: "root", Role: pb.Role_ADMIN}))
	f.Add("web", marshal(&pb.User{Name: "boss", Role: pb.Role_ADMIN}))
	f.Add("", []byte{})
	f.Fuzz(func(t *testing.T, name string, record []byte) {
		m, err := fuzzed(t, fuzzOptions("eu"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.DoSystem(t.Context(), &pb.Request{Operations: []*pb.Operation{
			{Key: []byte(usersKey), What: &pb.Operation_SetAdd{SetAdd: &pb.Elements{Elements: [][]byte{[]byte(name)}}}},
			{Key: []byte(userPrefix + name), What: &pb.Operation_RegisterSet{RegisterSet: record}},
		}}); err != nil {
			oneLine(t, err, crdt.ErrInvalid)
			return
		}
		allocs.Check(t, len(record), 4<<20, 400, func() {
			users, err := m.Users()
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range users.GetUsers() {
				if u.GetName() != name || pb.Role_name[int32(u.GetRole())] == "" {
					t.Errorf("under %q stands %v", name, u)
				}
				for _, key := range u.GetKeys() {
					if owner, err := m.UserOf(key); err != nil || owner != name {
						t.Errorf("%q is of %q, %v", key, owner, err)
					}
				}
				for _, op := range []*pb.Operation{get("ab"), set("ab", "v")} {
					writes, _ := isWrite(op)
					err := permit(u, &pb.Request{Operations: []*pb.Operation{op}})
					oneLine(t, err, ErrForbidden)
					if may := u.GetRole() >= pb.Role_WRITE || u.GetRole() == pb.Role_READ && !writes; err == nil && !may {
						t.Errorf("%v may write: %v", u, writes)
					}
				}
				oneLine(t, permitQuestion(u, &pb.SyncRequest{What: &pb.SyncRequest_Users{}}), ErrForbidden)
			}
			for _, user := range []string{name, "nobody"} {
				subject := transport.Questions("eu", user)
				u, err := m.user(subject)
				oneLine(t, err, ErrForbidden)
				if everything := user == transport.Trusted || user == Root || transport.UserToken(subject) != user; u == nil && err == nil && !everything {
					t.Errorf("%q may do everything", user)
				}
			}
		})
	})
}

// FuzzHeard gives bytes to a member as what another owner says to have heard:
// of an object, at a quorum, and of a whole shard that is taken over or handed
// over. What is understood says the same when it is encoded again, and the own
// copy counts as having heard nothing by it.
func FuzzHeard(f *testing.F) {
	writes := lived(f, "eu")
	own, far := crdt.VersionVector{2<<32 + 1: 5}, crdt.VersionVector{2<<32 + 1: 5, 7: 1 << 60}
	ranges := crdt.NewHeard(own.Clone())
	ranges.Join("\x10", "\x60ab", far)
	for _, h := range []*pb.Heard{
		{Any: own.AppendTo(nil), Ranges: crdt.NewHeard(own).AppendTo(nil), Table: crdt.VersionVector{}.AppendTo(nil)},
		{Any: far.AppendTo(nil), All: own.AppendTo(nil), Ranges: ranges.AppendTo(nil), Table: far.AppendTo(nil), Joining: true},
		{Any: far.AppendTo(nil), Ranges: crdt.NewHeard(far).AppendTo(nil)},
	} {
		f.Add(marshal(h))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var said pb.Heard
		if proto.Unmarshal(b, &said) != nil {
			return
		}
		h, err := decodeHeard("peer", &said)
		oneLine(t, err, crdt.ErrInvalid)
		if err == nil {
			heardAgain(t, h, &said)
		}
		o := fuzzOptions("eu")
		o.Owners = func() map[string][]string { return map[string][]string{"eu": {"eu"}, "us": {"peer"}} }
		survivesAs(t, o, writes, len(b), func(m *member) {
			m.meetPeer()
			s := m.shards[fuzzShard]
			before := s.spoken.Load().AppendTo(nil)
			answer := marshal(&pb.SyncAnswer{What: &pb.SyncAnswer_Heard{Heard: &said}})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
			defer cancel()
			for _, ask := range []func() error{
				func() error { _, err := m.askWhole(ctx, "peer", s); return err },
				func() error { _, err := m.surveyed(ctx, s, []string{"peer"}, [][]string{{"eu", "peer"}}); return err },
				func() error {
					_, err := m.Do(t.Context(), fuzzShard, &pb.Request{
						Operations: []*pb.Operation{get(fuzzKeys.register)}, Consistency: pb.Consistency_QUORUM.Enum(), PatienceMs: 1,
					})
					return err
				},
			} {
				m.network.Store(insists(answer, 3))
				oneLine(t, ask())
			}
			if after := s.spoken.Load().AppendTo(nil); string(after) != string(before) {
				t.Errorf("it had heard %x, and of an answer %x", before, after)
			}
		})
	})
}

// heardAgain checks that what was understood is what was said.
func heardAgain(t *testing.T, h heard, said *pb.Heard) {
	all := said.GetAll()
	if len(all) == 0 {
		all = said.GetAny()
	}
	if string(h.upper.AppendTo(nil)) != string(said.GetAny()) || string(h.lower.AppendTo(nil)) != string(all) || h.complete == said.GetJoining() {
		t.Errorf("%v is taken for %+v", said, h)
	}
	if len(said.GetTable()) > 0 && string(h.table.AppendTo(nil)) != string(said.GetTable()) {
		t.Errorf("the table %x is taken for %v", said.GetTable(), h.table)
	}
	if h.ranges == nil {
		return
	}
	if string(h.ranges.AppendTo(nil)) != string(said.GetRanges()) {
		t.Errorf("the ranges %x are taken for %x", said.GetRanges(), h.ranges.AppendTo(nil))
	}
	if !includes(h.ranges, h.ranges) || includes(crdt.NewHeard(nil), h.ranges) != (len(everything(h.ranges)) == 0) {
		t.Errorf("%x does not include itself", said.GetRanges())
	}
}

// FuzzMend gives bytes to a member as a peer's answers while it repairs a leaf
// that is damaged, or a shard of which it is not known what it has heard. It
// repairs it and has heard no less than before, or leaves it as it is and says
// why; after either it goes on.
func FuzzMend(f *testing.F) {
	// Without the log, which alone would do.
	writes := slices.DeleteFunc(lived(f, "eu"), func(w store.Write) bool { return w.Key[0] == 'l' })
	for _, answer := range honestAnswers(f) {
		f.Add(marshal(answer), true)
		f.Add(marshal(answer), false)
	}
	// Of one who has heard all, or nothing, and holds nothing of the leaf.
	leaf := leafOf(elementField(fuzzKeys.set, "eu-000009").Position())
	all := crdt.VersionVector{2<<32 + 1: 99}.AppendTo(nil)
	for _, heard := range [][]byte{all, crdt.VersionVector{}.AppendTo(nil)} {
		f.Add(marshal(&pb.SyncAnswer{What: &pb.SyncAnswer_Walked{Walked: &pb.Walked{Vectors: [][]byte{heard}, Parts: []*pb.Part{{
			Low: []byte(leafStart(leaf)), High: []byte(leafStart(leaf + 1)), Digest: merkle.Digest{}.AppendTo(nil), Complete: true,
		}}}}}), false)
	}
	f.Add(marshal(&pb.SyncAnswer{What: &pb.SyncAnswer_States{States: &pb.States{Shards: []*pb.ShardState{{
		Shard: fuzzShard, Vector: all, Root: merkle.Digest{}.AppendTo(nil), Whole: true,
	}}}}}), true)
	f.Fuzz(func(t *testing.T, b []byte, lost bool) {
		m, err := fuzzed(t, fuzzOptions("eu"), writes)
		if err != nil {
			t.Fatal(err)
		}
		s := m.shards[fuzzShard]
		before := m.State(fuzzShard).Vector
		m.meetPeer()
		m.network.Store(insists(b, 6))
		allocs.Check(t, len(b), 4<<20, 400, func() {
			if lost {
				m.lose(s, errors.New("a test"))
				err = m.recover(s)
			} else {
				m.rot(leafKey(fuzzShard, leaf), func(v []byte) []byte { v[3] ^= 1; return v })
				m.rot(elementKey(fuzzKeys.set, "eu-000009"), func(v []byte) []byte { v[0] ^= 1; return v })
				m.hurt(s, leaf, errors.New("a test"))
				err = m.mend(s, leaf)
			}
		})
		oneLine(t, err)
		if after := m.State(fuzzShard).Vector; !lost && !after.Dominates(before) {
			t.Errorf("by the repair the vector fell from %v to %v, and there is no log", before, after)
		}
		if lost != (s.health.unreadable() != nil) && err != nil {
			t.Errorf("not repaired, and not known to be damaged: %v", err)
		}
		m.tend()
		if damaged := len(m.Status(false).GetDamages()) > 0; damaged != (err != nil) {
			t.Errorf("damaged: %v, and the repair says %v", damaged, err)
		}
		m.Close()
		again, err := Open(m.options, m.disk)
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
	})
}

// FuzzRestore puts a pair of a backup, and what the backup says of its directory,
// into an empty store. It is refused, and then no member starts there, or one does
// and says what is damaged.
func FuzzRestore(f *testing.F) {
	writes := lived(f, "eu")
	var is []byte
	for _, w := range writes {
		if string(w.Key) == "c" {
			is = w.Value
		}
	}
	for _, w := range writes {
		if len(w.Key) > 3 && w.Key[2] == fuzzShard && (w.Key[0] != 'e' || len(w.Value) < 20) {
			f.Add(is, uint16(fuzzShard), w.Key, w.Value)
		}
	}
	var mine identity
	if err := json.Unmarshal(is, &mine); err != nil {
		f.Fatal(err)
	}
	mine.Shards = -1
	odd, err := json.Marshal(mine)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(odd, uint16(0), []byte("m"), []byte{})
	f.Add([]byte("null"), uint16(1), []byte("v\x00\x01"), []byte("abcd"))
	f.Fuzz(func(t *testing.T, is []byte, shard uint16, key, value []byte) {
		if len(key) == 0 || len(key) > store.MaxKeyBytes {
			return
		}
		disk := memstore.New()
		allocs.Check(t, len(is)+len(key)+len(value), 4<<20, 400, func() {
			err := restorePair(disk, is, int(shard), key, value)
			oneLine(t, err, store.ErrCorrupt, ErrForeign)
			snap := disk.Snapshot()
			found, unread := readIdentity(snap)
			snap.Close()
			if err != nil && (unread != nil || found != identity{} && found.Format != unfinished) {
				t.Errorf("after %v a member may start on what is half there: %+v, %v", err, found, unread)
			}
			m, opened := Open(fuzzOptions("eu"), disk)
			oneLine(t, opened, store.ErrCorrupt, ErrForeign)
			if opened == nil {
				m.Close()
			}
		})
	})
}

// restorePair restores the backup of one pair.
func restorePair(disk store.Store, is []byte, shard int, key, value []byte) error {
	into, err := NewRestore(disk, is, "eu", "eu")
	if err == nil {
		err = into.Shard(shard)
	}
	if err == nil {
		err = into.Put(key, value)
	}
	if err == nil {
		err = into.Finish()
	}
	return err
}
