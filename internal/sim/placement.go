package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	pb "github.com/atolldb/atoll/proto"
)

// settledBy is when regions that are left alone at first have owners.
const settledBy = 3 * time.Second

// placer makes a placed history of one in which everybody owns everything.
type placer struct {
	*rand.Rand
	schedule Schedule
	span     time.Duration // of the schedule as it was
	asked    []Step        // by clients, but of what is counted
}

// AddPlacement makes a placed history of one in which everybody owns everything.
// Data that is put back without a word is left out: who has it may have handed it
// over since. Half of the histories are quiet, but for one kind of change: others
// stand in the way of one that is to come to its end.
func AddPlacement(s Schedule) Schedule {
	p := &placer{Rand: rand.New(rand.NewPCG(s.Seed, 3)), schedule: s}
	p.schedule.Placed = true
	p.schedule.Members = slices.Clone(s.Members)
	p.schedule.Steps = nil
	quiet := p.IntN(2) == 0
	if quiet {
		p.schedule.Network.loss = 0
	}
	for _, step := range s.Steps {
		p.span = max(p.span, step.At)
		switch {
		case step.Kind == Ask && isCounted(step.Operations[0]):
		case step.Kind == Ask:
			p.asked = append(p.asked, step)
		case step.Kind == Revert, step.Kind == Rot, step.Kind == Invent, step.Kind == Swap, quiet && step.Kind != Start:
			continue
		}
		p.step(step)
	}
	for n := 1 + p.IntN(4); n > 0; n-- {
		p.enter(p.schedule.Members[p.member()], p.IntN(3) > 0, p.at())
	}
	sharp := []func(){p.part, p.desert, p.relapse, p.inherit}
	if quiet {
		change := sharp[p.IntN(len(sharp))]
		for n := 1 + p.IntN(3); n > 0; n-- {
			change()
			p.span += 4 * time.Second
		}
	} else {
		p.step(Step{At: time.Millisecond, Kind: Owners, N: 1 + p.IntN(3)})
		for _, change := range append(sharp, p.replace,
			func() { p.step(Step{At: p.at(), Kind: Owners, N: 1 + p.IntN(3)}) },
			func() { p.step(Step{At: p.at(), Kind: Leave, Member: p.member()}) },
			func() { p.step(Step{At: p.at(), Kind: Move, Member: p.member(), N: p.IntN(seats)}) },
		) {
			for n := p.IntN(3); n > 0; n-- {
				change()
			}
		}
	}
	slices.SortStableFunc(p.schedule.Steps, func(a, b Step) int { return int(a.At - b.At) })
	return p.schedule
}

func (p *placer) step(s Step) { p.schedule.Steps = append(p.schedule.Steps, s) }

func (p *placer) member() int { return p.IntN(len(p.schedule.Members)) }

func (p *placer) at() time.Duration { return p.upTo(p.span) }

func (p *placer) upTo(d time.Duration) time.Duration { return time.Duration(p.Int64N(int64(d) + 1)) }

// enter adds a member that is like another one.
func (p *placer) enter(like Member, late bool, at time.Duration) {
	like.Late = late
	like.Name = fmt.Sprint(like.Region, len(p.schedule.Members)+1)
	if late {
		p.step(Step{At: at, Kind: Start, Member: len(p.schedule.Members)})
	}
	p.schedule.Members = append(p.schedule.Members, like)
}

// replace has a member die for good, and another one take its place.
func (p *placer) replace() {
	dead, at := p.member(), p.at()
	p.step(Step{At: at, Kind: Remove, Member: dead})
	p.enter(p.schedule.Members[dead], true, at+p.upTo(3*time.Second))
}

// part has owners change while one of them is cut off, and clients go on writing to
// it: when it hears that it is an owner no more, nobody has heard what it has. The
// others may take their time to write that down.
func (p *placer) part() {
	m, from := p.member(), settledBy+p.at()
	to := from + time.Second/2 + p.upTo(5*time.Second)
	slow := p.IntN(2) == 0
	for o := range p.schedule.Members {
		if o == m {
			continue
		}
		p.separate(m, o, from, to)
		if slow {
			p.step(Step{At: to - time.Millisecond, Kind: Slow, Member: o})
			p.step(Step{At: to + time.Second, Kind: Hurry, Member: o})
		}
	}
	p.relieve(m, from+p.upTo(time.Second/5), to+p.upTo(4*time.Second))
	p.write(m, from, to)
	if p.IntN(3) == 0 {
		crashed, at := p.member(), from+p.upTo(to-from)
		p.step(Step{At: at, Kind: Crash, Member: crashed})
		p.step(Step{At: at + p.upTo(time.Second), Kind: Start, Member: crashed})
	}
}

// separate cuts two members off from each other.
func (p *placer) separate(m, o int, from, to time.Duration) {
	p.step(Step{At: from, Kind: Cut, Member: m, Other: o})
	p.step(Step{At: from, Kind: Cut, Member: o, Other: m})
	p.step(Step{At: to, Kind: Join, Member: m, Other: o})
	p.step(Step{At: to, Kind: Join, Member: o, Other: m})
}

