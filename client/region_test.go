package client

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/internal/bubble"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

// world is a transport to several regions, each of which has owners or not.
type world struct {
	transport.Transport
	info   *pb.ClusterInfo // nil: nobody answers
	serves map[string]bool // regions
	asked  []string        // subjects
	fails  error           // of requests that are not for info; nil: as serves says
}

func (w *world) Request(ctx context.Context, subject string, _ []byte) ([]byte, error) {
	w.asked = append(w.asked, subject)
	if subject == transport.Info(transport.Trusted) {
		if w.info == nil {
			return silence(ctx)
		}
		return proto.Marshal(w.info)
	}
	if w.fails != nil {
		return nil, w.fails
	}
	for region := range w.serves {
		if transport.Match(transport.AllRequests(region), subject) {
			return proto.Marshal(&pb.Answer{Results: []*pb.Result{{Number: 7}}})
		}
	}
	return nil, transport.ErrNoResponders
}

// A request goes to the nearest region that has an owner, and to one region
// at a time: what was sent to two could be served twice.
func TestNearestRegion(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := &world{
			info:   &pb.ClusterInfo{Shards: 1, Region: "eu", Regions: []string{"us", "ap"}},
			serves: map[string]bool{"eu": true, "us": true, "ap": true},
		}
		r := &remote{transport: w, user: transport.Trusted}
		c := New(r, 1, 0)
		add := func(want ...string) {
			t.Helper()
			w.asked = nil
			if _, err := c.Counter("k").Add(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(w.asked, want) {
				t.Errorf("asked %q, want %q", w.asked, want)
			}
		}
		add("info.-", "kv.eu.0.-")
		add("kv.eu.0.-")
		delete(w.serves, "eu")
		add("kv.eu.0.-", "kv.us.0.-")
		delete(w.serves, "us")
		add("kv.eu.0.-", "kv.us.0.-", "kv.ap.0.-")

		// After a new connection another region may be nearest.
		w.info = &pb.ClusterInfo{Shards: 1, Region: "ap", Regions: []string{"eu"}}
		r.moved("reconnected")
		add("info.-", "kv.ap.0.-")

		// What is known is looked up again from time to time, and holds if
		// nobody answers.
		w.info = &pb.ClusterInfo{Shards: 1, Region: "us", Regions: []string{"ap"}}
		time.Sleep(surveyEvery)
		add("info.-", "kv.us.0.-", "kv.ap.0.-")
		w.info = nil
		time.Sleep(surveyEvery)
		add("info.-", "kv.us.0.-", "kv.ap.0.-")
	})
}

// What may have been served in one region is not sent to another, unless it has an
// id.
func TestOneRegionOnly(t *testing.T) {
	for _, err := range []error{transport.ErrInterrupted, transport.ErrClosed, transport.ErrTooLarge, errors.New("who knows")} {
		w := &world{fails: err}
		r := &remote{transport: w, user: transport.Trusted}
		r.known.Store(&survey{regions: []string{"eu", "us"}, when: time.Now()})
		if got := New(r, 1, 0).Register("k").Set(t.Context(), nil); got == nil {
			t.Errorf("%v: no error", err)
		}
		if !slices.Equal(w.asked, []string{"kv.eu.0.-"}) {
			t.Errorf("after %v it asked %q", err, w.asked)
		}
	}
}

// While nobody says which regions there are, nothing is sent to any: that it
// was not done is known.
func TestNoRegionKnown(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := &world{serves: map[string]bool{"eu": true}}
		began := time.Now()
		_, err := New(&remote{transport: w, user: transport.Trusted}, 1, 0).Counter("k").Add(t.Context(), 1)
		if took := time.Since(began); !errors.Is(err, ErrUnreachable) || took != defaultTimeout {
			t.Errorf("%v after %v", err, took)
		}
		if slices.ContainsFunc(w.asked, func(s string) bool { return s != transport.Info(transport.Trusted) }) {
			t.Errorf("asked %q", w.asked)
		}
	})
}

// A user who has too many requests under way to be told the regions asks again, as
// often as a server that is busy. Regions that are known are good enough.
func TestRegionsForBusyUsers(t *testing.T) {
	type answers = []func(context.Context) ([]byte, error)
	busy := says(&pb.ClusterInfo{Error: &pb.Error{Code: pb.Error_BUSY, Text: "256 requests of the user web are under way"}})
	eu := says(&pb.ClusterInfo{Shards: 1, Region: "eu"})
	add := func(c *Client) error { _, err := c.Counter("k").Add(context.Background(), 1); return err }
	read := func(c *Client) error { _, err := c.Counter("k").Value(context.Background()); return err }
	for name, test := range map[string]struct {
		known   []string
		call    func(*Client) error
		answers answers
		took    time.Duration
		kind    error
	}{
		"increment":    {nil, add, answers{busy, busy, eu, seven}, 30 * time.Millisecond, nil},
		"read":         {nil, read, answers{busy, busy, eu, seven}, 30 * time.Millisecond, nil},
		"for too long": {nil, add, answers{busy}, 630 * time.Millisecond, ErrBusy},
		"known":        {[]string{"eu"}, read, answers{busy, busy, busy, busy, busy, busy, seven}, surveyTimeout, nil},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				r := &remote{transport: &script{answers: test.answers}, user: "web"}
				if test.known != nil {
					r.known.Store(&survey{regions: test.known, when: time.Now().Add(-surveyEvery)})
				}
				began := time.Now()
				err := test.call(New(r, 1, 0))
				if took := time.Since(began); !errors.Is(err, test.kind) || took != test.took {
					t.Errorf("%v after %v; want %v after %v", err, took, test.kind, test.took)
				}
				if errors.Is(err, ErrUnavailable) {
					t.Errorf("%v, of which it is not known whether it was done", err)
				}
			})
		})
	}
}
