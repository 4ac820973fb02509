package client

import (
	"context"
	"fmt"

	pb "github.com/atolldb/atoll/proto"
)

// Members returns the table of the cluster's members as a member has it, and
// how it sees the others: the one connected to, or the one named.
func (c *Client) Members(ctx context.Context, member string) ([]*pb.MemberView, error) {
	return c.members(ctx, member, true, &pb.SyncRequest{What: &pb.SyncRequest_Members{Members: &pb.Empty{}}})
}

// RemoveMember takes a member that is not coming back out of the table, and
// returns the table after. One that can be reached, or is not known, is
// ErrInvalid.
func (c *Client) RemoveMember(ctx context.Context, name string) ([]*pb.MemberView, error) {
	if name == "" {
		return nil, fmt.Errorf("%w: no member named", ErrInvalid)
	}
	return c.members(ctx, "", false, &pb.SyncRequest{What: &pb.SyncRequest_Remove{Remove: name}})
}

// Enroll writes the record of a member that is about to join into the table.
// Members do so themselves.
func (c *Client) Enroll(ctx context.Context, record *pb.Member) error {
	_, err := c.members(ctx, "", false, &pb.SyncRequest{What: &pb.SyncRequest_Enroll{Enroll: record}})
	return err
}

func (c *Client) members(ctx context.Context, member string, reads bool, question *pb.SyncRequest) ([]*pb.MemberView, error) {
	answer, err := c.question(ctx, member, reads, question)
	if err != nil {
		return nil, err
	}
	if answer.GetMembers() == nil {
		return nil, fmt.Errorf("%w: an answer without members", ErrUnavailable)
	}
	return answer.GetMembers().GetMembers(), nil
}
