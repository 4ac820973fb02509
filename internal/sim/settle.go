package sim

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/atolldb/atoll/crdt"
)

// settleWithin is how long a healed cluster may take to agree.
const settleWithin = time.Minute

// resignAfter is when what has rotted and nobody else has is given up.
const resignAfter = settleWithin / 3

// settle ends all faults, waits until all agree, and compares what they agree
// on with the oracle.
func (w *world) settle() {
	w.network.heal()
	for _, m := range w.members {
		m.change(func(d *disk) { d.full, d.failing, d.pace = false, 0, m.Pace })
		time.Sleep(w.odd(time.Now()))
		if m.disk.doubtful() {
			m.stop()
		}
		m.open()
	}
	healed := w.now()
	scrub := func(giveUp bool) {
		for _, m := range w.members {
			if m.replica != nil && w.hasRot() {
				m.replica.Scrub(giveUp)
			}
		}
	}
	scrub(false)
	for before, same := "", 0; same < 3; {
		time.Sleep(w.odd(time.Now().Add(500 * time.Millisecond)))
		if w.failed() {
			return
		}
		w.bury()
		if !w.resigned && w.now() > healed+resignAfter {
			w.mu.Lock()
			w.resigned = true
			w.lose(w.members[0])
			w.mu.Unlock()
			scrub(true)
		}
		damage := cmp.Or(w.damage(), w.unplaced())
		w.mu.Lock()
		difference, now := cmp.Or(damage, w.difference()), w.states()
		if difference == "" {
			difference = w.missing()
		}
		if same++; difference != "" || now != before {
			same, before = 0, now
		}
		if w.now() > healed+settleWithin {
			w.failLocked("no agreement %v after the faults ended: %s", settleWithin, difference)
		}
		w.mu.Unlock()
	}
	w.outcome.Stats.settled(w.now() - healed)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.members {
		if len(m.held) > 0 {
			w.failLocked("%s has not noticed that its disk was put back: it goes on as %v", m.Name, m.held)
		}
		if err := w.final(m); err != nil {
			w.failLocked("%s in the end: %v", m.Name, err)
		}
	}
}

// states describes all copies. w.mu is held.
func (w *world) states() string {
	var text []string
	for _, m := range w.members {
		text = append(text, fmt.Sprint(m.states))
	}
	return strings.Join(text, "\n")
}

// damage says what is damaged and known, or may be damaged, or nothing.
func (w *world) damage() string {
	for _, m := range w.members {
		if m.replica == nil || !w.hasRot() {
			continue
		}
		if status := m.replica.Status(false); status.GetScrub().GetRunning() || len(status.GetDamages()) > 0 {
			return fmt.Sprintf("%s is damaged, or scrubs: %v", m.Name, status.GetDamages())
		}
	}
	return ""
}

// missing says which event is lost that need not be, or nothing. A log is not
// replayed at once. w.mu is held.
func (w *world) missing() string {
	for _, e := range w.record.order {
		if !e.lost && w.gone(e) {
			return fmt.Sprintf("the event %s is lost, which %s had committed", eventText(e.Event), e.writer)
		}
	}
	return ""
}

// difference says where two copies do not agree, or nothing. w.mu is held.
func (w *world) difference() string {
	for shard := range w.schedule.Shards {
		owners := w.owning(shard)
		if len(owners) == 0 {
			return fmt.Sprintf("shard %d has no owners", shard)
		}
		first := owners[0].states[shard]
		for _, m := range owners {
			state := m.states[shard]
			same := state.root == first.root && slices.EqualFunc(state.spans, first.spans, func(a, b crdt.Span) bool {
				return a.Start == b.Start && maps.Equal(a.Vector, b.Vector)
			})
			if !same {
				return fmt.Sprintf("shard %d, %s has %s, %s has %s", shard, owners[0].Name, first, m.Name, state)
			}
		}
		if len(first.spans) > 1 && !w.torn {
			return fmt.Sprintf("shard %d is ahead in parts: %s", shard, first)
		}
	}
	return ""
}

// final checks one member's copies in whole. w.mu is held.
func (w *world) final(m *member) error {
	snap := m.disk.Snapshot()
	defer snap.Close()
	for shard := range m.states {
		state, err := readState(snap, shard)
		if err == nil {
			err = w.record.check(snap, shard, state)
		}
		if err != nil {
			return err
		}
	}
	return w.checkTruth(m)
}

func (w *world) background() context.Context { return context.Background() }

// String lists what was heard, span by span.
func (s *copyState) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v", s.root)
	for _, span := range s.spans {
		fmt.Fprintf(&b, " %.6x%s", span.Start, vectorText(span.Vector))
	}
	return b.String()
}

// eventText describes an event in a line.
func eventText(e *crdt.Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s after %s:", brief(e.Dot), vectorText(e.Deps))
	for _, c := range e.Changes {
		name := c.Field.Name
		if c.Field.Type == crdt.TypeOperation {
			name = fmt.Sprintf("%x", name[min(6, len(name)):]) // as steps show it
		}
		fmt.Fprintf(&b, " %s %s%s", c.Field.Type, c.Field.Key, strings.TrimSuffix("."+name, "."))
		for _, put := range c.Puts {
			fmt.Fprintf(&b, " +%s%v", brief(put.Dot), payloadOf(put.Payload))
		}
		for _, d := range c.Removes {
			fmt.Fprintf(&b, " -%s", brief(d))
		}
	}
	for _, c := range e.Clears {
		fmt.Fprintf(&b, " clear %s %s up to %s", c.Object.Type, c.Object.Key, vectorText(c.UpTo))
	}
	return b.String()
}
