package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

// The table of users is the cluster's own data, as that of members is: a set of
// their names in the system shard, and a register for each with what the user
// may do. Who a user is, the network finds out, by the public keys that stand
// there; the subject of a request says it. What the user may do, each member
// decides by its own copy of the table.

// ErrForbidden says that a user may not do what was asked for. Nothing was done.
var ErrForbidden = errors.New("forbidden")

// Root is the name of a user who stands in no table and may do everything: who
// has the secret of the cluster.
const Root = "root"

const (
	usersKey   = "users"
	userPrefix = "user/"
	// maxUsers bounds the table of users, and the others what a record holds.
	maxUsers, maxUserKeys, maxPrefixes = 1024, 8, 32
)

var publicKeyPattern = regexp.MustCompile(`^U[A-Z2-7]{55}$`) // base32

// users is the table of users, as of one state of the system shard.
type users struct {
	state *antientropy.State
	table map[string]*pb.User
}

// readUsers returns the table of users. It is read again when the system shard
// has changed.
func (r *Replica) readUsers() (map[string]*pb.User, error) {
	state := r.shards[r.System()].published.Load()
	if known := r.users.Load(); known != nil && known.state == state {
		return known.table, nil
	}
	snap := r.store.Snapshot()
	defer snap.Close()
	names, err := r.namesIn(snap, usersKey)
	if err != nil {
		return nil, unavailable(err)
	}
	table := map[string]*pb.User{}
	for _, name := range names {
		var u pb.User
		found, err := r.entry(snap, userPrefix+name, &u)
		if err != nil {
			return nil, unavailable(err)
		}
		if _, known := pb.Role_name[int32(u.GetRole())]; !known {
			u.Role = pb.Role_NONE // of a later version: what it may do is not known
		}
		if found && u.GetName() == name {
			table[name] = &u
		}
	}
	r.users.Store(&users{state, table}) // the snapshot is not older than the state
	return table, nil
}

// namesIn returns the elements of a set of the system shard, in order.
func (r *Replica) namesIn(snap store.Snapshot, key string) ([]string, error) {
	var names []string
	for after := []byte(nil); ; {
		page, err := read(snap, r.System(), &pb.Operation{
			Key: []byte(key), What: &pb.Operation_SetMembers{SetMembers: &pb.Page{After: after}},
		})
		if err != nil {
			return nil, err
		}
		for _, name := range page.GetValues() {
			names = append(names, string(name))
		}
		if after = page.GetMore(); len(after) == 0 {
			slices.Sort(names)
			return names, nil
		}
	}
}

// Users returns the table of users, in the order of their names.
func (r *Replica) Users() (*pb.Users, error) {
	table, err := r.readUsers()
	if err != nil {
		return nil, err
	}
	out := &pb.Users{}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		out.Users = append(out.Users, table[name])
	}
	return out, nil
}

// UserOf returns the name of the user to whom a public key belongs, "" if there
// is none.
func (r *Replica) UserOf(key string) (string, error) {
	table, err := r.readUsers()
	if err != nil {
		return "", err
	}
	owner := ""
	for name, u := range table {
		if slices.Contains(u.GetKeys(), key) {
			if owner != "" {
				return "", nil // given to two at the same time: to neither
			}
			owner = name
		}
	}
	return owner, nil
}

// PutUser writes the record of a user into the table, in place of one that is known
// to stand there; nil is none. It fails with ErrBusy if another one does.
func (r *Replica) PutUser(ctx context.Context, u, was *pb.User) error {
	r.changingUsers.Lock()
	defer r.changingUsers.Unlock()
	table, err := r.readUsers()
	if err != nil {
		return err
	}
	if err := checkUser(u, table); err != nil {
		return err
	}
	if now := table[u.GetName()]; (now == nil) != (was == nil) || now != nil && !proto.Equal(now, was) {
		return fmt.Errorf("%w: the user %s was changed meanwhile", ErrBusy, u.GetName())
	}
	_, err = r.DoSystem(ctx, &pb.Request{Operations: []*pb.Operation{
		{Key: []byte(usersKey), What: &pb.Operation_SetAdd{SetAdd: &pb.Elements{Elements: [][]byte{[]byte(u.GetName())}}}},
		{Key: []byte(userPrefix + u.GetName()), What: &pb.Operation_RegisterSet{RegisterSet: marshal(u)}},
	}})
	return err
}

