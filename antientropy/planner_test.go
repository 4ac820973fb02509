package antientropy

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/merkle"
)

// desk is a planner with a clock, and the states of the own copies.
type desk struct {
	*Planner
	t   *testing.T
	now time.Time
	own []State
	// doubts are how unlikely peers are to answer.
	doubts map[string]int
}

func newDesk(t *testing.T, c Config, shards int) *desk {
	d := &desk{Planner: NewPlanner(c, shards), t: t, now: time.Unix(1000, 0), own: make([]State, shards)}
	for i := range d.own {
		d.own[i] = at(0)
	}
	return d
}

// at returns the state of a copy that has heard n events of one actor.
func at(n uint64) State {
	v := crdt.VersionVector{}
	if n > 0 {
		v[1] = n
	}
	return State{v, merkle.Digest{Count: n, Low: n}, true}
}

// differing returns a state with another root than at has.
func differing(n uint64) State {
	s := at(n)
	s.Root.Low++
	return s
}

// after returns the tasks that are due when some time has passed.
func (d *desk) after(pause time.Duration) []Task {
	d.now = d.now.Add(pause)
	return d.Tick(d.now, func(shard int) State { return d.own[shard] }, func(peer string) int { return d.doubts[peer] })
}

// want checks the tasks that are due when some time has passed.
func (d *desk) want(pause time.Duration, want ...Task) []Task {
	d.t.Helper()
	got := d.after(pause)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		d.t.Errorf("at %v: %v, want %v", d.now.Unix(), got, want)
	}
	return got
}

const (
	grace   = 50 * time.Millisecond
	backoff = 250 * time.Millisecond
	walks   = 10 * time.Minute
)

func TestFetchAfterGrace(t *testing.T) {
	d := newDesk(t, Config{}, 2)
	d.want(0)
	d.Advertise("us", 1, 1, at(3))
	d.want(0) // it may be on its way
	d.want(grace - 1)
	fetch := Task{Fetch, "us", 1}
	d.want(1, fetch)
	d.want(time.Second) // under way
	d.own[1] = at(3)
	d.Done(fetch, d.now, Outcome{})
	d.want(time.Second)
}

// A gap that closes by itself is forgotten.
func TestGapCloses(t *testing.T) {
	d := newDesk(t, Config{}, 1)
	d.Advertise("us", 1, 0, at(1))
	d.want(0)
	d.own[0] = at(1)
	d.want(grace / 2)
	d.Advertise("us", 1, 0, at(2))
	d.want(grace / 2)
	d.want(grace / 2)
	d.want(grace/2, Task{Fetch, "us", 0})
}

// An event that came without those before it shows a gap, too.
func TestSaw(t *testing.T) {
	d := newDesk(t, Config{}, 1)
	d.Advertise("us", 1, 0, at(1))
	d.own[0] = at(1)
	d.Saw("us", 0, crdt.Dot{Actor: 7, Seq: 4})
	if s, ok := d.Advertised("us", 0); !ok || s.Vector[7] != 4 || s.Vector[1] != 1 || s.Whole {
		t.Errorf("%+v, %v", s, ok)
	}
	d.want(0)
	d.want(grace, Task{Fetch, "us", 0})
	if s := at(1); s.Vector[7] != 0 {
		t.Error("the advertised state was changed")
	}
}

// A log that does not reach back far enough is followed by a walk, and that by
// another fetch if something is still missing.
func TestFetchThenWalk(t *testing.T) {
	d := newDesk(t, Config{}, 1)
	d.Advertise("us", 1, 0, at(9))
	d.want(0)
	fetch := d.want(grace, Task{Fetch, "us", 0})[0]
	d.Done(fetch, d.now, Outcome{LogEnded: true})
	d.want(0)
	walk := d.want(grace, Task{WalkBehind, "us", 0})[0]
	d.own[0] = at(8)
	d.Done(walk, d.now, Outcome{})
	d.want(0)
	fetch = d.want(grace, Task{Fetch, "us", 0})[0]
	d.own[0] = at(9)
	d.Done(fetch, d.now, Outcome{})
	d.want(grace)
}

func TestPeriodicWalks(t *testing.T) {
	const shards = 64
	d := newDesk(t, Config{MaxTasks: shards}, shards)
	for shard := range shards {
		d.Advertise("us", 1, shard, at(0))
	}
	walked := map[int]int{}
	for range 3 * 64 {
		for _, task := range d.after(walks / 64) {
			if task.Kind != WalkPeriodic {
				t.Fatal(task)
			}
			walked[task.Shard]++
			d.Done(task, d.now, Outcome{})
		}
	}
	for shard := range shards {
		if n := walked[shard]; n < 2 || n > 3 {
			t.Errorf("shard %d was walked %d times in three intervals", shard, n)
		}
	}
}

