package replica

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/atolldb/atoll/internal/store"
	pb "github.com/atolldb/atoll/proto"
)

// keeper looks after what is on disk: it compares all of it with the digests,
// from time to time and at a bounded pace, and repairs what it or others have
// found damaged. One goroutine does all of that.
type keeper struct {
	attention chan struct{} // something is damaged or suspected
	asked     chan struct{} // for a scrub

	mu     sync.Mutex
	state  *pb.ScrubState
	giveUp bool // at the end of the scrub
}

func newKeeper() keeper {
	return keeper{attention: make(chan struct{}, 1), asked: make(chan struct{}, 1), state: &pb.ScrubState{}}
}

func (k *keeper) wake() { signal(k.attention) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Scrub starts to compare all that is stored with its digests, unless that is
// under way. Status tells how it stands. What is damaged is repaired as far as
// peers or the log can make up for it; with giveUp the rest is forgotten at the
// end, and with it what only this copy had there.
func (r *Replica) Scrub(giveUp bool) {
	r.keeper.mu.Lock()
	r.keeper.state.Running = true
	r.keeper.giveUp = r.keeper.giveUp || giveUp
	r.keeper.mu.Unlock()
	signal(r.keeper.asked)
}

// scrubState returns how the scrub stands.
func (r *Replica) scrubState() *pb.ScrubState {
	r.keeper.mu.Lock()
	defer r.keeper.mu.Unlock()
	s := r.keeper.state
	return &pb.ScrubState{
		Running: s.Running, Done: s.Done, Bytes: s.Bytes, Finished: s.Finished, LastMs: s.LastMs, Error: s.Error,
	}
}

// reportHealth says of all shards which are not whole, and what is damaged.
func (r *Replica) reportHealth(status *pb.Status) {
	for i, s := range r.shards {
		if !r.State(i).Whole {
			status.NotWhole = append(status.NotWhole, uint32(i))
		}
		if d := s.health.report(i); d != nil {
			status.Damages = append(status.Damages, d)
		}
	}
}

// report returns what is known to be damaged, nil if nothing is.
func (h *health) report(shard int) *pb.Damage {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := &pb.Damage{Shard: uint32(shard)}
	if h.lost != nil {
		d.Text = h.lost.Error()
		if h.unfound != nil {
			d.Unmended = h.unfound.Error()
		}
		return d
	}
	for i, leaf := range slices.Sorted(maps.Keys(h.damaged)) {
		if d.Leaves = append(d.Leaves, uint32(leaf)); i > 0 {
			continue
		}
		d.Text = h.damaged[leaf].Error()
		if why := h.unmended[leaf]; why != nil {
			d.Unmended = why.Error()
		}
	}
	if len(d.Leaves) == 0 {
		return nil
	}
	return d
}

// maxMendPause bounds the pause after a repair that could not be done, in
// intervals of gossip.
const maxMendPause = 64

// keep does the keeper's work until the replica stops.
func (r *Replica) keep() {
	r.lookAhead()
	pause := r.options.GossipInterval
	retry := time.NewTimer(0)
	defer retry.Stop()
	next := time.NewTimer(r.untilScrub())
	defer next.Stop()
	tend := func() {
		retry.Stop()
		if left := r.tend(); left == 0 {
			pause = r.options.GossipInterval
		} else {
			retry.Reset(pause)
			pause = min(2*pause, maxMendPause*r.options.GossipInterval)
		}
	}
	// between is called in a scrub, which may take hours.
	between := func() {
		select {
		case <-r.keeper.attention:
			tend()
		case <-retry.C:
			tend()
		default:
		}
	}
	for {
		select {
		case <-r.keeper.attention:
			tend()
		case <-retry.C:
			tend()
		case <-r.keeper.asked:
			r.scrub(between)
			next.Reset(r.untilScrub())
		case <-next.C:
			r.scrub(between)
			next.Reset(r.untilScrub())
		case <-r.stopping:
			return
		}
	}
}

// lookAhead finds the shards the logs of which a crash has left ahead of what
// they have heard.
func (r *Replica) lookAhead() {
	for _, s := range r.shards {
		if _, none, err := r.logAhead(s); err == nil && !none {
			r.setAhead(s, true)
			r.keeper.wake()
		}
	}
}

// tend repairs what is known to be damaged, and returns how much is left.
func (r *Replica) tend() (left int) {
	for _, s := range r.shards {
		h := &s.health
		h.mu.Lock()
		lost, suspected := h.lost != nil, h.suspected
		if h.suspected = false; suspected {
			h.inspected = r.options.Now()
		}
		h.mu.Unlock()
		if lost {
			err := r.recover(s)
			h.mu.Lock()
			h.unfound = err
			h.mu.Unlock()
			if err != nil {
				left++
				continue
			}
		}
		if suspected {
			if err := r.examine(s, r.pace(r.options.ScrubRate), func(int) {}); err != nil && !errors.Is(err, store.ErrCorrupt) {
				r.log.Warn("a shard could not be inspected", "shard", s.index, "error", err)
			}
		}
		for _, leaf := range h.hidden() {
			if err := r.mend(s, leaf); err != nil {
				left++
			}
		}
		h.mu.Lock()
		ahead := h.ahead
		h.mu.Unlock()
		if !ahead {
			continue
		}
		if done, err := r.replayAhead(s); !done || err != nil {
			left++
			continue
		}
		r.setAhead(s, false)
	}
	return left
}

// untilScrub returns how long to wait for the next scrub.
func (r *Replica) untilScrub() time.Duration {
	if r.options.ScrubInterval < 0 {
		return 1<<63 - 1
	}
	r.keeper.mu.Lock()
	defer r.keeper.mu.Unlock()
	last := time.UnixMilli(r.keeper.state.LastMs)
	return max(0, last.Add(r.options.ScrubInterval).Sub(r.options.Now()))
}

// scrub inspects all shards, one after the other.
func (r *Replica) scrub(between func()) {
	var bytes uint64
	show := func(change func(s *pb.ScrubState)) {
		r.keeper.mu.Lock()
		defer r.keeper.mu.Unlock()
		change(r.keeper.state)
	}
	show(func(s *pb.ScrubState) { s.Running, s.Done, s.Bytes, s.Error = true, 0, 0, "" })
	pace := r.pace(r.options.ScrubRate)
	rest := func(n int) error {
		bytes += uint64(n)
		return pace(n)
	}
	var failed error
	for i, s := range r.shards {
		err := r.examine(s, rest, func(leaf int) {
			show(func(state *pb.ScrubState) {
				state.Done = (float64(i) + float64(leaf)/leaves) / float64(len(r.shards))
				state.Bytes = bytes
			})
			between()
		})
		switch {
		case errors.Is(err, ErrClosed):
			return
		case err != nil && !errors.Is(err, store.ErrCorrupt): // what is damaged is known now
			failed = cmp.Or(failed, err)
			r.log.Warn("a shard could not be inspected", "shard", s.index, "error", err)
		}
	}
	now := r.options.Now()
	if err := r.scrubbed(now); err != nil {
		failed = cmp.Or(failed, err)
	}
	r.giveUp()
	show(func(s *pb.ScrubState) {
		s.Running, s.Done, s.LastMs = false, 1, now.UnixMilli()
		s.Finished++
		if failed != nil {
			s.Error = failed.Error()
		}
	})
}

// giveUp has the damage that is known now repaired at any price, if that was
// asked for.
func (r *Replica) giveUp() {
	r.keeper.mu.Lock()
	asked := r.keeper.giveUp
	r.keeper.giveUp = false
	r.keeper.mu.Unlock()
	if !asked {
		return
	}
	for _, s := range r.shards {
		h := &s.health
		h.mu.Lock()
		h.givenUp = map[int]bool{everyLeaf: h.lost != nil}
		for leaf := range h.damaged {
			h.givenUp[leaf] = true
		}
		h.mu.Unlock()
	}
	r.keeper.wake()
}

// pace returns what holds reading or taking over to a rate in bytes per second.
// It fails with ErrClosed when the replica stops.
func (r *Replica) pace(rate int) func(bytes int) error {
	var mu sync.Mutex
	owed := 0
	atOnce := min(rate, 1<<18)
	return func(bytes int) error {
		mu.Lock()
		defer mu.Unlock()
		if owed += bytes; owed < atOnce {
			return nil
		}
		pause := time.NewTimer(time.Duration(float64(owed) / float64(rate) * float64(time.Second)))
		defer pause.Stop()
		owed = 0
		select {
		case <-pause.C:
			return nil
		case <-r.stopping:
			return ErrClosed
		}
	}
}

// scrubbed writes down when the last scrub was finished, so that members that
// are restarted often are scrubbed, too.
func (r *Replica) scrubbed(at time.Time) error {
	mine := r.identity
	mine.Scrubbed = at.UnixMilli()
	value, err := json.Marshal(mine)
	if err != nil {
		return err
	}
	var b store.Batch
	b.Put([]byte("c"), value)
	return r.store.Commit(&b)
}
