package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	pb "github.com/atolldb/atoll/proto"
)

// Consistency is how sure an application wants to be, per request: how many
// owners of the key's shard must have a write on their disks before it is
// acknowledged, and how many are asked what they have before a read is
// answered. Requests that name none have the default of the cluster, which is
// One until it is set; see Client.SetConsistency.
type Consistency string

// The levels of consistency.
const (
	// One owner, which waits for nobody.
	One Consistency = "one"
	// LocalQuorum is a majority of the owners in the region that serves.
	LocalQuorum Consistency = "local-quorum"
	// Quorum is a majority of all owners: a read at it shows every write that
	// was acknowledged at it, wherever.
	Quorum Consistency = "quorum"
	// EachQuorum is a majority in each region.
	EachQuorum Consistency = "each-quorum"
	// All is every owner. A read at it shows every acknowledged write of any level that
	// an owner has: what was taken in their place is shown once it is handed over.
	All Consistency = "all"
	// Linearizable operations take effect at one moment between call and
	// return: values that are set, increments, and reads. What takes away takes what it has
	// seen, as ever, and a write at the same time may outlast it. It takes a majority of all owners, twice: two round trips between
	// regions for each operation, and none works without a majority.
	Linearizable Consistency = "linearizable"
)

// Consistencies are all levels, the weakest first.
var Consistencies = []Consistency{One, LocalQuorum, Quorum, EachQuorum, All, Linearizable}

// ErrNotEnough says that too few owners answered in time for the level of
// consistency asked for, or that too few are there; the text says how many, of
// which regions, and which are known to be down. A write
// that was made is kept and still spreads, which the text says as well.
var ErrNotEnough = errors.New("consistency not reached")

// At returns a client over the same connection whose calls have a level of
// consistency. Within a session, sessions hold as well. A level that does not
// exist is ErrInvalid.
func (c *Client) At(level Consistency) (*Client, error) {
	code, err := level.code()
	if err != nil {
		return nil, err
	}
	at := *c
	at.level = code.Enum()
	return &at, nil
}

func (c Consistency) code() (pb.Consistency, error) {
	i := slices.Index(Consistencies, c)
	if i < 0 {
		var names []string
		for _, l := range Consistencies {
			names = append(names, string(l))
		}
		return 0, fmt.Errorf("%w: consistency %q; it is one of %s", ErrInvalid, c, strings.Join(names, ", "))
	}
	return pb.Consistency(i), nil
}

// patience returns how many milliseconds a member may wait for others, so that
// its answer comes in time.
func patience(ctx context.Context) uint32 {
	deadline, _ := ctx.Deadline() // bound has seen to it
	left := time.Until(deadline)
	return uint32(max(1, (left - min(left/5, time.Second)).Milliseconds()))
}
