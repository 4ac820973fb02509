package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/ring"
	pb "github.com/atolldb/atoll/proto"
)

// style is what a schedule has most of. Styles take turns, seed by seed.
type style uint64

const (
	mixed    style = iota
	torn           // walks through much that differs, which do not come to their end
	toggling       // few fields, added and removed all the time, on slow disks
	crashing       // copies that lose what they had
	styles
)

// generator draws a schedule.
type generator struct {
	*rand.Rand
	schedule Schedule
	style    style
	span     time.Duration // of the schedule
	keys     [][]string    // by shard
	elements int           // of each set
	written  int           // values of registers, each is written once
}

// Generate returns the schedule of a seed.
func Generate(seed uint64) Schedule {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), schedule: Schedule{Seed: seed}}
	g.style = style(seed % uint64(styles))
	g.span = time.Duration(4+g.IntN(6)) * time.Second
	g.schedule.Shards, g.elements = 1+g.IntN(2), 2+g.IntN(20)
	loss, late, keys := g.oneOf(0, 0, 50, 300), g.oneOf(0, 30, 300), 1+g.IntN(3)
	switch g.style {
	case torn:
		g.schedule.Shards, g.elements, loss = 1, 40+g.IntN(80), g.oneOf(100, 300, 450)
	case toggling:
		g.schedule.Shards, g.elements, loss, keys, late = 1, 1+g.IntN(2), g.oneOf(0, 100), 1, 400
	case crashing:
		loss, late = g.oneOf(0, 20), 0
	}
	for shard := range g.schedule.Shards {
		g.keys = append(g.keys, keysOf(shard, g.schedule.Shards, keys))
	}
	g.schedule.Network = quality{
		delay: g.upTo(40 * time.Millisecond), jitter: g.upTo(80 * time.Millisecond),
		loss: loss, twice: g.oneOf(0, 30, 200), late: late,
	}
	g.schedule.Walks = time.Duration(g.oneOf(300, 1000, 4000)) * time.Millisecond
	switch g.style {
	case torn:
		g.schedule.Walks = 200 * time.Millisecond
	case toggling:
		g.schedule.Walks = 40 * time.Millisecond
	}
	g.members()
	for n := 40 + g.IntN(110); n > 0; n-- {
		g.requests()
	}
	for n := g.IntN(10); n > 0; n-- {
		g.fault(g.IntN(13))
	}
	for n := g.IntN(8); n > 0 && g.style == torn; n-- {
		g.fault(0)
	}
	for n := g.IntN(16); n > 0 && g.style == crashing; n-- {
		g.fault(g.oneOf(0, 0, 0, 3, 4, 12, 12, 12))
	}
	g.operations()
	slices.SortStableFunc(g.schedule.Steps, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
	g.levels()
	return g.schedule
}

// levels has some requests ask for more than one owner: those that only read, or
// only write, as a request that does both asks before it writes, and when a group
// takes it could not be told then.
func (g *generator) levels() {
	c := chance(mix(g.schedule.Seed) + 2)
	for i, s := range g.schedule.Steps {
		if s.Kind == Ask && (reads(s.Operations) || writes(s.Operations)) && c.happens(500, uint64(i)) {
			g.schedule.Steps[i].Level = someLevels[c.draw(uint64(i), 1)%uint64(len(someLevels))]
		}
	}
}

// someLevels are those that requests ask for, as often as they are listed.
var someLevels = []pb.Consistency{
	pb.Consistency_QUORUM, pb.Consistency_QUORUM, pb.Consistency_QUORUM, pb.Consistency_QUORUM,
	pb.Consistency_LOCAL_QUORUM, pb.Consistency_LOCAL_QUORUM, pb.Consistency_EACH_QUORUM, pb.Consistency_ALL,
}

// keysOf returns n keys that belong to a shard.
func keysOf(shard, shards, n int) []string {
	var keys []string
	for i := 0; len(keys) < n; i++ {
		if key := fmt.Sprintf("k%d", i); ring.Shard(key, shards) == shard {
			keys = append(keys, key)
		}
	}
	return keys
}

func (g *generator) upTo(d time.Duration) time.Duration {
	return time.Duration(g.Int64N(int64(d))).Round(time.Microsecond)
}

func (g *generator) oneOf(n ...int) int { return n[g.IntN(len(n))] }

func (g *generator) members() {
	regions := []string{"eu", "us", "ap"}
	for i := range 2 + g.IntN(4) {
		m := Member{
			Name: fmt.Sprintf("%s%d", regions[i%3], i/3+1), Region: regions[i%3],
			Volatile: g.IntN(4) == 0, LogLimit: g.oneOf(1, 3, 10, 1000),
			Pace: time.Duration(g.oneOf(300, 300, 3000, 40_000)) * time.Microsecond,
			Skew: g.upTo(10*time.Minute) - 5*time.Minute, Late: g.IntN(8) == 0,
		}
		switch g.style {
		case torn:
			m.LogLimit, m.Volatile = 1, g.IntN(2) == 0
		case toggling:
			m.LogLimit, m.Pace = g.oneOf(1, 3), time.Duration(g.oneOf(20, 60, 150))*time.Millisecond
		case crashing:
			m.Volatile = g.IntN(2) == 0
		}
		g.schedule.Members = append(g.schedule.Members, m)
		if m.Late {
			g.step(Step{At: g.upTo(g.span), Kind: Start, Member: i})
		}
	}
}

