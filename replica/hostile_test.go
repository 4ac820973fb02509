package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/ring"
	"github.com/atolldb/atoll/internal/store/memstore"
	"github.com/atolldb/atoll/merkle"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/memnet"
)

// stranger returns a member that holds something, and the end of one who says
// what he likes.
func stranger(t *testing.T) (*member, *memnet.Member) {
	m := alone(t, nil)
	for shard := range testShards {
		m.do(incr(keyIn(shard, "k", 0), 1))
	}
	end, err := m.cluster.network.Join("ap", "stranger")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end.Close() })
	return m, end
}

// unchanged checks that a member holds what it did, once it has taken in what
// was sent and counted it.
func (m *member) unchanged(f func()) {
	t := m.cluster.t
	t.Helper()
	var before []string
	for shard := range testShards {
		before = append(before, fmt.Sprint(m.State(shard)))
	}
	f()
	m.idle()
	for shard := range testShards {
		if after := fmt.Sprint(m.State(shard)); after != before[shard] {
			t.Errorf("shard %d was %v, is %v", shard, before[shard], after)
		}
	}
}

// event returns an encoded event of a stranger on a key.
func event(key string, change func(*crdt.Event)) []byte {
	e := &crdt.Event{Dot: crdt.Dot{Actor: 99, Seq: 1}, Changes: []crdt.Change{{
		Field: crdt.FieldID{Object: crdt.Object{Key: key, Type: crdt.TypeSet}, Name: "e"},
		Puts:  crdt.Entries{{Dot: crdt.Dot{Actor: 99, Seq: 1}, Payload: crdt.Presence{}}},
	}}}
	change(e)
	return e.AppendTo(nil)
}

// What is malformed among what is broadcast is counted and changes nothing.
func TestMalformedBroadcasts(t *testing.T) {
	m, end := stranger(t)
	good := func(*crdt.Event) {}
	delta := func(member string, event []byte) []byte {
		return marshal(&pb.Delta{Member: member, Event: event, Cluster: m.clusterNumber()})
	}
	gossip := func(change func(*pb.Gossip)) []byte {
		g := &pb.Gossip{Member: "stranger", Region: "ap", Cluster: m.clusterNumber()}
		change(g)
		return marshal(g)
	}
	states := func(states ...*pb.ShardState) func(*pb.Gossip) {
		return func(g *pb.Gossip) { g.Shards = states }
	}
	root := merkle.Digest{}.AppendTo(nil)
	vector := crdt.VersionVector{}.AppendTo(nil)
	k := keyIn(3, "k", 0)
	for name, message := range map[string]transport.Message{
		"delta of noise":         {Subject: "delta.3", Data: []byte("noise")},
		"delta of no shard":      {Subject: "delta.9", Data: delta("stranger", event(k, good))},
		"delta of no number":     {Subject: "delta.x", Data: delta("stranger", event(k, good))},
		"delta of nobody":        {Subject: "delta.3", Data: delta("", event(k, good))},
		"delta of a bad name":    {Subject: "delta.3", Data: delta("a b", event(k, good))},
		"delta without event":    {Subject: "delta.3", Data: delta("stranger", nil)},
		"delta cut short":        {Subject: "delta.3", Data: delta("stranger", event(k, good)[:20])},
		"delta too long":         {Subject: "delta.3", Data: delta("stranger", append(event(k, good), 0))},
		"event of another shard": {Subject: "delta.4", Data: delta("stranger", event(k, good))},
		"clear of another shard": {Subject: "delta.4", Data: delta("stranger", event(k, func(e *crdt.Event) {
			e.Clears, e.Changes = []crdt.Clear{{Object: e.Changes[0].Field.Object}}, nil
		}))},
		"event of no actor": {Subject: "delta.3", Data: delta("stranger", event(k, func(e *crdt.Event) { e.Dot.Actor = 0 }))},
		"wrong payload": {Subject: "delta.3", Data: delta("stranger", event(k, func(e *crdt.Event) {
			e.Changes[0].Puts[0].Payload = crdt.Sibling{}
		}))},
		"put of the future": {Subject: "delta.3", Data: delta("stranger", event(k, func(e *crdt.Event) {
			e.Changes[0].Puts[0].Dot.Seq = 5
		}))},
		"gossip of noise":       {Subject: "gossip", Data: []byte("noise")},
		"gossip of nobody":      {Subject: "gossip", Data: gossip(func(g *pb.Gossip) { g.Member = "" })},
		"gossip of nowhere":     {Subject: "gossip", Data: gossip(func(g *pb.Gossip) { g.Region = "" })},
		"gossip of no shard":    {Subject: "gossip", Data: gossip(states(&pb.ShardState{Shard: 9, Vector: vector, Root: root}))},
		"gossip of a far shard": {Subject: "gossip", Data: gossip(states(&pb.ShardState{Shard: math.MaxUint32, Vector: vector, Root: root}))},
		"gossip of no vector":   {Subject: "gossip", Data: gossip(states(&pb.ShardState{Vector: vector[:0], Root: root}))},
		"gossip of no root":     {Subject: "gossip", Data: gossip(states(&pb.ShardState{Vector: vector, Root: root[1:]}))},
	} {
		m.unchanged(func() {
			before := m.Counters()["messages_malformed"]
			if err := end.Publish(message.Subject, message.Data); err != nil {
				t.Fatal(err)
			}
			eventually(t, name+" is counted", func() bool { return m.Counters()["messages_malformed"] > before })
		})
	}
}

