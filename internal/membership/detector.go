package membership

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// State is what an observer makes of a member.
type State int

// The states of a member.
const (
	Alive State = iota
	// Suspect: silent for longer than its rhythm explains.
	Suspect
	// Down: suspected by a majority of observers.
	Down
	// Left: it said goodbye.
	Left
)

// String returns the state as one word.
func (s State) String() string {
	if s < Alive || s > Left {
		return fmt.Sprintf("state %d", int(s))
	}
	return [...]string{"alive", "suspect", "down", "left"}[s]
}

// Heartbeat is what a member says of itself and of the others.
type Heartbeat struct {
	Member string
	// Incarnation tells the processes of a member apart; a later one is
	// greater.
	Incarnation uint64
	// Suspects are the members that the sender suspects, or holds to be down.
	Suspects []string
	// Leaving says that this is the last one.
	Leaving bool
}

// Change is a member's change of state, as one observer sees it.
type Change struct {
	Member   string
	From, To State
	// Observers of those who were counted suspect the member.
	Suspicions, Observers int
}

// View is what an observer knows of a member.
type View struct {
	Member string
	State  State
	Phi    float64
	Silent time.Duration // since its last heartbeat
	// Suspicions of Observers suspect it, this one included.
	Suspicions, Observers int
}

// Detector is one observer.
type Detector struct {
	config   Config
	self     string
	members  map[string]*member
	lastTick time.Time
}

type member struct {
	state       State
	incarnation uint64
	rhythm      history
	suspects    map[string]bool // what it said last
}

// New returns an observer that knows nobody but itself. The configuration must
// be valid.
func New(self string, c Config) *Detector {
	return &Detector{config: c.WithDefaults(), self: self, members: map[string]*member{}}
}

// Expect has the detector observe a member that may never have been heard: it
// becomes suspect, and down, like one that falls silent now.
func (d *Detector) Expect(name string, now time.Time) {
	if _, known := d.members[name]; !known && name != d.self {
		d.members[name] = &member{rhythm: history{last: now}}
	}
}

// Forget ends the observation of a member, one that was removed.
func (d *Detector) Forget(name string) { delete(d.members, name) }

// Hear takes in a heartbeat and returns the change that it makes, if any. One
// of an earlier process of the member changes nothing.
func (d *Detector) Hear(h Heartbeat, now time.Time) []Change {
	if h.Member == d.self {
		return nil
	}
	m, known := d.members[h.Member]
	if !known {
		m = &member{}
		d.members[h.Member] = m
	}
	if h.Incarnation < m.incarnation || m.state == Left && h.Incarnation == m.incarnation {
		return nil
	}
	if h.Incarnation > m.incarnation || m.state != Alive {
		m.rhythm = history{} // the pause was no part of the rhythm
	}
	m.incarnation = h.Incarnation
	m.rhythm.beat(now)
	m.suspects = map[string]bool{}
	for _, name := range h.Suspects {
		m.suspects[name] = true
	}
	state := Alive
	if h.Leaving {
		state = Left
	}
	return d.change(nil, h.Member, m, state)
}

// Tick lets time pass and returns the changes that come with it. It should be
// called about once per interval. If it was not, this process stood still, and
// the silence of the others proves nothing: the time is not counted.
func (d *Detector) Tick(now time.Time) []Change {
	if pause := now.Sub(d.lastTick); !d.lastTick.IsZero() && pause > 2*d.config.Interval {
		for _, m := range d.members {
			m.rhythm.last = earlier(now, m.rhythm.last.Add(pause-d.config.Interval))
		}
	}
	d.lastTick = now
	var changes []Change
	for _, name := range slices.Sorted(maps.Keys(d.members)) {
		m := d.members[name]
		if m.state == Left {
			continue
		}
		if m.rhythm.phi(now, d.config) < d.config.Phi {
			changes = d.change(changes, name, m, Alive)
			continue
		}
		if m.state == Alive {
			changes = d.change(changes, name, m, Suspect)
		}
		suspicions, observers := d.count(name)
		if m.state == Suspect && 2*suspicions > observers && now.Sub(m.rhythm.last) >= d.config.Patience {
			changes = d.change(changes, name, m, Down)
		}
	}
	return changes
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (d *Detector) change(changes []Change, name string, m *member, to State) []Change {
	from := m.state
	if m.state = to; from == to {
		return changes
	}
	suspicions, observers := d.count(name)
	return append(changes, Change{name, from, to, suspicions, observers})
}

// count returns how many observers suspect a member, and how many there are:
// all members but itself and those that have left, reachable or not. So a
// minority that is cut off finds nobody down.
func (d *Detector) count(name string) (suspicions, observers int) {
	observers = 1
	if m := d.members[name]; m.state == Suspect || m.state == Down {
		suspicions = 1
	}
	for other, m := range d.members {
		if other == name || m.state == Left {
			continue
		}
		observers++
		if m.state == Alive && m.suspects[name] {
			suspicions++
		}
	}
	return suspicions, observers
}

// Suspects returns whom this observer suspects or holds to be down, in order:
// what its heartbeats carry.
func (d *Detector) Suspects() []string {
	var names []string
	for name, m := range d.members {
		if m.state == Suspect || m.state == Down {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// State returns the state of a member: this one is alive, and who is not known
// is down.
func (d *Detector) State(name string) State {
	m, known := d.members[name]
	switch {
	case known:
		return m.state
	case name == d.self:
		return Alive
	}
	return Down
}

// Views returns what is known of the other members, in the order of their
// names.
func (d *Detector) Views(now time.Time) []View {
	views := make([]View, 0, len(d.members))
	for _, name := range slices.Sorted(maps.Keys(d.members)) {
		m := d.members[name]
		v := View{Member: name, State: m.state, Phi: m.rhythm.phi(now, d.config), Silent: now.Sub(m.rhythm.last)}
		v.Suspicions, v.Observers = d.count(name)
		views = append(views, v)
	}
	return views
}
