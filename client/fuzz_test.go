package client

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/crdt"
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
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &script{}
		s.answers = []func(context.Context) ([]byte, error){func(context.Context) ([]byte, error) {
			if s.asked > mostAsked {
				return nil, transport.ErrUnreachable
			}
			return b, nil
		}}
		c := s.client(100 * time.Millisecond)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i, err := range everyCall(t.Context(), c.Session()) {
			if err != nil && !slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) }) {
				t.Errorf("call %d: %v is none of the errors that there are", i, err)
			}
		}
		runtime.ReadMemStats(&after)
		if s.asked > mostAsked {
			t.Error("it asks for ever")
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > uint64(1<<20+2000*len(b)) {
			t.Errorf("%d bytes made it allocate %d", len(b), used)
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
	return errs
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
