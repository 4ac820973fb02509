package replica

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/memnet"
)

// publicKey returns a public key that differs for each n.
func publicKey(n int) string {
	return "U" + strings.NewReplacer("0", "A", "1", "B").Replace(fmt.Sprintf("%055b", n))
}

// put writes a user into the table.
func (m *member) put(u *pb.User) {
	m.cluster.t.Helper()
	table, err := m.readUsers()
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	if err := m.PutUser(m.cluster.t.Context(), u, table[u.GetName()]); err != nil {
		m.cluster.t.Fatal(err)
	}
}

// asked has a member asked over the network by somebody, and returns the code of
// the error.
func asked(t *testing.T, end transport.Transport, subject string, request proto.Message) pb.Error_Code {
	t.Helper()
	data, err := end.Request(t.Context(), subject, marshal(request))
	var answer interface {
		proto.Message
		GetError() *pb.Error
	} = &pb.Answer{}
	if _, ofQuestion := request.(*pb.SyncRequest); ofQuestion {
		answer = &pb.SyncAnswer{}
	}
	if err == nil {
		err = proto.Unmarshal(data, answer)
	}
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	if answer.GetError() == nil {
		return -1
	}
	return answer.GetError().GetCode()
}

const served = pb.Error_Code(-1)

// Of every operation that there is, a user gets those served that its role and
// its prefixes allow; and so where a member takes writes in place of owners.
func TestPermit(t *testing.T) {
	m, end := stranger(t)
	m.put(&pb.User{Name: "reader", Role: pb.Role_READ, Prefixes: [][]byte{[]byte("{a}x"), []byte("{a}y")}})
	m.put(&pb.User{Name: "writer", Role: pb.Role_WRITE, Prefixes: [][]byte{[]byte("{a}x")}})
	m.put(&pb.User{Name: "all", Role: pb.Role_WRITE})
	m.put(&pb.User{Name: "admin", Role: pb.Role_ADMIN, Prefixes: [][]byte{[]byte("{a}x")}})
	shard := shardOf("{a}")
	whats := (&pb.Operation{}).ProtoReflect().Descriptor().Oneofs().ByName("what").Fields()
	for i := range whats.Len() {
		for _, key := range []string{"{a}x", "{a}y1", "{a}z", "{a}", "{a}z{a}x"} {
			op := &pb.Operation{Key: []byte(key)}
			r := op.ProtoReflect()
			r.Set(whats.Get(i), r.NewField(whats.Get(i)))
			if set := op.GetSetAdd(); set != nil {
				set.Elements = [][]byte{[]byte("e")}
			}
			writes, err := isWrite(op)
			if err != nil {
				t.Fatal(err)
			}
			for user, may := range map[string]bool{
				"reader":          !writes && (strings.HasPrefix(key, "{a}x") || strings.HasPrefix(key, "{a}y")),
				"writer":          strings.HasPrefix(key, "{a}x"),
				"admin":           strings.HasPrefix(key, "{a}x"),
				"all":             true,
				Root:              true,
				transport.Trusted: true,
				"nobody":          false,
			} {
				for _, subject := range []string{transport.Requests("eu", shard, user), transport.Fallback("eu", shard, user)} {
					before := m.Counters()["messages_forbidden"]
					code := asked(t, end, subject, &pb.Request{Operations: []*pb.Operation{op}})
					if (code == pb.Error_FORBIDDEN) == may {
						t.Errorf("%s: %v of %q: %v, want that it is served: %v", subject, whats.Get(i).Name(), key, code, may)
					}
					if counted := m.Counters()["messages_forbidden"] - before; counted == 0 != may {
						t.Errorf("%s: %d refusals are counted", subject, counted)
					}
				}
			}
		}
	}
	// One key that is not the user's is enough.
	mixed := &pb.Request{Operations: []*pb.Operation{incr("{a}x", 1), incr("{a}z", 1)}}
	before := m.number(count("{a}x"))
	if code := asked(t, end, transport.Requests("eu", shard, "writer"), mixed); code != pb.Error_FORBIDDEN || m.number(count("{a}x")) != before {
		t.Errorf("of two keys, one is the user's: %v, counted %d, before %d", code, m.number(count("{a}x")), before)
	}
}

