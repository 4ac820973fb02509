package client

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	pb "github.com/atolldb/atoll/proto"
)

// BackupTarget takes a backup. An error of it ends the backup and is returned
// as it is.
type BackupTarget interface {
	// Begin is told whose backup it is.
	Begin(*pb.BackupOrigin) error
	// Shard is told that the next shard begins, the cluster's own last, and
	// returns the marks of what there is of it already: none for all of it.
	Shard(shard int) (known []byte, err error)
	// Put takes a pair of the shard, and keeps it if it likes.
	Put(key, value []byte) error
}

// Backup copies all that a member has on disk, as of one moment, while it goes
// on: of the one connected to if none is named.
func (c *Client) Backup(ctx context.Context, member string, to BackupTarget) error {
	page, err := c.backup(ctx, member, &pb.BackupQuery{})
	if err != nil {
		return err
	}
	origin := page.GetOrigin()
	if origin.GetSession() == 0 || int(origin.GetShards()) != c.shards {
		return fmt.Errorf("%w: an answer without the origin of a backup", ErrUnavailable)
	}
	defer func() { // it would end by itself, but later
		_, _ = c.backup(context.WithoutCancel(ctx), origin.GetMember(), &pb.BackupQuery{Session: origin.GetSession(), End: true})
	}()
	if err := to.Begin(origin); err != nil {
		return err
	}
	for shard := range c.shards + 1 {
		known, err := to.Shard(shard)
		if err != nil {
			return err
		}
		if err := c.backupShard(ctx, origin, &pb.BackupQuery{Session: origin.GetSession(), Shard: uint32(shard), Known: known}, to); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) backupShard(ctx context.Context, origin *pb.BackupOrigin, query *pb.BackupQuery, to BackupTarget) error {
	var begun []byte // of the value that goes on
	for {
		page, err := c.backup(ctx, origin.GetMember(), query)
		if err != nil {
			return err
		}
		pairs := page.GetPairs()
		if page.GetMore() && (len(pairs) == 0 || page.GetPart() && len(pairs[len(pairs)-1].GetValue()) == 0) {
			return fmt.Errorf("%w: a page that leads nowhere", ErrUnavailable)
		}
		for i, p := range pairs {
			value := p.GetValue()
			if i == 0 && query.GetOffset() > 0 {
				if !bytes.Equal(p.GetKey(), query.GetAfter()) {
					return fmt.Errorf("%w: a page that does not go on where the last one ended", ErrUnavailable)
				}
				value = slices.Concat(begun, value)
			}
			if page.GetPart() && i == len(pairs)-1 {
				begun = value
				break
			}
			if err := to.Put(p.GetKey(), value); err != nil {
				return err
			}
		}
		if !page.GetMore() {
			return nil
		}
		query.After, query.Offset = pairs[len(pairs)-1].GetKey(), 0
		if page.GetPart() {
			query.Offset = uint64(len(begun))
		}
	}
}

func (c *Client) backup(ctx context.Context, member string, query *pb.BackupQuery) (*pb.BackupPage, error) {
	answer, err := c.question(ctx, member, true, &pb.SyncRequest{What: &pb.SyncRequest_Backup{Backup: query}})
	if err != nil {
		return nil, err
	}
	if answer.GetBackup() == nil {
		return nil, fmt.Errorf("%w: an answer without a page of a backup", ErrUnavailable)
	}
	return answer.GetBackup(), nil
}
