package replica

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

// What has more parts than a request may have is refused before it is decoded;
// what has as many is not, and the two ways to count agree.
func TestCheckParts(t *testing.T) {
	request := func(operations, elements int) []byte {
		r := &pb.Request{}
		for range operations {
			r.Operations = append(r.Operations, &pb.Operation{})
		}
		if elements > 0 {
			r.Operations[0].What = &pb.Operation_SetAdd{SetAdd: &pb.Elements{Elements: make([][]byte, elements/2)}}
			r.Operations[1].What = &pb.Operation_SetRemove{SetRemove: &pb.Elements{Elements: make([][]byte, elements-elements/2)}}
		}
		return marshal(r)
	}
	for name, test := range map[string]struct {
		data    []byte
		refused bool
	}{
		"all operations":     {request(maxOperations, 0), false},
		"one too many":       {request(maxOperations+1, 0), true},
		"all elements":       {request(2, maxElements), false},
		"one element more":   {request(2, maxElements+1), true},
		"4 MiB of nothing":   {bytes.Repeat([]byte{0x0a, 0}, 2<<20), true},
		"noise":              {bytes.Repeat([]byte{0xff}, 1<<20), false}, // for the decoder
		"cut within a field": {request(2, 2)[:3], false},
		"nothing":            {nil, false},
	} {
		err := checkParts(test.data)
		if errors.Is(err, crdt.ErrInvalid) != test.refused {
			t.Errorf("%s: %v; want that it is refused: %v", name, err, test.refused)
		}
		var r pb.Request
		if n := proto.Unmarshal(test.data, &r); n == nil && !test.refused && len(r.GetOperations()) > maxOperations {
			t.Errorf("%s: %d operations pass", name, len(r.GetOperations()))
		}
	}
	// The numbers of the fields are those of the messages.
	fields := (&pb.Operation{}).ProtoReflect().Descriptor().Fields()
	for name, field := range map[protoreflect.Name]protowire.Number{"set_add": fieldSetAdd, "set_remove": fieldSetRemove} {
		if got := fields.ByName(name).Number(); got != field {
			t.Errorf("%s has the number %d", name, got)
		}
	}
	if got := (&pb.Request{}).ProtoReflect().Descriptor().Fields().ByName("operations").Number(); got != fieldOperations {
		t.Errorf("operations have the number %d", got)
	}
}

// A user who has many requests under way keeps no other one out.
func TestGuests(t *testing.T) {
	var g guests
	var leaves []func()
	for range maxGuest {
		leave, err := g.enter("web")
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leave)
	}
	if _, err := g.enter("web"); !errors.Is(err, ErrBusy) {
		t.Errorf("one more: %v; want ErrBusy", err)
	}
	for _, other := range []string{"app", transport.Trusted} {
		leave, err := g.enter(other)
		if err != nil {
			t.Errorf("%s: %v", other, err)
			continue
		}
		leave()
	}
	for _, leave := range leaves {
		leave()
	}
	if _, err := g.enter("web"); err != nil || len(g.count) != 1 {
		t.Errorf("when all have left: %v, %v", err, g.count)
	}
}

// The places of a user are for all that it may ask for, questions included.
func TestGuestsEverywhere(t *testing.T) {
	m, end := stranger(t)
	for _, name := range []string{"web", "app"} {
		m.put(&pb.User{Name: name, Role: pb.Role_READ})
	}
	want := func(user string, code pb.Error_Code) {
		t.Helper()
		shard := shardOf("k")
		read := &pb.Request{Operations: []*pb.Operation{count("k")}}
		status := &pb.SyncRequest{What: &pb.SyncRequest_Status{Status: &pb.StatusQuery{}}}
		for subject, got := range map[string]pb.Error_Code{
			"request": asked(t, end, transport.Requests("eu", shard, user), read), "question": asked(t, end, transport.Questions("eu", user), status),
		} {
			if got != code {
				t.Errorf("a %s of %s: %v; want %v", subject, user, got, code)
			}
		}
		var info pb.ClusterInfo
		data, err := end.Request(t.Context(), transport.Info(user), nil)
		if err == nil {
			err = proto.Unmarshal(data, &info)
		}
		if busy := info.GetError().GetCode() == pb.Error_BUSY; err != nil || busy != (code == pb.Error_BUSY) {
			t.Errorf("info for %s: %v, %v", user, &info, err)
		}
	}
	var leaves []func()
	for range maxGuest {
		leave, err := m.guests.enter("web")
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leave)
	}
	want("web", pb.Error_BUSY)
	want("app", served)
	for _, leave := range leaves {
		leave()
	}
	want("web", served)
	if n := len(m.guests.count); n != 0 {
		t.Errorf("%d users have requests under way after all were answered", n)
	}
}

// Of two who change a user at the same time, one is told so.
func TestPutUserMeanwhile(t *testing.T) {
	m, _ := stranger(t)
	first := &pb.User{Name: "web", Role: pb.Role_READ}
	m.put(first)
	m.put(&pb.User{Name: "web", Role: pb.Role_READ, Keys: []string{publicKey(1)}})
	for name, was := range map[string]*pb.User{"an older one": first, "nobody": nil, "another role": {Name: "web", Role: pb.Role_WRITE, Keys: []string{publicKey(1)}}} {
		if err := m.PutUser(t.Context(), &pb.User{Name: "web", Role: pb.Role_ADMIN}, was); !errors.Is(err, ErrBusy) {
			t.Errorf("in place of %s: %v; want ErrBusy", name, err)
		}
	}
	if err := m.PutUser(t.Context(), &pb.User{Name: "app", Role: pb.Role_ADMIN}, first); !errors.Is(err, ErrBusy) {
		t.Errorf("in place of one who is not there: %v; want ErrBusy", err)
	}
}

// A role of a later version, and a key that two regions gave to two users at once,
// are of no use.
func TestUsersOfElsewhere(t *testing.T) {
	m, end := stranger(t)
	for _, u := range []*pb.User{{Name: "god", Role: 4, Keys: []string{publicKey(1)}}, {Name: "a", Role: pb.Role_READ, Keys: []string{publicKey(2)}}, {Name: "b", Role: pb.Role_READ, Keys: []string{publicKey(2)}}} {
		if _, err := m.DoSystem(t.Context(), &pb.Request{Operations: []*pb.Operation{
			{Key: []byte(usersKey), What: &pb.Operation_SetAdd{SetAdd: &pb.Elements{Elements: [][]byte{[]byte(u.GetName())}}}},
			{Key: []byte(userPrefix + u.GetName()), What: &pb.Operation_RegisterSet{RegisterSet: marshal(u)}},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	if name, err := m.UserOf(publicKey(2)); name != "" || err != nil {
		t.Errorf("a key of two is that of %q, %v", name, err)
	}
	shard := shardOf("k")
	if code := asked(t, end, transport.Requests("eu", shard, "god"), &pb.Request{Operations: []*pb.Operation{count("k")}}); code != pb.Error_FORBIDDEN {
		t.Errorf("a role that is not known reads: %v", code)
	}
	if code := asked(t, end, transport.Questions("eu", "god"), &pb.SyncRequest{What: &pb.SyncRequest_Users{Users: &pb.Empty{}}}); code != pb.Error_FORBIDDEN {
		t.Errorf("a role that is not known is told of users: %v", code)
	}
}
