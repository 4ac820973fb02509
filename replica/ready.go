package replica

import (
	"errors"
	"fmt"
)

// Why a replica is not ready.
var (
	errStarting  = errors.New("it is starting")
	errStopping  = errors.New("it is stopping")
	errUnmet     = errors.New("it was told of other members, and has met none yet")
	errUnfounded = errors.New("its region has no owners yet")
)

// Ready returns nil if this member can answer reads for its region, or else why
// it cannot: it was started empty, and has not met anybody yet, not taken over
// the first of its shards, or not pulled what others have of them. One that has
// met the others once is ready without them.
func (r *Replica) Ready() error {
	select {
	case <-r.stopping:
		return errStopping
	default:
	}
	if r.network.Load() == nil {
		return errStarting
	}
	if r.unmet() {
		return errUnmet
	}
	if err := r.serves(); err != nil {
		return err
	}
	if n := r.unpulled(); n > 0 {
		return fmt.Errorf("it has not pulled %d of %d shards yet", n, len(r.shards))
	}
	return nil
}

// unmet says whether this member was told of others, and has met none yet.
func (r *Replica) unmet() bool { return r.options.Joins && len(r.listed()) == 1 }

// serves returns an error if this member serves no shard, and is to own some.
func (r *Replica) serves() error {
	if !r.placed() || r.holdings().GetOwned() > 0 {
		return nil
	}
	l, err := r.view()
	if err != nil {
		return err
	}
	in := l.regions[r.options.Region]
	if in == nil || in.current == nil {
		return errUnfounded
	}
	due := 0
	for _, s := range r.shards[:r.options.Shards] {
		if in.claimOf(r.options.Member, s.index) != unrelated {
			due++
		}
	}
	if due > 0 {
		return fmt.Errorf("it is taking over the first of %d shards", due)
	}
	return nil
}

// unpulled counts the shards that this member serves, has nothing of in full
// yet, and a peer has.
func (r *Replica) unpulled() (n int) {
	r.peers.mu.Lock()
	defer r.peers.mu.Unlock()
	for i, s := range r.shards {
		if !s.serving.Load() || len(r.State(i).Vector) > 0 {
			continue
		}
		for name := range r.peers.known {
			if theirs, _ := r.peers.planner.Advertised(name, i); len(theirs.Vector) > 0 {
				n++
				break
			}
		}
	}
	return n
}