func (m *member) clusterNumber() uint64 { return m.Replica.cluster }

// Questions that are malformed are refused, counted, and change nothing.
func TestMalformedQuestions(t *testing.T) {
	m, end := stranger(t)
	question := func(q *pb.SyncRequest) []byte {
		q.Cluster = m.clusterNumber()
		return marshal(q)
	}
	walk := func(shard uint32, ranges ...*pb.Range) []byte {
		return question(&pb.SyncRequest{What: &pb.SyncRequest_Walk{Walk: &pb.Walk{Shard: shard, Ranges: ranges}}})
	}
	fetch := func(shard uint32, vector []byte) []byte {
		return question(&pb.SyncRequest{What: &pb.SyncRequest_Fetch{Fetch: &pb.Fetch{Shard: shard, Vector: vector}}})
	}
	digest := merkle.Digest{}.AppendTo(nil)
	for name, test := range map[string]struct {
		data []byte
		code pb.Error_Code
	}{
		"noise":               {[]byte("noise"), pb.Error_INVALID},
		"nothing":             {question(&pb.SyncRequest{}), pb.Error_INVALID},
		"fetch of no shard":   {fetch(9, crdt.VersionVector{}.AppendTo(nil)), pb.Error_WRONG_SHARD},
		"fetch of far shard":  {fetch(math.MaxUint32, nil), pb.Error_WRONG_SHARD},
		"fetch of no vector":  {fetch(0, nil), pb.Error_INVALID},
		"walk of no shard":    {walk(9), pb.Error_WRONG_SHARD},
		"walk of no digest":   {walk(0, &pb.Range{}), pb.Error_INVALID},
		"walk of an empty":    {walk(0, &pb.Range{Low: []byte("b"), High: []byte("b"), Digest: digest}), pb.Error_INVALID},
		"walk out of order":   {walk(0, &pb.Range{Low: []byte("b"), Digest: digest}, &pb.Range{High: []byte("b"), Digest: digest}), pb.Error_INVALID},
		"walk of overlapping": {walk(0, &pb.Range{High: []byte("c"), Digest: digest}, &pb.Range{Low: []byte("b"), Digest: digest}), pb.Error_INVALID},
	} {
		m.unchanged(func() {
			before := m.Counters()["messages_malformed"]
			data, err := end.Request(t.Context(), transport.Sync("eu"), test.data)
			var answer pb.SyncAnswer
			if err == nil {
				err = proto.Unmarshal(data, &answer)
			}
			if err != nil || answer.GetError().GetCode() != test.code || answer.What != nil {
				t.Errorf("%s: %v, %v; want %v", name, &answer, err, test.code)
			}
			if m.Counters()["messages_malformed"] != before+1 {
				t.Errorf("%s is not counted", name)
			}
		})
	}
}

