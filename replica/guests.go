package replica

import (
	"fmt"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/transport"
)

const (
	// maxGuest is how many requests of one user a member has under way, a part of
	// what its end of the network takes at once: so that nobody, by requests that
	// take their time, keeps all others out.
	maxGuest = 256
	// maxQuestion bounds a question of who is no administrator, in bytes: it has
	// nothing to say.
	maxQuestion = 1 << 10
)

// guests counts the requests of users that are under way.
type guests struct {
	mu    sync.Mutex
	count map[string]int
}

// enter takes a place for a user, until leave is called. It fails with ErrBusy.
func (g *guests) enter(user string) (leave func(), err error) {
	if user == transport.Trusted {
		return func() {}, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.count[user] >= maxGuest {
		return nil, fmt.Errorf("%w: %d requests of the user %.64s are under way", ErrBusy, maxGuest, user)
	}
	if g.count == nil {
		g.count = map[string]int{}
	}
	g.count[user]++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.count[user]--; g.count[user] == 0 {
			delete(g.count, user)
		}
	}, nil
}

// checkParts says whether a request has no more operations and elements than one
// may have, before it is decoded: in memory each takes a hundred times what two
// bytes on the wire can ask for.
func checkParts(request []byte) error {
	operations, elements := 0, 0
	return eachPart(request, func(field protowire.Number, operation []byte) error {
		if field != fieldOperations {
			return nil
		}
		if operations++; operations > maxOperations {
			return fmt.Errorf("%w: a request of more than %d operations", crdt.ErrInvalid, maxOperations)
		}
		return eachPart(operation, func(field protowire.Number, set []byte) error {
			if field != fieldSetAdd && field != fieldSetRemove {
				return nil
			}
			return eachPart(set, func(protowire.Number, []byte) error {
				if elements++; elements > maxElements {
					return fmt.Errorf("%w: a request of more than %d elements", crdt.ErrInvalid, maxElements)
				}
				return nil
			})
		})
	})
}

// The fields of Request and Operation that hold any number of others.
const (
	fieldOperations protowire.Number = 1
	fieldSetAdd     protowire.Number = 5
	fieldSetRemove  protowire.Number = 6
)

// eachPart calls visit for each field of a message that has a length; what cannot
// be read ends it, and is for the decoder to say.
func eachPart(message []byte, visit func(field protowire.Number, value []byte) error) error {
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(field, kind, message); n < 0 {
			return nil
		}
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(message)
			if err := visit(field, value); err != nil {
				return err
			}
		}
		message = message[n:]
	}
	return nil
}
