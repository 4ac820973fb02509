package replica

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport/memnet"
)

// after makes a request that must see all that an answer showed.
func after(answer *pb.Answer, ops ...*pb.Operation) *pb.Request {
	return &pb.Request{Operations: ops, After: answer.GetVector()}
}

// inSession serves a request for the shard of its first key.
func (m *member) inSession(request *pb.Request) (*pb.Answer, error) {
	ctx, cancel := context.WithTimeout(m.cluster.t.Context(), patience)
	defer cancel()
	return m.Do(ctx, shardOf(string(request.Operations[0].Key)), request)
}

// What a session wrote in one region it reads in the next, at once, however
// the event gets there.
func TestReadYourWrites(t *testing.T) {
	for name, link := range map[string]memnet.Link{
		"slowly":      {Delay: 30 * time.Millisecond},
		"with losses": {Loss: 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			random := seeded(t)
			c := newCluster(t, memnet.Options{Seed: random.Uint64(), Link: link})
			change := func(o *Options) {
				o.SessionPatience = patience
				o.QuestionTimeout = 100 * time.Millisecond
			}
			members := []*member{c.start("eu", change), c.start("us", change)}
			last := &pb.Answer{}
			for i := range 10 {
				m := members[i%2]
				answer, err := m.inSession(after(last, incr("k", 1), count("k")))
				if err != nil {
					t.Fatal(err)
				}
				if n := answer.Results[1].Number; n != int64(i+1) {
					t.Fatalf("%s counts %d after %d increments", m.options.Member, n, i+1)
				}
				last = answer
			}
		})
	}
}

// A copy that cannot hear what the session has seen refuses, and has done
// nothing; others are served.
func TestBehindSession(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	hasty := func(o *Options) { o.SessionPatience = 30 * time.Millisecond }
	eu, us := c.start("eu", hasty), c.start("us", hasty)
	c.network.CutRegion("us")
	seen, err := eu.inSession(after(&pb.Answer{}, incr("k", 1)))
	if err != nil {
		t.Fatal(err)
	}
	us.unchanged(func() {
		for _, op := range []*pb.Operation{incr("k", 1), count("k")} {
			if _, err := us.inSession(after(seen, op)); !errors.Is(err, ErrBehind) || !strings.Contains(err.Error(), "1 events are missing") {
				t.Errorf("%v; want ErrBehind", err)
			}
			if code := EncodeError(ErrBehind).Code; code != pb.Error_BEHIND {
				t.Errorf("its code is %v", code)
			}
		}
	})
	if n := us.number(count("k")); n != 0 { // no session, no wait
		t.Errorf("us counts %d", n)
	}
	other := keyIn((shardOf("k")+1)%testShards, "other", 0)
	if _, err := us.inSession(after(&pb.Answer{}, incr(other, 1))); err != nil {
		t.Errorf("another shard: %v", err)
	}
	c.network.RestoreRegion("us")
	c.converge()
	if n, err := us.inSession(after(seen, count("k"))); err != nil || n.Results[0].Number != 1 {
		t.Errorf("after the heal: %v, %v", n, err)
	}
	for _, bad := range [][]byte{{1}, []byte("noise")} {
		us.unchanged(func() {
			_, err := us.inSession(&pb.Request{Operations: []*pb.Operation{incr("k", 1)}, After: bad})
			if !errors.Is(err, crdt.ErrInvalid) {
				t.Errorf("a malformed vector: %v", err)
			}
		})
	}
}

// What a read shows of a copy that is half-way through a walk, the session
// has seen: elsewhere it does not go back behind it.
func TestSessionWhileCatchingUp(t *testing.T) {
	h := newHistory(t, seeded(t))
	defer h.close()
	eu, us := h.members[0], h.members[1]
	eu.fill("{h}big", names(20_000, "e"))
	eu.idle()
	h.ask(us, 1, func() error { return us.walk(t.Context(), "eu", historyShard) })
	if us.State(historyShard).Whole || len(us.State(historyShard).Vector) != 0 {
		t.Fatal("us is not half-way")
	}
	got := us.elements("{h}big")
	if len(got) == 0 {
		t.Fatal("us has nothing yet")
	}
	answer, err := us.Do(t.Context(), historyShard, after(&pb.Answer{}, &pb.Operation{
		Key: []byte("{h}big"), What: &pb.Operation_SetHas{SetHas: []byte(got[0])},
	}))
	if err != nil || !answer.Results[0].Flag {
		t.Fatal(answer, err)
	}
	v, err := crdt.DecodeVector(answer.Vector)
	if err != nil || !v.Dominates(eu.State(historyShard).Vector) {
		t.Errorf("the answer says to show %v, %v; eu has %v", v, err, eu.State(historyShard).Vector)
	}
	if _, err := eu.Do(t.Context(), historyShard, after(answer, card("{h}big"))); err != nil {
		t.Errorf("eu, which has it all: %v", err)
	}
}

// Waiting costs nothing where nobody waits, and everybody who waits is woken.
func TestManyWait(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	change := func(o *Options) { o.SessionPatience = patience }
	eu, us := c.start("eu", change), c.start("us", change)
	c.network.CutRegion("us")
	var last *pb.Answer
	for range 50 {
		var err error
		if last, err = eu.inSession(after(&pb.Answer{}, incr("k", 1))); err != nil {
			t.Fatal(err)
		}
	}
	results := make(chan error, 50)
	for range cap(results) {
		go func() {
			answer, err := us.inSession(after(last, count("k")))
			if err == nil && answer.Results[0].Number != 50 {
				err = fmt.Errorf("it counts %d", answer.Results[0].Number)
			}
			results <- err
		}()
	}
	c.network.RestoreRegion("us")
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}
