package replica

import (
	"fmt"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/transport"
)

const (
	// maxGuest is how many requests and questions of a user a member has under way, a part of
	// what its end of the network takes at once: so that nobody, by requests that
	// take their time, keeps all others out.
	maxGuest = 256
	// maxQuestion bounds a question of who is no administrator, and one of anybody for
	// what the cluster is, in bytes: it has nothing to say.
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
	eachPart(request, func(field protowire.Number, operation []byte) {
		if field != fieldOperations {
			return
		}
		operations++
		eachPart(operation, func(field protowire.Number, set []byte) {
			if field == fieldSetAdd || field == fieldSetRemove {
				eachPart(set, func(protowire.Number, []byte) { elements++ })
			}
		})
	})
	switch {
	case operations > maxOperations:
		return tooManyOperations(operations)
	case elements > maxElements:
		return tooManyElements(elements)
	}
	return nil
}

func tooManyOperations(n int) error {
	return fmt.Errorf("%w: a request of %d operations; it takes 1 to %d", crdt.ErrInvalid, n, maxOperations)
}

func tooManyElements(n int) error {
	return fmt.Errorf("%w: a request of %d elements; it takes at most %d", crdt.ErrInvalid, n, maxElements)
}

// The fields of Request and Operation that hold any number of others.
const (
	fieldOperations protowire.Number = 1
	fieldSetAdd     protowire.Number = 5
	fieldSetRemove  protowire.Number = 6
)

// eachPart calls visit for each field of a message that has a length, up to what
// cannot be read, which is for the decoder to say.
func eachPart(message []byte, visit func(field protowire.Number, value []byte)) {
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(field, kind, message); n < 0 {
			return
		}
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(message)
			visit(field, value)
		}
		message = message[n:]
	}
}
