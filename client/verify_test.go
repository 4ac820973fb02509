package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"testing"
	"time"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/bubble"
	"github.com/atolldb/atoll/merkle"
	pb "github.com/atolldb/atoll/proto"
)

// members answers for members by name; "eu" is the one asked first. One that
// is nil does not answer.
type members map[string]func() *pb.Status

func (m members) Do(context.Context, int, *pb.Request) (*pb.Answer, error) {
	return nil, errors.New("not asked")
}

func (m members) Ask(_ context.Context, name string, _ *pb.SyncRequest) (*pb.SyncAnswer, error) {
	if name == "" {
		name = "eu"
	}
	if m[name] == nil {
		return nil, fmt.Errorf("%w: %s is away", ErrUnreachable, name)
	}
	status := m[name]()
	if status == nil {
		return &pb.SyncAnswer{}, nil
	}
	status.Member, status.Region = name, name
	if name == "eu" {
		for other := range maps.Keys(m) {
			if other != "eu" {
				status.Peers = append(status.Peers, &pb.PeerStatus{Member: other, Region: other})
			}
		}
		status.Regions = []string{"us"}
	}
	return &pb.SyncAnswer{What: &pb.SyncAnswer_Status{Status: status}}, nil
}

// holds is the status of a member with two shards, the second in a state, and
// the cluster's own.
func holds(events, entries, root uint64, whole bool) func() *pb.Status {
	empty := antientropy.State{Whole: true}
	state := antientropy.State{
		Vector: crdt.VersionVector{1: events}, Root: merkle.Digest{Low: root, Count: entries}, Whole: whole,
	}
	return func() *pb.Status {
		status := &pb.Status{Shards: []*pb.ShardState{empty.Message(0), state.Message(1), empty.Message(2)}, Rings: &pb.Rings{Shards: 2}}
		for _, s := range status.Shards {
			s.Owned = true
		}
		for _, region := range []string{"eu", "us"} {
			all := &pb.Ring{Owners: 1, Seats: []*pb.Seat{{Name: region, Weight: 1}}}
			status.Rings.Regions = append(status.Rings.Regions, &pb.RegionRings{Region: region, Layout: &pb.Layout{Current: all}, Wanted: all})
		}
		return status
	}
}

func TestVerify(t *testing.T) {
	fine := holds(5, 2, 77, true)
	wrong := func(change func(*pb.Status)) func() *pb.Status {
		return func() *pb.Status {
			status := fine()
			change(status)
			return status
		}
	}
	behind := func(eu, us uint64, diverged bool) []Difference {
		return []Difference{{Shard: 1, Behind: map[string]uint64{"eu": eu, "us": us}, Diverged: diverged}}
	}
	for name, test := range map[string]struct {
		cluster   members
		converged bool
		silent    []string
		differ    []Difference
		failed    bool // the second member
	}{
		"equal":         {members{"eu": fine, "us": fine}, true, nil, nil, false},
		"behind":        {members{"eu": fine, "us": holds(3, 1, 7, true)}, false, nil, behind(0, 2, false), false},
		"diverged":      {members{"eu": fine, "us": holds(5, 2, 78, true)}, false, nil, behind(0, 0, true), false},
		"entries":       {members{"eu": fine, "us": holds(5, 3, 77, true)}, false, nil, behind(0, 0, true), false},
		"under way":     {members{"eu": fine, "us": holds(5, 2, 77, false)}, false, nil, behind(0, 0, false), false},
		"never heard":   {members{"eu": fine}, false, []string{"us"}, nil, false},
		"alone":         {members{"eu": holds(5, 2, 77, false)}, false, []string{"us"}, []Difference{{Shard: 1, Behind: map[string]uint64{"eu": 0}}}, false},
		"away":          {members{"eu": fine, "us": nil}, false, []string{"us"}, nil, true},
		"no status":     {members{"eu": fine, "us": func() *pb.Status { return nil }}, false, []string{"us"}, nil, true},
		"fewer shards":  {members{"eu": fine, "us": wrong(func(s *pb.Status) { s.Shards = s.Shards[:1] })}, false, []string{"us"}, nil, true},
		"other shards":  {members{"eu": fine, "us": wrong(func(s *pb.Status) { s.Shards[0].Shard = 1 })}, false, []string{"us"}, nil, true},
		"broken vector": {members{"eu": fine, "us": wrong(func(s *pb.Status) { s.Shards[0].Vector = []byte{0xff} })}, false, []string{"us"}, nil, true},
		"broken root":   {members{"eu": fine, "us": wrong(func(s *pb.Status) { s.Shards[0].Root = []byte{0xff} })}, false, []string{"us"}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := New(test.cluster, 2, time.Second)
			report, err := c.Verify(t.Context(), 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			if report.Converged() != test.converged || !reflect.DeepEqual(report.Silent, test.silent) || !reflect.DeepEqual(report.Differ, test.differ) {
				t.Errorf("converged: %v, silent: %v, differ: %v", report.Converged(), report.Silent, report.Differ)
			}
			if first := report.Members[0]; first.Events != 5 || first.Entries != 2 || first.Digest == "" || first.Digest != report.Digest {
				t.Errorf("the first member: %+v", first)
			}
			if len(report.Members) == 1 {
				return
			}
			second := report.Members[1]
			if (second.Err != nil) != test.failed || (second.Digest == report.Digest) != test.converged && name != "under way" {
				t.Errorf("the second member: %+v", second)
			}
		})
	}
}

// Verify looks again until all agree or the wait is over, and says what it
// saw each time.
func TestVerifyWaits(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		looks := 0
		us := func() *pb.Status {
			looks++
			return holds(uint64(min(looks, 5)), 2, 77, true)()
		}
		c := New(members{"eu": holds(5, 2, 77, true), "us": us}, 2, time.Second)
		seen := 0
		report, err := c.Verify(t.Context(), time.Minute, func(*Report) { seen++ })
		if err != nil || !report.Converged() || looks != 5 || seen != 5 {
			t.Errorf("%+v, %v after %d looks, of which %d were shown", report, err, looks, seen)
		}
		began := time.Now()
		c = New(members{"eu": holds(5, 2, 77, true), "us": nil}, 2, time.Second)
		report, err = c.Verify(t.Context(), time.Minute, nil)
		if took := time.Since(began); err != nil || report.Converged() || took > time.Minute || took < 59*time.Second {
			t.Errorf("%+v, %v after %v", report, err, took)
		}
		if _, err := New(members{}, 2, time.Second).Verify(t.Context(), time.Minute, nil); !errors.Is(err, ErrUnreachable) {
			t.Errorf("without a member: %v", err)
		}
	})
}
