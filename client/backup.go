package client

import (
	"bytes"
	"context"
	"fmt"

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

const (
	// leastPart is what a page holds at least of a value that goes on, and
	// maxValue bounds such a value.
	leastPart = 64 << 10
	maxValue  = 64 << 20
)

func (c *Client) backupShard(ctx context.Context, origin *pb.BackupOrigin, query *pb.BackupQuery, to BackupTarget) error {
	var begun []byte // of the value that goes on
	var order keyOrder
	for {
		page, err := c.backup(ctx, origin.GetMember(), query)
		if err != nil {
			return err
		}
		pairs := page.GetPairs()
		if page.GetMore() && (len(pairs) == 0 || page.GetPart() && len(pairs[len(pairs)-1].GetValue()) < leastPart) {
			return fmt.Errorf("%w: a page that leads nowhere", ErrUnavailable)
		}
		for i, p := range pairs {
			value := p.GetValue()
			switch goesOn := i == 0 && query.GetOffset() > 0; {
			case goesOn && !bytes.Equal(p.GetKey(), query.GetAfter()), !goesOn && !order.follows(p.GetKey()):
				return fmt.Errorf("%w: a page that does not go on where the last one ended", ErrUnavailable)
			case goesOn:
				value = append(begun, value...)
			}
			if page.GetPart() && i == len(pairs)-1 {
				begun = value
				break
			}
			if err := to.Put(p.GetKey(), value); err != nil {
				return err
			}
		}
		switch {
		case !page.GetMore():
			return nil
		case len(begun) > maxValue:
			return fmt.Errorf("%w: a value of more than %d bytes", ErrUnavailable, maxValue)
		}
		query.After, query.Offset = pairs[len(pairs)-1].GetKey(), 0
		if page.GetPart() {
			query.Offset = uint64(len(begun))
		}
	}
}

// keyOrder is how the keys of a shard come: kind by kind, by their first byte, and
// ascending among those of one kind. So they come to an end.
type keyOrder struct {
	last []byte
	done [256]bool // kinds that have begun
}

// follows says whether a key can come after those before it.
func (o *keyOrder) follows(key []byte) bool {
	if len(key) == 0 {
		return false
	}
	same := len(o.last) > 0 && o.last[0] == key[0]
	if same && bytes.Compare(key, o.last) <= 0 || !same && o.done[key[0]] {
		return false
	}
	o.last, o.done[key[0]] = key, true
	return true
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
