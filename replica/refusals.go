package replica

import (
	"errors"
	"fmt"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
)

// ErrProtocol says that a message is of a protocol that is not spoken here;
// nothing of it was done.
var ErrProtocol = errors.New("a protocol that this member does not speak")

// checkProtocol says whether a message with this protocol number is understood.
func checkProtocol(number uint32) error {
	if pb.Understood(number) {
		return nil
	}
	which := "an older Atoll: upgrade the one that sends it first"
	if number > pb.Protocol {
		which = "a newer Atoll: upgrade this member"
	}
	return fmt.Errorf("%w: %d, of %s; it speaks %d to %d", ErrProtocol, number, which, pb.OldestProtocol, pb.Protocol)
}

// refuse counts that something of a peer was refused, and tells so, of each peer
// once a minute. The peer is who the message says, or the subject.
func (r *Replica) refuse(peer string, err error) {
	switch {
	case errors.Is(err, ErrForbidden):
		r.counters.forbidden.Add(1)
	case errors.Is(err, ErrProtocol):
		r.counters.protocol.Add(1)
	default:
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