// Requests of clients that are malformed are refused by a code.
func TestMalformedRequests(t *testing.T) {
	m, end := stranger(t)
	one := marshal(&pb.Request{Operations: []*pb.Operation{incr(keyIn(3, "k", 0), 1)}})
	for name, test := range map[string]struct {
		subject string
		data    []byte
		code    pb.Error_Code
	}{
		"noise":        {"kv.eu.3.-", []byte("noise"), pb.Error_INVALID},
		"nothing":      {"kv.eu.3.-", nil, pb.Error_INVALID},
		"no shard":     {"kv.eu.8.-", one, pb.Error_WRONG_SHARD},
		"no number":    {"kv.eu.x.-", one, pb.Error_WRONG_SHARD},
		"wrong shard":  {"kv.eu.4.-", one, pb.Error_WRONG_SHARD},
		"no such type": {"kv.eu.3.-", marshal(&pb.Request{Operations: []*pb.Operation{del(keyIn(3, "k", 0), 4)}}), pb.Error_INVALID},
	} {
		m.unchanged(func() {
			data, err := end.Request(t.Context(), test.subject, test.data)
			var answer pb.Answer
			if err == nil {
				err = proto.Unmarshal(data, &answer)
			}
			if err != nil || answer.GetError().GetCode() != test.code || answer.GetError().GetText() == "" {
				t.Errorf("%s: %v, %v; want %v", name, &answer, err, test.code)
			}
		})
	}
	for err, code := range map[error]pb.Error_Code{
		crdt.ErrOverflow: pb.Error_OVERFLOW, ErrBusy: pb.Error_BUSY, ErrClosed: pb.Error_BUSY,
		ErrUnavailable: pb.Error_UNAVAILABLE, ErrUnknown: pb.Error_UNKNOWN, unavailable(errDisk): pb.Error_UNAVAILABLE,
	} {
		if got := EncodeError(err).Code; got != code {
			t.Errorf("the code of %v is %v, want %v", err, got, code)
		}
	}
}

// A member serves requests of its own region and of no other: what two regions
// share, both may serve.
func TestOwnRegionOnly(t *testing.T) {
	m, end := stranger(t)
	request := marshal(&pb.Request{Operations: []*pb.Operation{incr(keyIn(3, "k", 0), 1)}})
	if _, err := end.Request(t.Context(), transport.Requests(m.options.Region, 3, transport.Trusted), request); err != nil {
		t.Error(err)
	}
	for _, subject := range []string{transport.Requests("us", 3, transport.Trusted), transport.Requests("ap", 3, transport.Trusted), "kv.3"} {
		m.unchanged(func() {
			if _, err := end.Request(t.Context(), subject, request); !errors.Is(err, transport.ErrNoResponders) {
				t.Errorf("%s: %v; want that nobody serves it", subject, err)
			}
		})
	}
}