// desert has members of a region but for one stop, at a time when that may be no
// owner any more: it takes what clients write in their place.
func (p *placer) desert() {
	m, from := p.member(), settledBy+p.at()
	stop := from + 2*time.Second + p.upTo(5*time.Second)
	start := stop + p.upTo(2*time.Second)
	for o, other := range p.schedule.Members {
		if o != m && other.Region == p.schedule.Members[m].Region {
			p.step(Step{At: stop, Kind: Stop, Member: o})
			p.step(Step{At: start, Kind: Start, Member: o})
		}
	}
	p.relieve(m, from, start+p.upTo(4*time.Second))
	p.write(m, from, stop)
	p.write(m, stop, start)
}

// relapse has an owner lose its disk that had acknowledged writes with a majority of
// its region, and come back when of the others only those are up that have missed
// them. Nobody else has heard: the region is cut off.
func (p *placer) relapse() {
	lost, at := p.member(), settledBy+p.at()
	loss := at + time.Second/2 + p.upTo(time.Second)
	end := loss + time.Second + p.upTo(3*time.Second)
	near, far := p.around(lost)
	for _, o := range far {
		for _, m := range append(near, lost) {
			p.separate(m, o, at, end)
		}
	}
	for i, m := range near {
		from, to := at, loss
		if i%2 == 0 {
			from, to = loss, end
		}
		p.step(Step{At: from, Kind: Stop, Member: m})
		p.step(Step{At: to, Kind: Start, Member: m})
	}
	p.step(Step{At: loss, Kind: Wipe, Member: lost})
	p.step(Step{At: loss + p.upTo(time.Second/4), Kind: Start, Member: lost})
	p.agree(lost, at, loss, loss, end)
}

// inherit has a majority of the owners in a region acknowledge writes that another one
// does not hear of, which is cut off until it may be the only owner.
func (p *placer) inherit() {
	heir, at := p.member(), settledBy+p.at()
	end := at + 3*time.Second + p.upTo(3*time.Second)
	near, far := p.around(heir)
	for _, o := range append(near, far...) {
		p.separate(heir, o, at, end)
	}
	p.step(Step{At: max(time.Millisecond, at-4*time.Second), Kind: Owners, N: 3})
	p.step(Step{At: at + time.Second, Kind: Owners, N: 1})
	p.agree(heir, at, at+time.Second, end, end+time.Second/2)
}

// around returns the other members of a member's region, two at least, and those of
// other regions.
func (p *placer) around(m int) (near, far []int) {
	for o, other := range p.schedule.Members {
		switch {
		case o == m:
		case other.Region == p.schedule.Members[m].Region:
			near = append(near, o)
		default:
			far = append(far, o)
		}
	}
	for len(near) < 2 {
		near = append(near, len(p.schedule.Members))
		p.enter(p.schedule.Members[m], false, 0)
	}
	return near, far
}

// agree has clients count something at a local quorum in a member's region for a
// while, and read it after that.
func (p *placer) agree(m int, from, to, read, until time.Duration) {
	like := p.asked[p.IntN(len(p.asked))]
	ask := func(op *pb.Operation, from, to time.Duration) {
		op.Key = like.Operations[0].Key
		for range 4 {
			p.step(Step{
				At: from + p.upTo(to-from), Kind: Ask, Member: m, Shard: like.Shard,
				Operations: []*pb.Operation{op}, Level: pb.Consistency_LOCAL_QUORUM,
			})
		}
	}
	ask(&pb.Operation{What: &pb.Operation_CounterAdd{CounterAdd: 1}}, from, to)
	ask(&pb.Operation{What: &pb.Operation_CounterGet{CounterGet: &pb.Empty{}}}, read, until)
}

// relieve has a member own less from a time on, and more again from another, unless
// it leaves.
func (p *placer) relieve(m int, from, again time.Duration) {
	if p.IntN(2) == 0 {
		p.step(Step{At: from, Kind: Leave, Member: m})
		return
	}
	p.step(Step{At: from, Kind: Owners, N: 1})
	p.step(Step{At: again, Kind: Owners, N: 3})
}

// write has clients write to a member's region what needs not know what is there.
func (p *placer) write(m int, from, to time.Duration) {
	for n := 4 + p.IntN(8); n > 0; n-- {
		like := p.asked[p.IntN(len(p.asked))]
		op := &pb.Operation{Key: like.Operations[0].Key}
		if op.What = (&pb.Operation_CounterAdd{CounterAdd: int64(1 + p.IntN(9))}); p.IntN(2) == 0 {
			op.What = &pb.Operation_SetAdd{SetAdd: &pb.Elements{Elements: [][]byte{fmt.Append(nil, "p", p.IntN(9))}}}
		}
		p.step(Step{At: from + p.upTo(to-from), Kind: Ask, Member: m, Shard: like.Shard, Operations: []*pb.Operation{op}})
	}
}
