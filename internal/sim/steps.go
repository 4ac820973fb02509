package sim

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/replica"
	"github.com/atolldb/atoll/transport"
)

// bad is a way on which nearly everything goes wrong.
func bad(q quality) quality {
	q.jitter += 300 * time.Millisecond
	q.loss, q.twice, q.late = 500, 200, 300
	return q
}

// do makes one step happen.
func (w *world) do(s Step) {
	m, o := w.members[s.Member], w.members[s.Other]
	w.form()
	w.bury()
	w.mu.Lock()
	w.outcome.Stats.step(s)
	if s.Kind != Ask {
		w.note(m, "%s", s.text(w.schedule.Members)[9:])
	}
	w.mu.Unlock()
	way := way{m.Name, o.Name}
	if w.isWitness(m) && s.forgets() {
		return
	}
	switch s.Kind {
	case Ask:
		w.ask(m.Region, s)
	case Crash:
		lose := 0
		if m.Volatile {
			lose = s.N
		}
		m.crash(lose)
	case Stop:
		m.stop()
	case Start:
		m.open()
	case Wipe:
		m.crash(0)
		m.reverted = false
		m.replace(nil)
	case Backup:
		m.backup = m.disk.Snapshot()
	case Restore:
		if m.backup != nil {
			m.crash(0)
			m.suspect, m.reverted = true, false
			m.replace(m.backup)
		}
	case Revert:
		m.revert()
	case Rot:
		m.rot(uint64(s.N))
	case Invent:
		m.asleep(func() { m.forge(uint64(s.N), m.unheard) })
	case Swap:
		m.asleep(func() { m.forge(uint64(s.N), func(int, crdt.Position, crdt.Entries) bool { return true }) })
	case Owners:
		w.order(func(ctx context.Context, r *replica.Replica) error {
			return r.Configure(ctx, &pb.Settings{Owners: uint32(s.N)})
		})
	case Leave:
		w.leave(m)
	case Remove:
		w.kill(m)
	case Move:
		m.asleep(func() { m.seat = s.N })
	case Cut, Join:
		w.network.cut(way, s.Kind == Cut)
	case Worsen:
		w.network.set(way, bad(w.schedule.Network))
	case Improve:
		w.network.set(way, w.schedule.Network)
	case Fill, Empty:
		m.change(func(d *disk) { d.full = s.Kind == Fill })
	case Break:
		m.change(func(d *disk) { d.failing = 400 })
	case Mend:
		m.change(func(d *disk) { d.failing = 0 })
		if m.disk.isStuck() {
			m.asleep(func() {})
		}
	case Slow:
		m.change(func(d *disk) { d.pace = 150 * time.Millisecond })
	case Hurry:
		m.change(func(d *disk) { d.pace = m.Pace })
	case Skew:
		// Time never runs backwards in a process: it measures intervals otherwise.
		m.asleep(func() { m.skew = time.Duration(s.N) * time.Second })
	}
}

// asleep does something to the member while its engine does not run.
func (m *member) asleep(f func()) {
	up := m.replica != nil
	m.stop()
	f()
	if up {
		m.open()
	}
}

// change changes how the member's disk behaves, this one and those after.
func (m *member) change(f func(*disk)) {
	before := m.mood
	m.mood = func(d *disk) { before(d); f(d) }
	m.disk.set(f)
}

// ask has a client send a request to a region.
func (w *world) ask(region string, s Step) {
	w.mu.Lock()
	session := sessionShard{s.N, s.Shard}
	request := &pb.Request{Operations: s.Operations, Operation: s.Operation, Consistency: s.Level.Enum(), PatienceMs: uint32(clientPatience.Milliseconds() / 2)}
	if s.N > 0 && reads(s.Operations) {
		// Writes do not wait: when a group takes them could not be told then.
		request.After = w.sessions[session]
	}
	data, err := proto.Marshal(request)
	w.mu.Unlock()
	if err != nil {
		w.fail("request: %v", err)
		return
	}
	client := w.network.join(region, "client-"+region)
	w.clients.Go(func() {
		defer client.kill()
		ctx, cancel := context.WithTimeout(context.Background(), clientPatience)
		defer cancel()
		returned := w.called(request)
		// Whatever comes of it, the server's side of it is known: see watched.
		answer, err := client.Request(ctx, transport.Requests(region, s.Shard, transport.Trusted), data)
		returned(answer, err)
		if errors.Is(err, transport.ErrNoResponders) && s.Level == pb.Consistency_ONE {
			answer, err = client.Request(ctx, transport.Fallback(region, s.Shard, transport.Trusted), data)
		}
		var a pb.Answer
		if err != nil || s.N == 0 || proto.Unmarshal(answer, &a) != nil || a.Error != nil {
			return
		}
		w.mu.Lock()
		w.sessions[session] = join(w.sessions[session], a.Vector)
		w.mu.Unlock()
	})
}