// Answers that are malformed are refused as a whole and change nothing.
func TestMalformedAnswers(t *testing.T) {
	h := newHistory(t, seeded(t))
	defer h.close()
	m, peer := h.members[0], h.members[1]
	peer.fill("{h}s", names(5, "e"))
	peer.do(incr("{h}c", 1))
	peer.idle()
	if err := serveOnce(m, peer, nil); err != nil {
		t.Fatalf("without a change: %v", err)
	}
	peer.do(add("{h}s", "new"))
	peer.idle()
	other := keyIn((historyShard+1)%testShards, "k", 0)
	part := func(f func(w *pb.Walked, p *pb.Part)) func(*pb.SyncAnswer) {
		return func(a *pb.SyncAnswer) { f(a.GetWalked(), a.GetWalked().GetParts()[0]) }
	}
	field := func(f func(field *pb.Field)) func(*pb.SyncAnswer) {
		return part(func(_ *pb.Walked, p *pb.Part) { f(p.Fields[0]) })
	}
	at := func(id crdt.FieldID) func(*pb.SyncAnswer) { // instead of an element, and alone
		return part(func(_ *pb.Walked, p *pb.Part) {
			i := fieldIn(p, elementField("{h}s", "new"))
			p.Fields = p.Fields[i : i+1]
			p.Fields[0].Position = []byte(id.Position())
		})
	}
	for name, change := range map[string]func(*pb.SyncAnswer){
		"a refusal":        func(a *pb.SyncAnswer) { a.Error = &pb.Error{Text: "no"} },
		"no answer":        func(a *pb.SyncAnswer) { a.What = nil },
		"another answer":   func(a *pb.SyncAnswer) { a.What = &pb.SyncAnswer_Status{} },
		"no vector":        part(func(w *pb.Walked, _ *pb.Part) { w.Vectors = nil }),
		"a broken vector":  part(func(w *pb.Walked, _ *pb.Part) { w.Vectors[0] = w.Vectors[0][1:] }),
		"nothing heard so": part(func(w *pb.Walked, p *pb.Part) { w.Vectors[0], p.Fields = w.Vectors[0][1:], nil }),
		"a far vector":     part(func(_ *pb.Walked, p *pb.Part) { p.Vector = 9 }),
		"no digest":        part(func(_ *pb.Walked, p *pb.Part) { p.Complete, p.Digest = false, nil }),
		"a broken digest":  part(func(_ *pb.Walked, p *pb.Part) { p.Digest = []byte("noise") }),
		"a gap":            part(func(_ *pb.Walked, p *pb.Part) { p.Low = []byte("x") }),
		"an empty part":    part(func(_ *pb.Walked, p *pb.Part) { p.High = []byte{0}; p.Low = []byte{1} }),
		"out of order":     part(func(_ *pb.Walked, p *pb.Part) { slices.Reverse(p.Fields) }),
		"outside":          part(func(_ *pb.Walked, p *pb.Part) { p.High = []byte{0} }),
		"no entries":       field(func(f *pb.Field) { f.Entries = crdt.Entries{}.AppendTo(nil) }),
		"broken entries":   field(func(f *pb.Field) { f.Entries = f.Entries[1:] }),
		"unheard entries":  part(func(w *pb.Walked, _ *pb.Part) { w.Vectors[0] = crdt.VersionVector{}.AppendTo(nil) }),
		"no position":      field(func(f *pb.Field) { f.Position = f.Position[:10] }),
		"a false position": field(func(f *pb.Field) { f.Position[len(f.Position)-1]++ }),
		"another shard":    at(crdt.FieldID{Object: crdt.Object{Key: other, Type: crdt.TypeSet}, Name: "e"}),
		"another type":     at(crdt.FieldID{Object: crdt.Object{Key: "{h}s", Type: crdt.TypeRegister}}),
	} {
		m.unchanged(func() {
			if err := serveOnce(m, peer, change); err == nil {
				t.Errorf("%s was taken", name)
			}
			unsaid := func(a *pb.SyncAnswer) {
				for _, p := range a.GetWalked().GetParts() {
					p.Digest = nil // as of a part that the answer had no room for
				}
				change(a)
			}
			if err := serveOnce(m, peer, unsaid); err == nil {
				t.Errorf("%s was taken where no digest stands against it", name)
			}
		})
	}
}

// Events that a peer sends when it is asked for them are checked as those are that come by
// themselves.
func TestMalformedFetches(t *testing.T) {
	h := newHistory(t, seeded(t))
	defer h.close()
	m, peer := h.members[0], h.members[1]
	peer.do(incr("{h}c", 1))
	peer.idle()
	other := keyIn((historyShard+1)%testShards, "k", 0)
	fetch := func(change func(*pb.SyncAnswer)) (err error) {
		m.believing(change, func() { _, err = m.fetch(context.Background(), peer.options.Member, historyShard) })
		return err
	}
	events := func(raws ...[]byte) func(*pb.SyncAnswer) {
		return func(a *pb.SyncAnswer) { a.GetFetched().Events = raws }
	}
	good := func(*crdt.Event) {}
	for name, change := range map[string]func(*pb.SyncAnswer){
		"a refusal":         func(a *pb.SyncAnswer) { a.Error = &pb.Error{Text: "no"} },
		"no answer":         func(a *pb.SyncAnswer) { a.What = nil },
		"another answer":    func(a *pb.SyncAnswer) { a.What = &pb.SyncAnswer_Status{} },
		"no vector":         func(a *pb.SyncAnswer) { a.GetFetched().Vector = nil },
		"a broken vector":   func(a *pb.SyncAnswer) { a.GetFetched().Vector = a.GetFetched().Vector[1:] },
		"noise":             events([]byte("noise")),
		"nothing":           events(nil),
		"an event cut":      events(event("{h}s", good)[:20]),
		"another shard":     events(event(other, good)),
		"an event too long": events(append(event("{h}s", good), 0)),
	} {
		m.unchanged(func() {
			if err := fetch(change); err == nil {
				t.Errorf("%s was taken", name)
			}
		})
	}
	if err := fetch(nil); err != nil || m.number(count("{h}c")) != 1 {
		t.Errorf("without a change: %v, %v", err, m.State(historyShard))
	}
}

