package client

import (
	"context"
	"fmt"
	"slices"

	pb "github.com/atolldb/atoll/proto"
)

// Role is what a user may do. Each includes those before it.
type Role string

// The roles: to read; to write, too; to look after the cluster, too.
const (
	Reader Role = "read"
	Writer Role = "write"
	Admin  Role = "admin"
)

// roles are all of them, by their numbers on the wire less one.
var roles = []Role{Reader, Writer, Admin}

// User is who may use the cluster, and for what.
type User struct {
	Name string
	Role Role
	// Prefixes are those of the keys that the user may read and write; none: all.
	Prefixes []string
	// Keys are public nkeys, with each of which the user logs in at members; none
	// for one whom somebody else's NATS servers know.
	Keys []string
}

// Users returns the table of the cluster's users. It is for administrators.
func (c *Client) Users(ctx context.Context) ([]User, error) {
	return c.users(ctx, true, &pb.SyncRequest{What: &pb.SyncRequest_Users{Users: &pb.Empty{}}})
}

// PutUser writes a user into the table and returns the table after: in place of
// was, which Users has returned, or, if that is nil, a new one. It fails with
// ErrBusy if the table has another one by now. It is for administrators.
func (c *Client) PutUser(ctx context.Context, u User, was *User) ([]User, error) {
	if !slices.Contains(roles, u.Role) {
		return nil, fmt.Errorf("%w: the role %q; it is read, write or admin", ErrInvalid, u.Role)
	}
	put := &pb.PutUser{User: u.record()}
	if was != nil {
		put.Was = was.record()
	}
	return c.users(ctx, false, &pb.SyncRequest{What: &pb.SyncRequest_PutUser{PutUser: put}})
}

// record returns the user as it is on the wire.
func (u User) record() *pb.User {
	record := &pb.User{Name: u.Name, Role: pb.Role(slices.Index(roles, u.Role) + 1), Keys: u.Keys}
	for _, p := range u.Prefixes {
		record.Prefixes = append(record.Prefixes, []byte(p))
	}
	return record
}

// RemoveUser takes a user out of the table, and returns it after. It is for
// administrators.
func (c *Client) RemoveUser(ctx context.Context, name string) ([]User, error) {
	return c.users(ctx, false, &pb.SyncRequest{What: &pb.SyncRequest_RemoveUser{RemoveUser: name}})
}

func (c *Client) users(ctx context.Context, reads bool, question *pb.SyncRequest) ([]User, error) {
	answer, err := c.question(ctx, "", reads, question)
	if err != nil {
		return nil, err
	}
	if answer.GetUsers() == nil {
		return nil, fmt.Errorf("%w: an answer without users", ErrUnavailable)
	}
	users := []User{}
	for _, record := range answer.GetUsers().GetUsers() {
		u := User{Name: record.GetName(), Keys: record.GetKeys()}
		if n := int(record.GetRole()); n >= 1 && n <= len(roles) {
			u.Role = roles[n-1]
		}
		for _, p := range record.GetPrefixes() {
			u.Prefixes = append(u.Prefixes, string(p))
		}
		users = append(users, u)
	}
	return users, nil
}
