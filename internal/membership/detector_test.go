package membership_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/membership"
)

const interval = 250 * time.Millisecond // the default

// world is members that send heartbeats to each other in virtual time.
type world struct {
	t       *testing.T
	random  *rand.Rand
	now     time.Time
	members []*node
	transit []message
	// jitter is how late a heartbeat is sent at most, beside its transit.
	jitter time.Duration
	// cut says that heartbeats between two members are lost.
	cut func(from, to string) bool
}

type node struct {
	name        string
	detector    *membership.Detector
	incarnation uint64
	next        time.Time // when it ticks and sends
	until       time.Time // it stands still until then
	dead        bool
	changes     []change
}

type change struct {
	membership.Change
	at time.Time
}

type message struct {
	at   time.Time
	to   *node
	beat membership.Heartbeat
}

func newWorld(t *testing.T, n int) *world {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := &world{
		t: t, random: rand.New(rand.NewPCG(seed, 0)), now: time.Unix(1e9, 0),
		jitter: 50 * time.Millisecond, cut: func(string, string) bool { return false },
	}
	for i := range n {
		w.members = append(w.members, &node{name: fmt.Sprint("m", i), incarnation: 1, next: w.now.Add(w.upTo(interval))})
	}
	for _, m := range w.members {
		m.detector = membership.New(m.name, membership.Config{})
		for _, other := range w.members {
			m.detector.Expect(other.name, w.now)
		}
	}
	return w
}

func (w *world) upTo(d time.Duration) time.Duration {
	return time.Duration(w.random.Int64N(int64(d) + 1))
}

// run lets time pass, in steps of a millisecond.
func (w *world) run(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(time.Millisecond)
		for _, m := range w.members {
			if !m.dead && !w.now.Before(m.next) && !w.now.Before(m.until) {
				w.tick(m)
			}
		}
		late := w.transit[:0]
		for _, msg := range w.transit {
			switch {
			case w.now.Before(msg.at) || w.now.Before(msg.to.until):
				late = append(late, msg) // what comes meanwhile waits
			case !msg.to.dead:
				msg.to.note(msg.to.detector.Hear(msg.beat, w.now), w.now)
			}
		}
		w.transit = late
	}
}

func (w *world) tick(m *node) {
	m.note(m.detector.Tick(w.now), w.now)
	for _, to := range w.members {
		if to != m && !w.cut(m.name, to.name) {
			w.transit = append(w.transit, message{w.now.Add(w.upTo(w.jitter)), to, m.beat()})
		}
	}
	m.next = w.now.Add(interval + w.upTo(w.jitter))
}

func (m *node) beat() membership.Heartbeat {
	return membership.Heartbeat{Member: m.name, Incarnation: m.incarnation, Suspects: m.detector.Suspects()}
}

func (m *node) note(changes []membership.Change, now time.Time) {
	for _, c := range changes {
		m.changes = append(m.changes, change{c, now})
	}
}

// to returns the changes to a state that a member has noted.
func (m *node) to(s membership.State) []change {
	return slices.DeleteFunc(slices.Clone(m.changes), func(c change) bool { return c.To != s })
}

// A member that is killed is suspect within 2 s and down within 5 s, to all
// others and at the default settings.
func TestKilled(t *testing.T) {
	for _, n := range []int{2, 3, 9} {
		for range 5 {
			w := newWorld(t, n)
			w.run(20*time.Second + w.upTo(interval))
			for _, m := range w.members {
				if len(m.changes) > 0 {
					t.Fatalf("%d members, in peace: %s noted %v", n, m.name, m.changes)
				}
			}
			killed := w.now
			w.members[0].dead = true
			w.run(6 * time.Second)
			for _, m := range w.members[1:] {
				for state, limit := range map[membership.State]time.Duration{membership.Suspect: 2 * time.Second, membership.Down: 5 * time.Second} {
					if c := m.to(state); len(c) != 1 || c[0].Member != "m0" || c[0].at.Sub(killed) > limit {
						t.Errorf("%d members: to %s, %s: %+v, killed at %v", n, m.name, state, c, killed)
					}
				}
				if s := m.detector.State("m0"); s != membership.Down {
					t.Errorf("%s says %v", m.name, s)
				}
			}

			// It comes back as a new process and is alive again at once.
			w.members[0].dead, w.members[0].incarnation = false, 2
			w.members[0].detector = membership.New("m0", membership.Config{})
			w.run(time.Second)
			for _, m := range w.members[1:] {
				if s := m.detector.State("m0"); s != membership.Alive {
					t.Errorf("%s says %v of who came back", m.name, s)
				}
			}

			// The pause was no part of its rhythm: the next is noticed as soon.
			w.run(5 * time.Second)
			killed = w.now
			w.members[0].dead = true
			w.run(2 * time.Second)
			for _, m := range w.members[1:] {
				if s := m.detector.State("m0"); s != membership.Suspect {
					t.Errorf("%s says %v of who was killed again %v ago", m.name, s, w.now.Sub(killed))
				}
			}
		}
	}
}