// A damaged leaf does not give way to an answer that is not what the peer's own digest says,
// or does not fit the question.
func TestLeafAgainstItsDigest(t *testing.T) {
	h := newHistory(t, seeded(t))
	defer h.close()
	m, peer := h.members[0], h.members[1]
	peer.fill("{h}s", names(5, "e"))
	peer.idle()
	if err := serveOnce(m, peer, nil); err != nil {
		t.Fatal(err)
	}
	damaged := elementField("{h}s", "e-000002")
	m.misread(damaged, func(es crdt.Entries) { es[0].Dot.Seq-- })
	pull := func(change func(*pb.SyncAnswer)) (err error) {
		m.believing(change, func() {
			leaf := &replacement{shard: m.shards[historyShard], leaf: leafOf(damaged.Position())}
			err = m.pullLeaf(context.Background(), peer.options.Member, leaf)
		})
		return err
	}
	for name, change := range map[string]func(*pb.Part){
		"a field dropped": func(p *pb.Part) { p.Fields = p.Fields[:max(0, len(p.Fields)-1)] },
		"an empty part":   func(p *pb.Part) { p.High = p.Low },
	} {
		m.unchanged(func() {
			commits := m.disk.committed()
			err := pull(func(a *pb.SyncAnswer) { change(a.GetWalked().GetParts()[0]) })
			if !errors.Is(err, antientropy.ErrBadAnswer) || m.disk.committed() != commits {
				t.Errorf("%s: %v, %d commits", name, err, m.disk.committed()-commits)
			}
		})
	}
	if err := pull(nil); err != nil || !slices.Equal(m.elements("{h}s"), names(5, "e")) {
		t.Errorf("the answer as it is: %v, %q", err, m.elements("{h}s"))
	}
}