// Of every question that there is, only administrators get those answered that
// do not just look at how the cluster is.
func TestPermitQuestion(t *testing.T) {
	m, end := stranger(t)
	m.put(&pb.User{Name: "writer", Role: pb.Role_WRITE})
	m.put(&pb.User{Name: "admin", Role: pb.Role_ADMIN})
	looks := map[protoreflect.Name]bool{"members": true, "status": true, "rings": true, "scrub": true}
	whats := (&pb.SyncRequest{}).ProtoReflect().Descriptor().Oneofs().ByName("what").Fields()
	for i := range whats.Len() {
		name := whats.Get(i).Name()
		q := &pb.SyncRequest{}
		r := q.ProtoReflect()
		r.Set(whats.Get(i), r.NewField(whats.Get(i)))
		if code := asked(t, end, transport.Questions("eu", "writer"), q); (code == pb.Error_FORBIDDEN) == looks[name] {
			t.Errorf("%s of a writer: %v", name, code)
		}
		for _, user := range []string{"admin", Root, transport.Trusted} {
			if code := asked(t, end, transport.Questions("eu", user), q); code == pb.Error_FORBIDDEN {
				t.Errorf("%s of %s: %v", name, user, code)
			}
		}
		if code := asked(t, end, transport.Questions("eu", "nobody"), q); code != pb.Error_FORBIDDEN {
			t.Errorf("%s of nobody: %v", name, code)
		}
	}
	scrub := &pb.SyncRequest{What: &pb.SyncRequest_Scrub{Scrub: &pb.ScrubQuery{Start: true}}}
	if code := asked(t, end, transport.Questions("eu", "writer"), scrub); code != pb.Error_FORBIDDEN {
		t.Errorf("a scrub that a writer starts: %v", code)
	}
	for user, want := range map[string]pb.Error_Code{"writer": served, "nobody": pb.Error_FORBIDDEN} {
		data, err := end.Request(t.Context(), transport.Info(user), nil)
		var info pb.ClusterInfo
		if err == nil {
			err = proto.Unmarshal(data, &info)
		}
		if err != nil || (info.GetError() == nil) != (want == served) || info.GetError() != nil && info.GetCluster() != "" {
			t.Errorf("info for %s: %v, %v", user, &info, err)
		}
	}
	// Members are asked among themselves what users are not to ask.
	if code := asked(t, end, transport.Sync("eu"), &pb.SyncRequest{
		Cluster: m.cluster.members[0].clusterNumber(), What: &pb.SyncRequest_Backup{Backup: &pb.BackupQuery{}},
	}); code != pb.Error_INVALID {
		t.Errorf("a backup at the subject of members: %v", code)
	}
}

func TestUserRefused(t *testing.T) {
	m, _ := stranger(t)
	m.put(&pb.User{Name: "web", Role: pb.Role_READ, Keys: []string{publicKey(1)}})
	many := make([]string, maxUserKeys+1)
	for i := range many {
		many[i] = publicKey(10 + i)
	}
	for name, u := range map[string]*pb.User{
		"no name":           {Role: pb.Role_READ},
		"a member's":        {Name: "-", Role: pb.Role_READ},
		"root":              {Name: "root", Role: pb.Role_READ},
		"two tokens":        {Name: "a.b", Role: pb.Role_READ},
		"a wildcard":        {Name: "*", Role: pb.Role_READ},
		"no role":           {Name: "a"},
		"an unknown role":   {Name: "a", Role: 9},
		"an endless prefix": {Name: "a", Role: pb.Role_READ, Prefixes: [][]byte{make([]byte, crdt.MaxKeyBytes+1)}},
		"an empty prefix":   {Name: "a", Role: pb.Role_READ, Prefixes: [][]byte{{}}},
		"many prefixes":     {Name: "a", Role: pb.Role_READ, Prefixes: make([][]byte, maxPrefixes+1)},
		"many keys":         {Name: "a", Role: pb.Role_READ, Keys: many},
		"no key":            {Name: "a", Role: pb.Role_READ, Keys: []string{"UX"}},
		"an account's key":  {Name: "a", Role: pb.Role_READ, Keys: []string{"A" + publicKey(1)[1:]}},
		"another's key":     {Name: "a", Role: pb.Role_READ, Keys: []string{publicKey(1)}},
	} {
		if err := m.PutUser(t.Context(), u, nil); !errors.Is(err, crdt.ErrInvalid) {
			t.Errorf("%s: %v; want ErrInvalid", name, err)
		}
	}
	if err := m.RemoveUser(t.Context(), "nobody"); !errors.Is(err, crdt.ErrInvalid) {
		t.Errorf("a user who is not there is removed: %v", err)
	}
	users, err := m.Users()
	if err != nil || len(users.GetUsers()) != 1 {
		t.Errorf("the table has %v, %v", users, err)
	}
}

// A user who is changed or removed in one region is so in all, also in those that
// had not heard of it while they were apart.
func TestUsersConverge(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu, us := c.start("eu", nil), c.start("us", nil)
	eu.put(&pb.User{Name: "web", Role: pb.Role_WRITE, Keys: []string{publicKey(1)}})
	knows := func(m *member, key, want string) bool {
		name, err := m.UserOf(key)
		return err == nil && name == want
	}
	eventually(t, "us knows the user", func() bool { return knows(us, publicKey(1), "web") })
	c.network.CutRegion("us")
	us.put(&pb.User{Name: "web", Role: pb.Role_READ, Keys: []string{publicKey(2)}})
	us.put(&pb.User{Name: "app", Role: pb.Role_READ, Keys: []string{publicKey(3)}})
	if !knows(eu, publicKey(1), "web") || !knows(eu, publicKey(3), "") {
		t.Error("eu knows what it cannot have heard")
	}
	c.network.RestoreRegion("us")
	eventually(t, "eu knows what us has changed", func() bool {
		return knows(eu, publicKey(1), "") && knows(eu, publicKey(2), "web") && knows(eu, publicKey(3), "app")
	})
	if err := eu.RemoveUser(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "us does not know the user any more", func() bool { return knows(us, publicKey(2), "") && knows(us, publicKey(3), "app") })
}
