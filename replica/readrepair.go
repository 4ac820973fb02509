package replica

import (
	"context"
	"sync"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
)

// A read that has asked several owners knows which of them are behind, and this
// copy has what they lack before it answers. So these are asked whether they have
// heard all that the read has seen: who has not, and does not hear of it in a
// moment, fetches it from here (see awaitFor). This is read repair; the answer does
// not wait for it. What is left out, for want of room or as the log does not reach
// back, is done when the owner hears this member's gossip.

// maxTold bounds how many owners, each for one shard, are told at the same time.
const maxTold = 64

// laggard is an owner that is behind in a shard.
type laggard struct {
	owner string
	shard int
}

// laggards are the owners that are being told what they lack.
type laggards struct {
	mu   sync.Mutex
	told map[laggard]*pb.Hear // what each is to be told after that, nil if nothing
	due  chan laggard         // has room for all of them
}

func newLaggards() laggards {
	return laggards{told: map[laggard]*pb.Hear{}, due: make(chan laggard, maxTold)}
}

// add has an owner told something, in place of what it was to be told after what
// it is being told, or says that there is no room.
func (l *laggards) add(is laggard, what *pb.Hear) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, known := l.told[is]
	if !known {
		if len(l.told) >= maxTold {
			return false
		}
		l.due <- is
	}
	l.told[is] = what
	return true
}

// next returns what an owner is to be told now, nil if nothing is left.
func (l *laggards) next(is laggard) *pb.Hear {
	l.mu.Lock()
	defer l.mu.Unlock()
	what := l.told[is]
	if what == nil {
		delete(l.told, is)
	} else {
		l.told[is] = nil
	}
	return what
}

// tellLaggards has those owners told that lack something of what a read has
// seen, which this copy has heard.
func (r *Replica) tellLaggards(s *shard, request *pb.Request, seen crdt.VersionVector, answers []heard) {
	for _, h := range answers {
		if h.owner == r.options.Member || h.lower.Dominates(seen) {
			continue
		}
		question := r.question(s, request, seen.AppendTo(nil))
		question.PatienceMs = uint32(r.options.SessionPatience.Milliseconds())
		if r.laggards.add(laggard{h.owner, s.index}, question) {
			r.counters.told.Add(1)
		} else {
			r.counters.untold.Add(1)
		}
	}
}

// repairReads tells laggards until the replica stops.
func (r *Replica) repairReads() {
	for {
		select {
		case is := <-r.laggards.due:
			r.tasksWG.Go(func() { r.tell(is) })
		case <-r.stopping:
			return
		}
	}
}

// tell tells an owner what it lacks. Where that fails, gossip does the rest.
func (r *Replica) tell(is laggard) {
	for what := r.laggards.next(is); what != nil; what = r.laggards.next(is) {
		ctx, cancel := context.WithTimeout(r.tasks, defaultPatience)
		_, _ = r.ask(ctx, is.owner, &pb.SyncRequest{What: &pb.SyncRequest_Hear{Hear: what}})
		cancel()
	}
}
