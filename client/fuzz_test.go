package client

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/allocs"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

// FuzzAnswer gives bytes to a client as the answer to all that it asks.
// Whatever they are, it ends with a value or with an error that can be matched.
func FuzzAnswer(f *testing.F) {
	vector := crdt.VersionVector{1: 5}.AppendTo(nil)
	for _, m := range []proto.Message{
		&pb.Answer{Results: []*pb.Result{{Number: -5, Flag: true}}, Vector: vector},
		&pb.Answer{Results: []*pb.Result{{Values: [][]byte{[]byte("a"), {}}, More: []byte("a")}}, Vector: vector},
		&pb.Answer{Results: []*pb.Result{{Siblings: []*pb.Sibling{{Value: []byte("v"), Time: 1 << 50, Actor: 9}}, OtherTypes: []uint32{1, 77}}}},
		&pb.Answer{Results: []*pb.Result{pageOf("{k}b\x02", "{k}", "{k}b")}, Vector: vector},
		&pb.Answer{Error: &pb.Error{Code: pb.Error_BUSY, Text: "because"}},
		&pb.ClusterInfo{Shards: 8, Member: "eu", Region: "eu", Regions: []string{"us", "a b"}},
		&pb.SyncAnswer{What: &pb.SyncAnswer_Status{Status: &pb.Status{
			Member: "eu", Region: "eu", Peers: []*pb.PeerStatus{{Member: "us", Region: "us"}}, Regions: []string{"ap"},
			Shards: []*pb.ShardState{{Shard: 1, Vector: vector, Root: make([]byte, 24), Whole: true}},
		}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, m := range tables {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= leastPart {
			return // a value of a backup goes on until it is too large
		}
		s := &script{}
		s.answers = []func(context.Context) ([]byte, error){func(context.Context) ([]byte, error) {
			if s.asked > mostAsked {
				return nil, transport.ErrUnreachable
			}
			return b, nil
		}}
		c := s.client(100 * time.Millisecond)
		allocs.Check(t, len(b), 1<<20, 2000, func() {
			for i, err := range everyCall(t.Context(), c.Session()) {
				if err != nil && !slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) }) {
					t.Errorf("call %d: %v is none of the errors that there are", i, err)
				}
			}
		})
		if s.asked > mostAsked {
			t.Error("it asks for ever")
		}
	})
}

// mostAsked is more than all calls have to ask.
const mostAsked = 500

var kinds = []error{ErrInvalid, ErrOverflow, ErrBusy, ErrUnavailable, ErrUnreachable, ErrOutcomeUnknown, ErrNotFound, ErrBehind}

// everyCall makes every call once and returns their errors.
func everyCall(ctx context.Context, c *Client) (errs []error) {
	note := func(_ any, err error) { errs = append(errs, err) }
	note(c.Counter("k").Value(ctx))
	note(c.Counter("k").Add(ctx, 1))
	note(c.Set("k").Has(ctx, "e"))
	note(c.Set("k").Len(ctx))
	pages := 0
	for _, err := range c.Set("k").Members(ctx) {
		if pages++; err != nil || pages > 100 {
			errs = append(errs, err)
			break
		}
	}
	note(c.Register("k").Get(ctx))
	note(nil, c.Register("k").Set(ctx, []byte("v")))
	note(c.Types(ctx, "k"))
	note(c.Delete(ctx, "k"))
	for _, err := range c.Scan(ctx, ScanOptions{Prefix: "{k}"}) {
		if pages++; err != nil || pages > 200 {
			errs = append(errs, err)
			break
		}
	}
	note(c.Status(ctx, "eu", true))
	note(c.Verify(ctx, 0, nil))
	note(c.Members(ctx, ""))
	note(c.Rings(ctx, ""))
	note(c.Users(ctx))
	note(c.Scrub(ctx, "eu"))
	note(nil, c.Backup(ctx, "eu", discarding{}))
	return errs
}

// discarding takes a backup and keeps nothing.
type discarding struct{}

