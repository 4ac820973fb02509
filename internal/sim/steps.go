package sim

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/atolldb/atoll/proto"
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
	w.mu.Lock()
	w.outcome.Stats.step(s)
	if s.Kind != Ask {
		w.note(m, "%s", s.text(w.schedule.Members)[9:])
	}
	w.mu.Unlock()
	way := way{m.Name, o.Name}
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
		m.replace(nil)
	case Backup:
		m.backup = m.disk.Snapshot()
	case Restore:
		if m.backup != nil {
			m.crash(0)
			m.suspect = true
			m.replace(m.backup)
		}
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
	case Slow:
		m.change(func(d *disk) { d.pace = 150 * time.Millisecond })
	case Hurry:
		m.change(func(d *disk) { d.pace = usualPace })
	case Skew:
		up := m.replica != nil
		m.stop() // time never runs backwards in a process: it measures intervals otherwise
		m.skew = time.Duration(s.N) * time.Second
		if up {
			m.open()
		}
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
	w.next++
	data, err := proto.Marshal(&pb.Request{Operations: s.Operations})
	if err != nil {
		w.fail("request: %v", err)
		return
	}
	client := w.network.join(region, "client-"+region)
	w.clients.Go(func() {
		defer client.kill()
		ctx, cancel := context.WithTimeout(context.Background(), clientPatience)
		defer cancel()
		// Whatever comes of it, the server's side of it is known: see watched.
		_, _ = client.Request(ctx, transport.Requests(region, s.Shard), data)
	})
}
