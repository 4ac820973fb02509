package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/memnet"
)

// A peer of a protocol that is not spoken here is refused on every subject: with a
// line in the log a minute, a count, and the code that says so. The same messages
// of this protocol, or from before there were numbers, are taken.
func TestOtherProtocols(t *testing.T) {
	for _, number := range []uint32{0, pb.Protocol, pb.Protocol + 1, 1 << 31} {
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			c := newCluster(t, memnet.Options{})
			told := make(chan string, 1000)
			m := c.start("eu", func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(lines(told), nil)) })
			end, err := c.network.Join("eu", "stranger")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { end.Close() })
			spoken := number <= pb.Protocol
			refused := uint64(0)
			publish := func(subject string, message proto.Message) {
				t.Helper()
				before := m.State(3)
				for range 2 {
					if err := end.Publish(subject, marshal(message)); err != nil {
						t.Fatal(err)
					}
				}
				if spoken {
					return
				}
				refused += 2
				eventually(t, subject+" is counted", func() bool { return m.Counters()["messages_protocol"] == refused })
				if m.idle(); fmt.Sprint(m.State(3)) != fmt.Sprint(before) || m.isKnown("stranger") {
					t.Errorf("%s: shard 3 was %v, is %v; the stranger is known: %v", subject, before, m.State(3), m.isKnown("stranger"))
				}
			}
			request := func(subject string, question proto.Message, answer interface {
				proto.Message
				GetError() *pb.Error
			}) {
				t.Helper()
				data, err := end.Request(t.Context(), subject, marshal(question))
				if err == nil {
					err = proto.Unmarshal(data, answer)
				}
				code, text := answer.GetError().GetCode(), answer.GetError().GetText()
				switch {
				case err != nil:
					t.Errorf("%s: %v", subject, err)
				case spoken && answer.GetError() != nil:
					t.Errorf("%s: %v", subject, answer)
				case !spoken && (code != pb.Error_PROTOCOL || !strings.Contains(text, "a newer Atoll: upgrade this member; it speaks 1 to 1")):
					t.Errorf("%s: %v", subject, answer)
				}
				if !spoken {
					refused++
				}
				if n := m.Counters()["messages_protocol"]; n != refused {
					t.Errorf("%s: %d messages were counted, want %d", subject, n, refused)
				}
			}
			key := keyIn(3, "k", 0)
			incr := &pb.Request{Operations: []*pb.Operation{incr(key, 1)}, Protocol: number}
			status := &pb.SyncRequest{What: &pb.SyncRequest_Status{Status: &pb.StatusQuery{}}, Protocol: number}
			states := &pb.SyncRequest{What: &pb.SyncRequest_States{States: &pb.Empty{}}, Cluster: m.clusterNumber(), Protocol: number}

			publish(transport.Gossip, &pb.Gossip{Member: "stranger", Region: "eu", Incarnation: 1, Cluster: m.clusterNumber(), Protocol: number})
			if spoken {
				eventually(t, "the stranger is known", func() bool { return m.isKnown("stranger") })
			}
			publish(transport.Heartbeat, &pb.Heartbeat{Member: "stranger", Incarnation: 1, Cluster: m.clusterNumber(), Protocol: number})
			publish(transport.Delta(3), &pb.Delta{
				Member: "stranger", Event: event(key, func(*crdt.Event) {}), Cluster: m.clusterNumber(), Protocol: number,
			})
			if spoken {
				eventually(t, "the event is applied", func() bool { return m.State(3).Vector[99] == 1 })
				eventually(t, "the heartbeat is heard", func() bool { return len(m.observer.views(time.Now())) == 1 })
			}
			request(transport.Requests("eu", 3, transport.Trusted), incr, &pb.Answer{})
			request(transport.Fallback("eu", 3, transport.Trusted), incr, &pb.Answer{})
			request(transport.Info(transport.Trusted), &pb.Request{Protocol: number}, &pb.ClusterInfo{})
			request(transport.Questions("eu", transport.Trusted), status, &pb.SyncAnswer{})
			request(transport.Sync("eu"), states, &pb.SyncAnswer{})
			if n := m.number(count(key)); spoken && n != 2 || !spoken && n != 0 {
				t.Errorf("the counter is %d", n)
			}
			if spoken && m.Counters()["messages_protocol"] > 0 {
				t.Errorf("%d messages were refused", m.Counters()["messages_protocol"])
			}
			m.stop()
			c.members = nil
			close(told)
			peers := map[string]int{}
			for line := range told {
				if strings.Contains(line, "a protocol that this member does not speak") {
					_, peer, _ := strings.Cut(line, "of=")
					peers[strings.Fields(peer)[0]]++
				}
			}
			for peer, n := range peers {
				if n > 1 {
					t.Errorf("the log tells of %s %d times", peer, n)
				}
			}
			if spoken != (len(peers) == 0) || !spoken && len(peers) < 2 {
				t.Errorf("the log tells of %v", peers)
			}
		})
	}
}