// Every peer has its turn, the far ones too.
func TestPeriodicWalksReachFarPeers(t *testing.T) {
	d := newDesk(t, Config{}, 1)
	for i, name := range []string{"near-a", "near-b", "far-a", "far-b"} {
		d.Advertise(name, i/2, 0, at(0))
	}
	walked := map[string]int{}
	d.after(0)
	for range 8 {
		for _, task := range d.after(walks) {
			walked[task.Peer]++
			d.Done(task, d.now, Outcome{})
		}
	}
	for name, n := range walked {
		if n != 2 || len(walked) != 4 {
			t.Errorf("%s was walked %d times of eight", name, n)
		}
	}
}

// The first periodic walks do not come all at once.
func TestPeriodicWalksAreSpread(t *testing.T) {
	d := newDesk(t, Config{MaxTasks: 1000}, 256)
	for shard := range 256 {
		d.Advertise("us", 1, shard, at(0))
	}
	most := len(d.after(0))
	for range 64 {
		tasks := d.after(walks / 64)
		most = max(most, len(tasks))
		for _, task := range tasks {
			d.Done(task, d.now, Outcome{})
		}
	}
	if most > 256/16 {
		t.Errorf("%d walks at once", most)
	}
}

func TestDivergence(t *testing.T) {
	d := newDesk(t, Config{}, 1)
	d.own[0] = at(5)
	d.Advertise("us", 1, 0, differing(5))
	walk := d.want(0, Task{WalkDiverged, "us", 0})[0]
	d.Done(walk, d.now, Outcome{Err: errors.New("they differ")})
	d.want(backoff)
	d.want(time.Second)
	d.want(walks/10, Task{WalkDiverged, "us", 0}) // it is not forgotten
}

// Copies that are ahead somewhere, or heard different things, may differ.
func TestNoDivergence(t *testing.T) {
	d := newDesk(t, Config{}, 1)
	d.own[0] = at(5)
	partly := differing(5)
	partly.Whole = false
	for _, s := range []State{partly, differing(4), at(5)} {
		d.Advertise("us", 1, 0, s)
		d.want(time.Second)
	}
	if Diverged(at(5), at(5)) || Diverged(at(5), partly) || Diverged(at(5), differing(4)) || !Diverged(at(5), differing(5)) {
		t.Error("Diverged")
	}
	if !Agree(at(5), at(5)) || Agree(partly, partly) || Agree(at(5), at(4)) || Agree(at(5), differing(5)) {
		t.Error("Agree")
	}
}

// A peer that fails is left alone for a while that doubles, up to a bound;
// meanwhile another is asked.
func TestBackoff(t *testing.T) {
	d := newDesk(t, Config{}, 1)
	d.Advertise("us", 1, 0, at(1))
	d.want(0)
	pause := grace
	for n := range 8 {
		task := d.want(pause, Task{Fetch, "us", 0})[0]
		d.Done(task, d.now, Outcome{Err: errors.New("no answer")})
		pause = backoff << min(n, 4)
		d.want(pause - 1)
		pause = 1
	}
	task := d.want(16*backoff, Task{Fetch, "us", 0})[0]
	d.Done(task, d.now, Outcome{})
	d.want(0)
	task = d.want(grace, Task{Fetch, "us", 0})[0]
	d.Done(task, d.now, Outcome{Err: errors.New("no answer")})
	d.want(backoff - 1)
	d.want(1, Task{Fetch, "us", 0}) // the success has ended the doubling
}

func TestBackoffAsksAnother(t *testing.T) {
	d := newDesk(t, Config{}, 1)
	d.Advertise("us", 0, 0, at(1))
	d.Advertise("ap", 1, 0, at(1))
	d.want(0)
	task := d.want(grace, Task{Fetch, "us", 0})[0]
	d.Done(task, d.now, Outcome{Err: errors.New("no answer")})
	d.want(1, Task{Fetch, "ap", 0})
}

// Near peers are asked before far ones, equals in turn.
func TestRank(t *testing.T) {
	d := newDesk(t, Config{}, 1)
	for _, name := range []string{"a", "b", "c"} {
		d.Advertise("far-"+name, 1, 0, at(1))
	}
	d.want(0)
	asked := map[string]bool{}
	for range 20 {
		for _, task := range d.after(grace) {
			asked[task.Peer] = true
			d.Done(task, d.now, Outcome{})
		}
	}
	if len(asked) != 3 {
		t.Errorf("asked %v", asked)
	}
}