func (g *generator) step(s Step) { g.schedule.Steps = append(g.schedule.Steps, s) }

func (g *generator) member() int { return g.IntN(len(g.schedule.Members)) }

// requests adds one request, or a few at about the same moment.
func (g *generator) requests() {
	at := g.upTo(g.span)
	for n := g.oneOf(1, 1, 1, 4); n > 0; n-- {
		s := Step{At: at + g.upTo(3*time.Millisecond), Kind: Ask, Member: g.member(), Shard: g.IntN(g.schedule.Shards), N: g.oneOf(0, 0, 1, 2, 3)}
		if s.N > 0 && g.IntN(2) == 0 {
			s.Operations = append(s.Operations, g.read(s.Shard))
			g.step(s)
			continue
		}
		for n := g.oneOf(1, 1, 2, 4); n > 0; n-- {
			s.Operations = append(s.Operations, g.operation(s.Shard))
		}
		g.step(s)
	}
}

func (g *generator) key(shard int) []byte { return []byte(g.keys[shard][g.IntN(len(g.keys[shard]))]) }

func (g *generator) read(shard int) *pb.Operation {
	op := &pb.Operation{Key: g.key(shard)}
	switch g.IntN(3) {
	case 0:
		op.What = &pb.Operation_CounterGet{CounterGet: &pb.Empty{}}
	case 1:
		op.What = &pb.Operation_SetCard{SetCard: &pb.Empty{}}
	default:
		op.What = &pb.Operation_RegisterGet{RegisterGet: &pb.Empty{}}
	}
	return op
}

func (g *generator) operation(shard int) *pb.Operation {
	op := &pb.Operation{Key: g.key(shard)}
	n := g.IntN(100)
	switch {
	case g.style == torn && n < 70:
		n = 30 + n*42/70 // mostly sets
	case g.style == toggling:
		n = 8 + n*8/10
	}
	switch {
	case n < 22:
		op.What = &pb.Operation_CounterAdd{CounterAdd: int64(g.IntN(20) - 5)}
	case n < 30:
		op.What = &pb.Operation_CounterReset{CounterReset: &pb.Empty{}}
	case n < 58:
		op.What = &pb.Operation_SetAdd{SetAdd: g.some()}
	case n < 72:
		op.What = &pb.Operation_SetRemove{SetRemove: g.some()}
	case n < 92:
		g.written++
		op.What = &pb.Operation_RegisterSet{RegisterSet: fmt.Appendf(nil, "v%d", g.written)}
	default:
		t := g.oneOf(0, int(crdt.TypeCounter), int(crdt.TypeSet), int(crdt.TypeSet), int(crdt.TypeRegister))
		op.What = &pb.Operation_Delete{Delete: &pb.Delete{Type: uint32(t)}}
	}
	return op
}

// some returns one or several elements.
func (g *generator) some() *pb.Elements {
	es := &pb.Elements{}
	for n := g.oneOf(1, 1, 3, 20); n > 0; n-- {
		es.Elements = append(es.Elements, fmt.Appendf(nil, "e%d", g.IntN(g.elements)))
	}
	return es
}

// fault adds something that goes wrong for a while.
func (g *generator) fault(kind int) {
	at, m, o := g.upTo(g.span), g.member(), g.member()
	until := at + g.upTo(g.span/2)
	if g.style == crashing {
		until = at + g.upTo(time.Second)
	}
	during := func(from, to Kind) {
		g.step(Step{At: at, Kind: from, Member: m, Other: o})
		g.step(Step{At: until, Kind: to, Member: m, Other: o})
	}
	switch kind {
	case 0, 1:
		g.step(Step{At: at, Kind: Crash, Member: m, N: g.IntN(keptStates)})
		g.step(Step{At: until, Kind: Start, Member: m})
	case 2:
		during(Stop, Start)
	case 3:
		during(Wipe, Start)
	case 4:
		g.step(Step{At: at / 2, Kind: Backup, Member: m})
		during(Restore, Start)
	case 12:
		g.step(Step{At: max(0, at-g.upTo(time.Second)), Kind: Backup, Member: m})
		g.step(Step{At: at, Kind: Revert, Member: m})
		g.step(Step{At: at + g.upTo(time.Second), Kind: Start, Member: m})
	case 5:
		during(Cut, Join)
	case 6:
		alone := m
		for i := range g.schedule.Members { // cut off from all, both ways
			m, o = alone, i
			during(Cut, Join)
			m, o = i, alone
			during(Cut, Join)
		}
	case 7:
		during(Worsen, Improve)
	case 8:
		during(Fill, Empty)
	case 9:
		during(Break, Mend)
	case 10:
		during(Slow, Hurry)
	case 11:
		g.step(Step{At: at, Kind: Skew, Member: m, N: g.IntN(600) - 300})
	}
}