// On a busy machine processes stand still for a second or two, several at a
// time. Nobody is found down by that.
func TestBusyMachine(t *testing.T) {
	w := newWorld(t, 9)
	w.run(5 * time.Second)
	for range 200 {
		for range 1 + w.random.IntN(4) {
			m := w.members[w.random.IntN(len(w.members))]
			if w.now.Sub(m.until) > 2*interval { // it has run for a while
				m.until = w.now.Add(w.upTo(2 * time.Second))
			}
		}
		w.run(w.upTo(3 * time.Second))
	}
	suspicions := 0
	for _, m := range w.members {
		suspicions += len(m.to(membership.Suspect))
		if c := m.to(membership.Down); len(c) > 0 {
			t.Errorf("%s found down: %+v", m.name, c)
		}
	}
	w.run(5 * time.Second)
	for _, m := range w.members {
		if s := m.detector.Suspects(); len(s) > 0 {
			t.Errorf("%s still suspects %v", m.name, s)
		}
	}
	t.Logf("%d suspicions, all withdrawn", suspicions)
}

// Who stood still itself does not suspect the others for it.
func TestOwnPause(t *testing.T) {
	w := newWorld(t, 3)
	w.run(5 * time.Second)
	w.members[0].until = w.now.Add(30 * time.Second)
	w.members[1].dead, w.members[2].dead = true, true // nothing is on its way to it
	w.transit = nil
	w.run(30*time.Second + interval)
	if c := w.members[0].changes; len(c) > 0 {
		t.Errorf("noted %+v", c)
	}
	w.run(2 * time.Second)
	if c := w.members[0].to(membership.Suspect); len(c) != 2 {
		t.Errorf("after more silence: %+v", c)
	}
}

// A minority that is cut off finds nobody down; the majority finds all of it.
// After the heal all are alive.
func TestMinority(t *testing.T) {
	w := newWorld(t, 9)
	w.run(5 * time.Second)
	small := func(name string) bool { return name < "m3" }
	w.cut = func(from, to string) bool { return small(from) != small(to) }
	w.run(10 * time.Second)
	for _, m := range w.members {
		for _, other := range w.members {
			want := membership.Alive
			switch {
			case small(m.name) && !small(other.name):
				want = membership.Suspect
			case !small(m.name) && small(other.name):
				want = membership.Down
			}
			if got := m.detector.State(other.name); got != want {
				t.Errorf("%s says that %s is %v, want %v", m.name, other.name, got, want)
			}
		}
	}
	w.cut = func(string, string) bool { return false }
	w.run(2 * time.Second)
	for _, m := range w.members {
		if s := m.detector.Suspects(); len(s) > 0 {
			t.Errorf("after the heal %s suspects %v", m.name, s)
		}
	}
}

// One observer that hears nobody of those who are well convinces nobody.
func TestOneDeafObserver(t *testing.T) {
	w := newWorld(t, 5)
	w.cut = func(_, to string) bool { return to == "m0" }
	w.run(10 * time.Second)
	if s := w.members[0].detector.Suspects(); len(s) != 4 {
		t.Errorf("the deaf one suspects %v", s)
	}
	for _, m := range w.members {
		if c := m.to(membership.Down); len(c) > 0 {
			t.Errorf("%s found down: %+v", m.name, c)
		}
	}
}

// What an observer said before it fell silent itself counts no more.
func TestStaleSuspicion(t *testing.T) {
	now := time.Unix(1e9, 0)
	d := membership.New("m2", membership.Config{})
	d.Expect("m0", now)
	d.Hear(membership.Heartbeat{Member: "m1", Incarnation: 1, Suspects: []string{"m0"}}, now)
	for range 100 {
		now = now.Add(interval)
		d.Tick(now)
	}
	if a, b := d.State("m0"), d.State("m1"); a != membership.Suspect || b != membership.Suspect {
		t.Errorf("alone among three: %v, %v", a, b)
	}
	d.Hear(membership.Heartbeat{Member: "m1", Incarnation: 1, Suspects: []string{"m0"}}, now)
	if c := d.Tick(now.Add(interval)); len(c) != 1 || c[0].To != membership.Down || c[0].Suspicions != 2 || c[0].Observers != 2 {
		t.Errorf("when the other one is back: %+v", c)
	}
}

func TestGoodbye(t *testing.T) {
	w := newWorld(t, 3)
	w.run(5 * time.Second)
	m0, m1 := w.members[0], w.members[1]
	bye := m0.beat()
	bye.Leaving = true
	m0.dead = true
	stale := m0.beat()
	got := m1.detector.Hear(bye, w.now)
	if len(got) != 1 || got[0].To != membership.Left {
		t.Errorf("%+v", got)
	}
	if got := m1.detector.Hear(stale, w.now); got != nil || m1.detector.State("m0") != membership.Left {
		t.Errorf("a heartbeat that came late: %+v", got)
	}
	w.run(10 * time.Second)
	if s := m1.detector.State("m0"); s != membership.Left {
		t.Errorf("later it is %v", s)
	}
	m0.incarnation = 2
	if got := m1.detector.Hear(m0.beat(), w.now); len(got) != 1 || got[0].To != membership.Alive {
		t.Errorf("when it is back: %+v", got)
	}
	if got := m1.detector.Hear(bye, w.now); got != nil || m1.detector.State("m0") != membership.Alive {
		t.Errorf("a heartbeat of the process before: %+v", got)
	}
	m1.detector.Forget("m0")
	if s := m1.detector.State("m0"); s != membership.Down || len(m1.detector.Views(w.now)) != 1 {
		t.Errorf("when it was removed: %v", s)
	}
}

func TestConfig(t *testing.T) {
	if err := (membership.Config{}).Validate(); err != nil {
		t.Error(err)
	}
	for _, c := range []membership.Config{
		{Interval: time.Millisecond},
		{Interval: time.Hour},
		{Phi: 0.1},
		{Phi: 1000},
		{Slack: -1},
		{Patience: time.Millisecond},
	} {
		if c.Validate() == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
