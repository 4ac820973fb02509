package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	pb "github.com/atolldb/atoll/proto"
)

// Stats counts what happened in one history, or in several.
type Stats struct {
	Seeds      int
	Virtual    time.Duration
	Operations int
	Answered   int // requests that were acknowledged
	Refused    int // requests that were answered with an error
	Events     int
	Levels     [pb.Consistency_LINEARIZABLE + 1]int // requests that were acknowledged at levels above one
	Hints      int                                  // writes that were acknowledged in place of owners
	Read       int                                  // reads, the results of which were checked
	Taken      int                                  // what acknowledged writes had to take away, and did
	Served     int                                  // ranges that were served whole, and checked
	Shown      int                                  // reads that had to show a write and did, once for each write
	Again      int                                  // operations that were acknowledged and counted before
	Twice      int                                  // operations that stay counted twice, as seen by each member
	Steps      [kinds]int
	Messages   tally
	Commits    diskTally
	Split      int // histories in which a region was founded twice
	PutBack    int // members that had to notice that they were put back
	MaybeLost  int // events, the last copy of which a fault may have taken
	Settled    []time.Duration
	Repairs    map[string]uint64
}

func (s *Stats) step(step Step) {
	s.Steps[step.Kind]++
	s.Operations += len(step.Operations)
}

func (s *Stats) answer(a *pb.Answer) {
	if a.GetError() != nil {
		s.Refused++
	} else {
		s.Answered++
	}
}

func (s *Stats) settled(d time.Duration) { s.Settled = append(s.Settled, d) }

func (t *diskTally) add(o diskTally) {
	t.applied += o.applied
	t.refused += o.refused
	t.failed += o.failed
	t.unknown += o.unknown
	t.late += o.late
	t.shown += o.shown
	t.stuck += o.stuck
}

// Add takes in what happened in another history.
func (s *Stats) Add(o Stats) {
	s.Seeds += max(1, o.Seeds)
	s.Virtual += o.Virtual
	s.Operations += o.Operations
	s.Answered += o.Answered
	s.Refused += o.Refused
	s.Events += o.Events
	for level, n := range o.Levels {
		s.Levels[level] += n
	}
	s.Hints += o.Hints
	s.Read += o.Read
	s.Taken += o.Taken
	s.Served += o.Served
	s.Shown += o.Shown
	s.Again += o.Again
	s.Twice += o.Twice
	for k, n := range o.Steps {
		s.Steps[k] += n
	}
	s.Messages.sent += o.Messages.sent
	s.Messages.lost += o.Messages.lost
	s.Messages.twice += o.Messages.twice
	s.Messages.late += o.Messages.late
	s.Commits.add(o.Commits)
	s.MaybeLost += o.MaybeLost
	s.PutBack += o.PutBack
	s.Split += o.Split
	s.Settled = append(s.Settled, o.Settled...)
	s.count(o.Repairs)
}

// count adds what a replica has counted.
func (s *Stats) count(counters map[string]uint64) {
	if s.Repairs == nil {
		s.Repairs = map[string]uint64{}
	}
	for name, n := range counters {
		s.Repairs[name] += n
	}
}

// String is a summary of a few lines.
func (s Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d seeds, %v of virtual time\n", s.Seeds, s.Virtual.Round(time.Second))
	fmt.Fprintf(&b, "%d operations in %d requests: %d acknowledged, %d refused; %d events\n",
		s.Operations, s.Steps[Ask], s.Answered, s.Refused, s.Events)
	b.WriteString("acknowledged at levels:")
	for level := pb.Consistency_LOCAL_QUORUM; int(level) < len(s.Levels); level++ {
		fmt.Fprintf(&b, " %s %d,", strings.ToLower(level.String()), s.Levels[level])
	}
	fmt.Fprintf(&b, " in place of owners %d; results of reads checked %d, of removals %d; writes that reads had to show %d; ranges served to members checked %d\n", s.Hints, s.Read, s.Taken, s.Shown, s.Served)
	fmt.Fprintf(&b, "operations acknowledged again %d, taken back %d, seen to stay counted twice %d\n", s.Again, s.Repairs["operations_corrected"], s.Twice)
	b.WriteString("faults:")
	for k := Crash; k < kinds; k++ {
		switch k {
		case Join, Improve, Empty, Mend, Hurry, Start:
		default:
			fmt.Fprintf(&b, " %v %d,", k, s.Steps[k])
		}
	}
	fmt.Fprintf(&b, " events that may have been lost with their last copy %d, members that went back unnoticed %d, histories with a region founded twice %d\n", s.MaybeLost, s.PutBack, s.Split)
	fmt.Fprintf(&b, "messages: %d, lost %d, twice %d, late %d\n", s.Messages.sent, s.Messages.lost, s.Messages.twice, s.Messages.late)
	fmt.Fprintf(&b, "commits: %d, no space %d, failed %d, failed but applied %d, to come late %d, that came late %d, to a disk that was stuck %d\n",
		s.Commits.applied, s.Commits.refused, s.Commits.failed, s.Commits.unknown, s.Commits.late, s.Commits.shown, s.Commits.stuck)
	fmt.Fprintf(&b, "fetched events %d, walks %d, fields pulled %d, actors lost %d\n",
		s.Repairs["events_fetched"], s.Repairs["walks"], s.Repairs["fields_pulled"], s.Repairs["actors_lost"])
	if sorted := slices.Sorted(slices.Values(s.Settled)); len(sorted) > 0 {
		n := len(sorted)
		fmt.Fprintf(&b, "agreed after the faults in: p50 %v, p99 %v, max %v\n", round(sorted[n/2]), round(sorted[n*99/100]), round(sorted[n-1]))
	}
	return b.String()
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

// finish completes the outcome.
func (w *world) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.network.mu.Lock()
	defer w.network.mu.Unlock()
	w.outcome.Hash = mix(w.commits) ^ w.network.hash
	s := &w.outcome.Stats
	s.Seeds, s.Virtual, s.Events = 1, w.now(), len(w.record.order)
	s.MaybeLost, s.Messages = w.losses, w.network.tally
	for _, m := range w.members {
		s.Commits.add(m.disk.tally)
	}
}