func checkUser(u *pb.User, table map[string]*pb.User) error {
	name := u.GetName()
	wrong := func(format string, values ...any) error {
		return fmt.Errorf("%w: user %.64q: %s", crdt.ErrInvalid, name, fmt.Sprintf(format, values...))
	}
	_, known := pb.Role_name[int32(u.GetRole())]
	switch {
	case !namePattern.MatchString(name) || name == transport.Trusted || name == Root:
		return wrong("a name is 1 to 64 letters, digits, - or _, and neither %q nor %q", transport.Trusted, Root)
	case !known || u.GetRole() == pb.Role_NONE:
		return wrong("a role is read, write or admin")
	case len(u.GetKeys()) > maxUserKeys:
		return wrong("%d public keys; it takes at most %d", len(u.GetKeys()), maxUserKeys)
	case len(u.GetPrefixes()) > maxPrefixes:
		return wrong("%d prefixes of keys; it takes at most %d", len(u.GetPrefixes()), maxPrefixes)
	case table[name] == nil && len(table) >= maxUsers:
		return wrong("there are %d users, and no more than that", len(table))
	}
	for _, p := range u.GetPrefixes() {
		if err := (crdt.Object{Key: string(p), Type: crdt.TypeCounter}).Validate(); err != nil {
			return wrong("a prefix that no key can have: %v", err)
		}
	}
	for _, key := range u.GetKeys() {
		if !publicKeyPattern.MatchString(key) {
			return wrong("%.64q is no public key of a user: these have 56 letters and digits, and the first is U", key)
		}
		for other, is := range table {
			if other != name && slices.Contains(is.GetKeys(), key) {
				return wrong("the key %s is that of %s", key, other)
			}
		}
	}
	return nil
}

// RemoveUser takes a user out of the table.
func (r *Replica) RemoveUser(ctx context.Context, name string) error {
	r.changingUsers.Lock()
	defer r.changingUsers.Unlock()
	table, err := r.readUsers()
	if err != nil {
		return err
	}
	if table[name] == nil {
		return fmt.Errorf("%w: there is no user %.64q", crdt.ErrInvalid, name)
	}
	_, err = r.DoSystem(ctx, &pb.Request{Operations: []*pb.Operation{
		{Key: []byte(usersKey), What: &pb.Operation_SetRemove{SetRemove: &pb.Elements{Elements: [][]byte{[]byte(name)}}}},
		{Key: []byte(userPrefix + name), What: &pb.Operation_Delete{Delete: &pb.Delete{Type: uint32(crdt.TypeRegister)}}},
	}})
	return err
}

// user returns what the table says of the user of a subject; nil is who may do
// everything.
func (r *Replica) user(subject string) (*pb.User, error) {
	name := transport.UserToken(subject)
	if name == transport.Trusted || name == Root {
		return nil, nil
	}
	table, err := r.readUsers()
	if err != nil {
		return nil, err
	}
	u := table[name]
	if u == nil {
		return nil, fmt.Errorf("%w: there is no user %.64q", ErrForbidden, name)
	}
	return u, nil
}

// permit says whether a user may have a request served.
func permit(u *pb.User, request *pb.Request) error {
	if u == nil {
		return nil
	}
	if u.GetRole() == pb.Role_NONE {
		return fmt.Errorf("%w: the user %s has a role that this member does not know", ErrForbidden, u.GetName())
	}
	for _, op := range request.GetOperations() {
		if writes, err := isWrite(op); err == nil && writes && u.GetRole() < pb.Role_WRITE {
			return fmt.Errorf("%w: the user %s may read only", ErrForbidden, u.GetName())
		}
		switch {
		case mayTouch(u, op.GetKey()):
		case op.GetScan() != nil:
			return fmt.Errorf("%w: the user %s may scan only keys that begin with one of %.300q", ErrForbidden, u.GetName(), u.GetPrefixes())
		default:
			return fmt.Errorf("%w: the user %s may not touch the key %.64q", ErrForbidden, u.GetName(), op.GetKey())
		}
	}
	return nil
}

// mayTouch says whether a key is among those that a user may read and write.
func mayTouch(u *pb.User, key []byte) bool {
	return len(u.GetPrefixes()) == 0 ||
		slices.ContainsFunc(u.GetPrefixes(), func(p []byte) bool { return bytes.HasPrefix(key, p) })
}

// isAdmin says whether a user may do everything that there is to do for users.
func isAdmin(u *pb.User) bool { return u == nil || u.GetRole() == pb.Role_ADMIN }

// permitQuestion says whether a user may have a question answered: everybody how
// the cluster is, administrators all.
func permitQuestion(u *pb.User, q *pb.SyncRequest) error {
	switch {
	case isAdmin(u):
		return nil
	case u.GetRole() == pb.Role_NONE:
		return fmt.Errorf("%w: the user %s has a role that this member does not know", ErrForbidden, u.GetName())
	}
	switch what := q.GetWhat().(type) {
	case *pb.SyncRequest_Status, *pb.SyncRequest_Members, *pb.SyncRequest_Rings:
		return nil
	case *pb.SyncRequest_Scrub:
		if !what.Scrub.GetStart() {
			return nil
		}
	}
	return fmt.Errorf("%w: the user %s is no administrator", ErrForbidden, u.GetName())
}