// A peer that answers with other fields than its own digests say is not believed: nothing of
// the answer is joined or counts as heard, and it is counted as an error. The next one is.
func TestAnswersAgainstTheirDigests(t *testing.T) {
	random := seeded(t)
	for name, change := range map[string]func(*pb.Part){
		"altered": func(p *pb.Part) {
			f := p.Fields[fieldIn(p, counterField("{h}c"))]
			es, err := crdt.DecodeEntries(crdt.TypeCounter, f.Entries)
			if err != nil {
				t.Error(err)
				return
			}
			es[0].Payload = crdt.Contribution{N: es[0].Payload.(crdt.Contribution).N, Total: 1000}
			f.Entries = es.AppendTo(nil)
		},
		"dropped": func(p *pb.Part) {
			i := fieldIn(p, elementField("{h}s", "e-000002"))
			p.Fields = slices.Delete(p.Fields, i, i+1)
		},
		"all dropped": func(p *pb.Part) { p.Fields = nil },
		"added": func(p *pb.Part) {
			i := fieldIn(p, elementField("{h}s", "e-000002"))
			more := &pb.Field{Position: []byte(elementField("{h}s", "more").Position()), Entries: p.Fields[i].Entries}
			p.Fields = append(p.Fields, more)
			slices.SortFunc(p.Fields, func(a, b *pb.Field) int { return bytes.Compare(a.Position, b.Position) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(t, random)
			defer h.close()
			m, peer := h.members[0], h.members[1]
			peer.fill("{h}s", names(5, "e"))
			peer.do(incr("{h}c", 7))
			peer.idle()
			if err := serveOnce(m, peer, nil); err != nil {
				t.Fatalf("without a change: %v", err)
			}
			peer.do(incr("{h}c", 1))
			peer.idle()
			lie := func(a *pb.SyncAnswer) {
				p := a.GetWalked().GetParts()[0]
				if p.Complete && len(p.Digest) > 0 {
					change(p)
				}
			}
			spoken, commits, before := m.shards[historyShard].spoken.Load(), m.disk.committed(), m.Counters()
			m.unchanged(func() {
				if err := serveOnce(m, peer, lie); !errors.Is(err, antientropy.ErrBadAnswer) {
					t.Errorf("the walk ends with %v", err)
				}
				m.believing(lie, func() {
					m.repair(antientropy.Task{Kind: antientropy.WalkPeriodic, Peer: peer.options.Member, Shard: historyShard})
				})
			})
			now := m.Counters()
			if m.shards[historyShard].spoken.Load() != spoken || m.disk.committed() != commits || now["fields_pulled"] != before["fields_pulled"] {
				t.Error("something of it was taken")
			}
			if n := now["repair_errors"] - before["repair_errors"]; n != 1 {
				t.Errorf("%d errors are counted, want 1", n)
			}
			if n, elements := m.number(count("{h}c")), m.elements("{h}s"); n != 7 || !slices.Equal(elements, names(5, "e")) {
				t.Errorf("the member reads %d and %q", n, elements)
			}
			err := serveOnce(m, peer, nil)
			if n := m.number(count("{h}c")); err != nil || n != 8 || !agree(historyShard, []*member{m, peer}) {
				t.Errorf("of the answer as it is: %v, %d, %v; the peer has %v", err, n, m.State(historyShard), peer.State(historyShard))
			}
		})
	}
}

// fieldIn returns where a field is in an answer.
func fieldIn(p *pb.Part, id crdt.FieldID) int {
	return slices.IndexFunc(p.Fields, func(f *pb.Field) bool { return string(f.Position) == string(id.Position()) })
}

// serveOnce lets a member walk over a peer that changes its answers.
func serveOnce(m, peer *member, change func(*pb.SyncAnswer)) (err error) {
	m.believing(change, func() { err = m.walk(context.Background(), peer.options.Member, historyShard) })
	return err
}

// believing has a member of a history do something while its peers change their answers.
func (m *member) believing(change func(*pb.SyncAnswer), do func()) {
	was := m.network.Load()
	defer m.network.Store(was)
	m.network.Store(&network{transport: changing{was.transport, func(data []byte) []byte {
		if change == nil {
			return data
		}
		var answer pb.SyncAnswer
		if err := proto.Unmarshal(data, &answer); err != nil {
			m.cluster.t.Fatal(err)
		}
		change(&answer)
		return marshal(&answer)
	}}})
	was.transport.(*wire).allow(100)
	do()
}

// changing is a transport that changes what comes back.
type changing struct {
	transport.Transport
	change func([]byte) []byte
}

func (c changing) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	answer, err := c.Transport.Request(ctx, subject, data)
	if err != nil {
		return nil, err
	}
	return c.change(answer), nil
}

// lines is a writer that hands on what is written to it.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	select {
	case l <- string(b):
	default:
	}
	return len(b), nil
}