func (discarding) Begin(*pb.BackupOrigin) error { return nil }
func (discarding) Shard(int) ([]byte, error)    { return nil, nil }
func (discarding) Put(_, _ []byte) error        { return nil }

// tables are answers about the cluster as a whole.
var tables = []*pb.SyncAnswer{
	{What: &pb.SyncAnswer_Members{Members: &pb.Members{Members: []*pb.MemberView{{Member: &pb.Member{Name: "eu", Region: "eu"}, State: "alive"}}}}},
	{What: &pb.SyncAnswer_Users{Users: &pb.Users{Users: []*pb.User{{Name: "web", Role: 7, Prefixes: [][]byte{[]byte("a")}}}}}},
	{What: &pb.SyncAnswer_Rings{Rings: &pb.Rings{Shards: 8, Settings: &pb.Settings{Owners: 2}, Regions: []*pb.RegionRings{{
		Region: "eu", Wanted: &pb.Ring{Owners: 2, Seats: []*pb.Seat{{Name: "eu", Weight: 1}, {Name: "eu-2", Weight: 1 << 31}}},
	}}}}},
	// A page of a backup that begins with where it begins, for ever.
	{What: &pb.SyncAnswer_Backup{Backup: &pb.BackupPage{
		Origin: &pb.BackupOrigin{Session: 1, Shards: 8, Member: "eu"}, More: true, Pairs: []*pb.Pair{{Key: []byte("e"), Value: []byte("v")}},
	}}},
	{What: &pb.SyncAnswer_Backup{Backup: &pb.BackupPage{
		Origin: &pb.BackupOrigin{Session: 1, Shards: 8, Member: "eu"}, Part: true, More: true, Pairs: []*pb.Pair{{Key: []byte("e"), Value: []byte("v")}},
	}}},
}

// FuzzResume: a session token is taken as it was given out, or refused.
func FuzzResume(f *testing.F) {
	c := New(nil, 8, 0)
	session := c.Session()
	f.Add(session.Token())
	session.session.seen[3] = crdt.VersionVector{1: 5, 9: 1 << 60}
	f.Add(session.Token())
	f.Fuzz(func(t *testing.T, token []byte) {
		s, err := c.Resume(token)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%v is not ErrInvalid", err)
			}
			return
		}
		again, err := c.Resume(s.Token())
		if err != nil || !bytes.Equal(again.Token(), s.Token()) {
			t.Errorf("%x is taken for %x, %v", s.Token(), again.Token(), err)
		}
	})
}

// TestBackupWithoutEnd: a member that answers with the same page again and again,
// or with a value that never ends, ends the backup.
func TestBackupWithoutEnd(t *testing.T) {
	origin := &pb.BackupOrigin{Session: 1, Shards: 8, Member: "eu"}
	pair := func(key string, bytes int) []*pb.Pair {
		return []*pb.Pair{{Key: []byte(key), Value: make([]byte, bytes)}}
	}
	for name, page := range map[string]*pb.BackupPage{
		"the same page":          {More: true, Pairs: pair("e", 1)},
		"a kind that comes back": {More: true, Pairs: append(pair("e", 1), pair("h", 1)...)},
		"a key that is none":     {More: true, Pairs: pair("", 1)},
		"small parts":            {More: true, Part: true, Pairs: pair("e", leastPart-1)},
		"parts for ever":         {More: true, Part: true, Pairs: pair("e", 4<<20)},
	} {
		page.Origin = origin
		s := &script{}
		again := says(&pb.SyncAnswer{What: &pb.SyncAnswer_Backup{Backup: page}})
		s.answers = []func(context.Context) ([]byte, error){func(ctx context.Context) ([]byte, error) {
			if s.asked > 50 {
				return nil, transport.ErrUnreachable
			}
			return again(ctx)
		}}
		err := s.client(time.Minute).Backup(t.Context(), "eu", discarding{})
		if !errors.Is(err, ErrUnavailable) || s.asked > 30 {
			t.Errorf("%s: %d questions, %v", name, s.asked, err)
		}
	}
}
