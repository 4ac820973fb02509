package replica

import (
	"errors"
	"fmt"

	"github.com/atolldb/atoll/crdt"
)

// refuse counts that something of a peer was refused, and tells so, of each peer
// once a minute. The peer is who the message says, or the subject.
func (r *Replica) refuse(peer string, err error) {
	if errors.Is(err, ErrForbidden) {
		r.counters.forbidden.Add(1)
	} else {
		r.counters.malformed.Add(1)
	}
	peer = fmt.Sprintf("%.64q", peer)
	if repeated, due := r.refusals.Due(peer, r.options.Now()); due {
		r.log.Warn("a message was refused", "of", peer, "error", err, "repeated", repeated)
	}
}

// checkSender says whether a message can be of a member.
func checkSender(member string) error {
	if !namePattern.MatchString(member) {
		return fmt.Errorf("%w: a sender named %.64q", crdt.ErrInvalid, member)
	}
	return nil
}