// Members of other clusters are not listened to, and told so.
func TestForeignCluster(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	told := make(chan string, 100)
	eu := c.start("eu", func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(lines(told), nil)) })
	eu.do(incr("c", 1))
	for name, test := range map[string]struct {
		change func(*Options)
		why    string
	}{
		"another": {func(o *Options) { o.Cluster = "other" }, "its cluster is"},
		"secret":  {func(o *Options) { o.DigestKey[0]++ }, "its secret is another"},
		"shards":  {func(o *Options) { o.Shards *= 2 }, "it has 16 shards, this one 8"},
	} {
		stranger := c.start(name, test.change)
		for line := ""; !strings.Contains(line, test.why) || !strings.Contains(line, "member="+name); {
			select {
			case line = <-told:
			case <-time.After(patience):
				t.Fatalf("eu says nothing of %s and why", name)
			}
		}
		request := &pb.Request{Operations: []*pb.Operation{incr("c", 1)}}
		if _, err := stranger.Do(t.Context(), ring.Shard("c", stranger.Shards()), request); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" is noticed on both sides", func() bool {
			return eu.Counters()["messages_foreign"] > 0 && stranger.Counters()["messages_foreign"] > 0
		})
		answer, err := stranger.Ask(t.Context(), "eu", &pb.SyncRequest{What: &pb.SyncRequest_States{}, Cluster: stranger.clusterNumber()})
		if err != nil || answer.GetError().GetCode() != pb.Error_INVALID {
			t.Errorf("%s asks: %v, %v", name, answer, err)
		}
		if n := len(stranger.State(shardOf("c")).Vector); n > 1 {
			t.Errorf("%s has heard %d actors", name, n)
		}
		stranger.stop()
		c.members = c.members[:1]
	}
	if n := eu.number(count("c")); n != 1 {
		t.Errorf("the counter is %d", n)
	}
}

// A second process under a member's name is noticed by both.
func TestNamesake(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	a := c.start("eu", nil)
	b := &member{cluster: c, options: testOptions("eu"), disk: &disk{Store: newMemory()}}
	b.open()
	end, err := c.network.Join("eu", "other")
	if err != nil {
		t.Fatal(err)
	}
	b.end = end
	if err := b.Start(end); err != nil {
		t.Fatal(err)
	}
	c.members = append(c.members, b)
	for _, m := range c.members {
		eventually(t, "the namesake is noticed", func() bool { return m.Counters()["namesakes"] > 0 })
	}
	a.do(incr("c", 1))
}

// A directory that was made for something else is refused, and left as it is.
func TestForeignDirectory(t *testing.T) {
	s := memstore.New()
	open := func(change func(*Options)) error {
		o := testOptions("eu")
		change(&o)
		r, err := Open(o, s)
		if err == nil {
			r.Close()
		}
		return err
	}
	if err := open(func(*Options) {}); err != nil {
		t.Fatal(err)
	}
	for says, change := range map[string]func(*Options){
		"the cluster test, not other": func(o *Options) { o.Cluster = "other" },
		"the member eu, not us":       func(o *Options) { o.Member = "us" },
		"the region eu, not us":       func(o *Options) { o.Region = "us" },
		"8 shards, not 16":            func(o *Options) { o.Shards = 16 },
		"another cluster secret":      func(o *Options) { o.DigestKey[5] = 1 },
	} {
		if err := open(change); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want one that says %q", err, says)
		}
	}
	for _, change := range []func(*Options){
		func(*Options) {}, func(o *Options) { o.LogLimit, o.Loops = 1, 7 },
	} {
		if err := open(change); err != nil {
			t.Errorf("what may change: %v", err)
		}
	}
	damaged := batchOf(nil)
	damaged.Put([]byte("c"), []byte("{"))
	if err := s.Commit(damaged); err != nil {
		t.Fatal(err)
	}
	if err := open(func(*Options) {}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged identity: %v", err)
	}
}

func TestOptions(t *testing.T) {
	for says, change := range map[string]func(*Options){
		`cluster name ""`:   func(o *Options) { o.Cluster = "" },
		`member name "a b"`: func(o *Options) { o.Member = "a b" },
		`region name "ä"`:   func(o *Options) { o.Region = "ä" },
		"65537 shards":      func(o *Options) { o.Shards = 1<<16 + 1 },
		"-1 shards":         func(o *Options) { o.Shards = -1 },
		"log limit of -1":   func(o *Options) { o.LogLimit = -1 },
		"65 loops":          func(o *Options) { o.Loops = 65 },
		"name \"" + strings.Repeat("x", 65) + "\"": func(o *Options) { o.Member = strings.Repeat("x", 65) },
	} {
		o := testOptions("eu")
		change(&o)
		if _, err := Open(o, memstore.New()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want one that says %q", err, says)
		}
	}
}