func TestNearFirst(t *testing.T) {
	for range 5 {
		d := newDesk(t, Config{}, 1)
		for i, name := range []string{"far-a", "near", "far-b"} {
			d.Advertise(name, (i+1)%2, 0, at(1))
		}
		for range 7 {
			d.want(0)
		}
		d.want(grace, Task{Fetch, "near", 0})
	}
}

// A far peer that is there is asked before a near one that may not be, and one
// that is not there is asked where nobody else has what is missing.
func TestLikelyFirst(t *testing.T) {
	d := newDesk(t, Config{}, 2)
	d.doubts = map[string]int{"suspect": 1, "down": 2}
	d.Advertise("down", 0, 0, at(1))
	d.Advertise("suspect", 0, 0, at(1))
	d.Advertise("there", 1, 0, at(1))
	d.Advertise("down", 0, 1, at(1))
	for range 7 {
		d.want(0)
	}
	d.want(grace, Task{Fetch, "there", 0}, Task{Fetch, "down", 1})
	d.Done(Task{Fetch, "there", 0}, d.now, Outcome{Err: errors.New("no")})
	d.want(0, Task{Fetch, "suspect", 0})
}

// The turn of a peer that may not answer does not hold up periodic walks with
// the others.
func TestPeriodicWalksPassOverTheUnlikely(t *testing.T) {
	d := newDesk(t, Config{}, 1)
	d.Advertise("down", 0, 0, at(0))
	d.Advertise("there", 1, 0, at(0))
	d.doubts = map[string]int{"down": 2}
	d.want(0)
	for range 3 {
		for _, task := range d.want(walks, Task{WalkPeriodic, "there", 0}) {
			d.Done(task, d.now, Outcome{})
		}
	}
}

// So many tasks at once, and one for each shard.
func TestMaxTasks(t *testing.T) {
	d := newDesk(t, Config{MaxTasks: 3}, 10)
	for shard := range 10 {
		d.Advertise("us", 1, shard, at(1))
		d.Advertise("ap", 1, shard, at(1))
	}
	d.want(0)
	tasks := d.after(grace)
	shards := []int{}
	for _, task := range tasks {
		shards = append(shards, task.Shard)
	}
	slices.Sort(shards)
	if len(slices.Compact(shards)) != 3 || len(tasks) != 3 {
		t.Errorf("%v", tasks)
	}
	d.want(time.Second)
	d.Done(tasks[0], d.now, Outcome{})
	if got := d.after(0); len(got) != 1 {
		t.Errorf("%v", got)
	}
	d.want(time.Second)
}

// What makes no sense is ignored, and names are bounded.
func TestPlannerBounds(t *testing.T) {
	d := newDesk(t, Config{}, 2)
	d.Advertise("us", 1, 0, at(1))
	d.Advertise("us", 1, 2, at(1))
	d.Advertise("us", 1, -1, at(1))
	d.Saw("us", 9, crdt.Dot{Actor: 1, Seq: 1})
	if _, ok := d.Advertised("us", 2); ok {
		t.Error("a shard that does not exist")
	}
	if _, ok := d.Advertised("us", -1); ok {
		t.Error("a shard that cannot exist")
	}
	if _, ok := d.Advertised("nobody", 0); ok {
		t.Error("a peer that does not exist")
	}
	for i := range 2 * maxPeers {
		d.Advertise(fmt.Sprint("peer", i), 1, 0, at(1))
	}
	if len(d.peers) > maxPeers {
		t.Errorf("%d peers", len(d.peers))
	}
}

func TestStateTravels(t *testing.T) {
	s := State{crdt.VersionVector{3: 4, 5: 6}, merkle.Digest{Count: 1, High: 2, Low: 3}, true}
	got, err := DecodeState(s.Message(7))
	if err != nil || !Agree(got, s) || s.Message(7).GetShard() != 7 {
		t.Errorf("%+v, %v", got, err)
	}
	bad := s.Message(7)
	bad.Root = bad.Root[1:]
	if _, err := DecodeState(bad); !errors.Is(err, merkle.ErrMalformed) {
		t.Errorf("a short root: %v", err)
	}
	bad = s.Message(7)
	bad.Vector = bad.Vector[1:]
	if _, err := DecodeState(bad); !errors.Is(err, crdt.ErrInvalid) {
		t.Errorf("a malformed vector: %v", err)
	}
}