// Whatever a member says to others without being asked carries the number.
func TestMessagesCarryTheProtocol(t *testing.T) {
	m, end := stranger(t)
	said := make(chan string, 1000)
	type spoken interface {
		proto.Message
		GetProtocol() uint32
	}
	heard := func(subject string, kind spoken) func(transport.Message) {
		return func(got transport.Message) {
			message := proto.Clone(kind).(spoken)
			if err := proto.Unmarshal(got.Data, message); err != nil || message.GetProtocol() != pb.Protocol {
				t.Errorf("%s: protocol %d, %v", subject, message.GetProtocol(), err)
			}
			select {
			case said <- subject:
			default:
			}
		}
	}
	asked := heard("sync", &pb.SyncRequest{})
	for _, err := range []error{
		second(end.Subscribe(transport.Gossip, heard("gossip", &pb.Gossip{}))),
		second(end.Subscribe(transport.Heartbeat, heard("heartbeat", &pb.Heartbeat{}))),
		second(end.Subscribe(transport.AllDeltas, heard("delta", &pb.Delta{}))),
		second(end.Serve(transport.Sync("stranger"), "", func(_ context.Context, question transport.Message) ([]byte, error) {
			asked(question)
			return nil, errors.New("no")
		})),
		// So it asks for what else there is.
		end.Publish(transport.Gossip, marshal(&pb.Gossip{Member: "stranger", Region: "ap", Cluster: m.clusterNumber(), Sum: 1, Last: true, Protocol: pb.Protocol})),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	m.do(incr("c", 1))
	missing := map[string]bool{"gossip": true, "heartbeat": true, "delta": true, "sync": true}
	for deadline := time.After(patience); len(missing) > 0; {
		select {
		case subject := <-said:
			delete(missing, subject)
		case <-deadline:
			t.Fatalf("never said: %v", missing)
		}
	}
}

func second(_ transport.Subscription, err error) error { return err }

// newer speaks for a member in a protocol to come.
type newer struct {
	transport.Transport
	upgraded *atomic.Bool
}

// numbered adds the field of the protocol once more: the last one counts.
func (n newer) numbered(subject string, data []byte) []byte {
	field := map[string]protowire.Number{"gossip": 10, "heartbeat": 6, "delta": 4, "sync": 15}[strings.Split(subject, ".")[0]]
	if field == 0 || !n.upgraded.Load() {
		return data
	}
	data = protowire.AppendTag(slices.Clone(data), field, protowire.VarintType)
	return protowire.AppendVarint(data, pb.Protocol+1)
}

func (n newer) Publish(subject string, data []byte) error {
	return n.Transport.Publish(subject, n.numbered(subject, data))
}

func (n newer) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	return n.Transport.Request(ctx, subject, n.numbered(subject, data))
}

// Of a member that speaks what others do not understand, these take nothing; it goes
// on by itself, and nothing is lost once all understand each other.
func TestMemberOfANewerProtocol(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.start("eu", nil)
	us := &member{cluster: c, options: testOptions("us"), disk: &disk{Store: newMemory()}}
	var upgraded atomic.Bool
	upgraded.Store(true)
	us.wrap = func(end transport.Transport) transport.Transport { return newer{end, &upgraded} }
	us.open()
	us.meet()
	c.members = append(c.members, us)
	for i := range 20 {
		eu.do(incr(fmt.Sprint("k", i), 1))
		us.do(incr(fmt.Sprint("k", i), 10))
	}
	eventually(t, "us is refused", func() bool { return eu.Counters()["messages_protocol"] > 0 })
	eventually(t, "us, which understands eu, has heard it", func() bool { return us.number(count("k19")) == 11 })
	if eu.isKnown("us") {
		t.Error("eu knows us")
	}
	for i := range 20 {
		if n := eu.number(count(fmt.Sprint("k", i))); n != 1 {
			t.Errorf("eu has %d, want what was written there, 1", n)
		}
	}
	upgraded.Store(false)
	c.converge()
	for i := range 20 {
		if n := eu.number(count(fmt.Sprint("k", i))); n != 11 {
			t.Errorf("in the end eu has %d, want 11", n)
		}
	}
}
