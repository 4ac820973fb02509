package client

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/bubble"
	"github.com/atolldb/atoll/internal/ring"
	pb "github.com/atolldb/atoll/proto"
)

// paged answers scans of a shard with one page after the other.
type paged struct {
	Asker
	pages map[int][]*pb.Result // nil: an error
	asked map[int]int
}

func (p *paged) Do(_ context.Context, shard int, request *pb.Request) (*pb.Answer, error) {
	n := p.asked[shard]
	p.asked[shard]++
	r := p.pages[shard][n]
	if r == nil {
		return &pb.Answer{Error: &pb.Error{Code: pb.Error_BUSY, Text: fmt.Sprintf("shard %d is busy", shard)}}, nil
	}
	return &pb.Answer{Results: []*pb.Result{r}, Vector: crdt.VersionVector{}.AppendTo(nil)}, nil
}

func pageOf(more string, keys ...string) *pb.Result {
	r := &pb.Result{More: []byte(more)}
	for _, k := range keys {
		r.Objects = append(r.Objects, &pb.Object{Key: []byte(k), Type: uint32(crdt.TypeSet), Fields: 1})
	}
	return r
}

// A scan shows what comes before an error, and then the error; of pages that make
// no sense it believes nothing.
func TestScanPages(t *testing.T) {
	const set = "\x02" // the end of a cursor
	for name, test := range map[string]struct {
		pages []*pb.Result
		shown string
		kind  error
	}{
		"empty pages":          {[]*pb.Result{pageOf("p" + set), pageOf("q"+set, "pa"), pageOf("")}, "[pa]", nil},
		"a failure":            {[]*pb.Result{pageOf("pb"+set, "pa", "pb"), nil}, "[pa pb]", ErrBusy},
		"the same page again":  {[]*pb.Result{pageOf("pa"+set, "pa"), pageOf("pa"+set, "pa")}, "[pa]", ErrUnavailable},
		"the same cursor":      {[]*pb.Result{pageOf("pa"+set, "pa"), pageOf("pa" + set)}, "[pa]", ErrUnavailable},
		"a cursor that is low": {[]*pb.Result{pageOf("pa"+set, "pa", "pb")}, "[]", ErrUnavailable},
		"out of order":         {[]*pb.Result{pageOf("", "pb", "pa")}, "[]", ErrUnavailable},
		"one object twice":     {[]*pb.Result{pageOf("", "pa", "pa")}, "[]", ErrUnavailable},
		"another prefix":       {[]*pb.Result{pageOf("", "xa")}, "[]", ErrUnavailable},
		"no such type":         {[]*pb.Result{{Objects: []*pb.Object{{Key: []byte("pa"), Type: 4}}}}, "[]", ErrUnavailable},
	} {
		bubble.Test(t, func(t *testing.T) { // which sees goroutines that do not end
			c := New(&paged{pages: map[int][]*pb.Result{0: test.pages}, asked: map[int]int{}}, 1, 0)
			shown, failed := []string{}, error(nil)
			for o, err := range c.Scan(t.Context(), ScanOptions{Prefix: "p"}) {
				if failed = err; err == nil {
					shown = append(shown, o.Key)
				}
			}
			if fmt.Sprint(shown) != test.shown || !errors.Is(failed, test.kind) {
				t.Errorf("%s: %v, %v; want %s, %v", name, shown, failed, test.shown, test.kind)
			}
		})
	}
}

// A prefix with a whole tag is looked for in its shard only.
func TestScanOfTag(t *testing.T) {
	shard := ring.Shard("{k}", 8)
	c := New(&paged{pages: map[int][]*pb.Result{shard: {pageOf("", "{k}a")}}, asked: map[int]int{}}, 8, 0)
	n := 0
	for o, err := range c.Scan(t.Context(), ScanOptions{Prefix: "{k}"}) {
		if n++; err != nil || o != (Object{"{k}a", crdt.TypeSet, 1}) {
			t.Errorf("%v, %v", o, err)
		}
	}
	if n != 1 {
		t.Errorf("%d objects", n)
	}
}
