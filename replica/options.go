package replica

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"regexp"
	"runtime"
	"time"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/membership"
	pb "github.com/atolldb/atoll/proto"
)

// Options says what a replica is and how it behaves.
type Options struct {
	// Cluster, Member and Region name the cluster, this member, and the region
	// that it stands in. Cluster and Member are required.
	Cluster, Member, Region string
	// Regions returns the other regions of the cluster, the nearest first: what
	// this member tells those who ask. Default: none.
	Regions func() []string
	// Version is the program's, for status.
	Version string
	// Shards is the number of shards of the cluster, fixed when it is created.
	// Default 256, at most 65535.
	Shards int
	// DigestKey is the cluster's secret key of Merkle digests.
	DigestKey [32]byte
	// Volatile says that the store may lose commits it has reported, as with
	// the loss of power without fsync. Such a copy goes on under new actors
	// whenever it is opened, and once more when it is no longer volatile.
	Volatile bool
	// Place tells where the data lies, such as by the identity of a file that
	// stands beside it: a copy of the data gives another answer. If renew is
	// set, it sees to it that the place is another from now on. Default: nobody
	// knows, and copies are found out only by what peers know.
	Place func(renew bool) (string, error)
	// LogLimit is how many events of each actor the log of a shard keeps, and an
	// eighth of what it keeps while an owner of the shard is suspect or down.
	// Peers that are further behind catch up by walks. Default 1024.
	LogLimit int
	// Loops is the number of goroutines that write. Default 2.
	Loops int
	// GossipInterval is the time between two messages to all others about what
	// this member has. Default 1 s.
	GossipInterval time.Duration
	// QuestionTimeout is how long a peer may take to answer a question before
	// another one is asked. Meanwhile the question is repeated: after 1/15 of the
	// time, 3/15 and 7/15; one that may be slow to answer, after 5/15. Default 15 s.
	QuestionTimeout time.Duration
	// SessionPatience is how long a request waits for this copy to hear what
	// its session has seen elsewhere. Clients ask again. Default 500 ms.
	SessionPatience time.Duration
	// ScrubInterval is the time between two scrubs, which compare all that is
	// stored with its digests. Default 24 h; a negative one is never.
	ScrubInterval time.Duration
	// ScrubRate bounds what a scrub reads, in bytes per second. Default 16 MiB.
	ScrubRate int
	// OperationMemory is how long an operation with an id is remembered, at least:
	// one that is as old as half of it is refused. Default 1 h, at least 1 s.
	OperationMemory time.Duration
	// OperationLimit is how many operations a shard remembers. More are refused
	// until some can be forgotten. Default 131,072.
	OperationLimit int
	// Record returns what the table of members is to say of this one; it is asked
	// when the replica is started. Default: nothing, it does not stand there.
	Record func() *pb.Member
	// Joins says that there are other members: as long as the table knows of none,
	// it is not taken for the whole.
	Joins bool
	// Told are the other regions that were named to this one. As long as the table
	// has no majority of them and the own one, others may have a table of which this
	// one knows nothing: who founds its region refuses quorums of more than that, and
	// nothing is taken over but of owners that have done so before.
	Told []string
	// Seeds says that other members of the own region were named to this one: it
	// founds its region only if none of them turns up within FoundAfter.
	Seeds bool
	// FoundAfter is how long a member with Seeds waits for a region. Default 5 s.
	FoundAfter time.Duration
	// Owners returns the members that own every shard, by region. Quorums overlap
	// as long as all members go by the same ones. Default: what follows from the
	// table of members, which needs Record; without one, this member owns all.
	Owners func() map[string][]string
	// HintLimit bounds what this member keeps of writes that it took in place of
	// owners which could not be reached, in bytes of their events. Default 64 MiB.
	HintLimit int
	// JoinRate bounds what is taken over of shards that this member is to own, in
	// bytes per second. Default 64 MiB.
	JoinRate int
	// Heartbeats sets the pace and the thresholds of the detector of failures.
	Heartbeats membership.Config
	// AntiEntropy sets the pace of catching up.
	AntiEntropy antientropy.Config
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Gather is called when a loop has a task, before it takes those that wait
	// beside it into one group. Default runtime.Gosched.
	Gather func()
	// NewActor returns an actor that nobody ever used. Default: random.
	NewActor func() crdt.Actor
	// Logger takes what an operator should know. Default: nothing.
	Logger *slog.Logger
}

// maxShards leaves one number for the system shard.
const maxShards = 1<<16 - 1

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (o Options) withDefaults() (Options, error) {
	o.Region = cmp.Or(o.Region, "local")
	o.Shards = cmp.Or(o.Shards, 256)
	o.LogLimit = cmp.Or(o.LogLimit, 1024)
	o.Loops = cmp.Or(o.Loops, 2)
	o.GossipInterval = cmp.Or(o.GossipInterval, time.Second)
	o.SessionPatience = cmp.Or(o.SessionPatience, 500*time.Millisecond)
	o.ScrubInterval = cmp.Or(o.ScrubInterval, 24*time.Hour)
	o.ScrubRate = cmp.Or(o.ScrubRate, 16<<20)
	o.JoinRate = cmp.Or(o.JoinRate, 64<<20)
	o.HintLimit = cmp.Or(o.HintLimit, 64<<20)
	o.FoundAfter = cmp.Or(o.FoundAfter, 5*time.Second)
	o.OperationMemory = cmp.Or(o.OperationMemory, time.Hour)
	o.OperationLimit = cmp.Or(o.OperationLimit, 1<<17)
	o.QuestionTimeout = cmp.Or(o.QuestionTimeout, 15*time.Second)
	if o.Regions == nil {
		o.Regions = func() []string { return nil }
	}
	if o.Place == nil {
		o.Place = func(bool) (string, error) { return "", nil }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Gather == nil {
		o.Gather = runtime.Gosched
	}
	if o.NewActor == nil {
		o.NewActor = randomActor
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Heartbeats = o.Heartbeats.WithDefaults()
	if err := o.Heartbeats.Validate(); err != nil {
		return o, err
	}
	for what, name := range map[string]string{"cluster": o.Cluster, "member": o.Member, "region": o.Region} {
		if !namePattern.MatchString(name) {
			return o, fmt.Errorf("replica: the %s name %q is not 1 to 64 letters, digits, - or _", what, name)
		}
	}
	switch {
	case o.Shards < 1 || o.Shards > maxShards:
		return o, fmt.Errorf("replica: %d shards; it takes 1 to %d", o.Shards, maxShards)
	case o.LogLimit < 1:
		return o, fmt.Errorf("replica: a log limit of %d events; it takes at least 1", o.LogLimit)
	case o.OperationMemory < time.Second:
		return o, fmt.Errorf("replica: a memory of operations of %v; it takes at least 1 s", o.OperationMemory)
	case o.OperationLimit < 1:
		return o, fmt.Errorf("replica: a limit of %d operations; it takes at least 1", o.OperationLimit)
	case o.ScrubRate < 1:
		return o, fmt.Errorf("replica: a scrub rate of %d bytes per second; it takes at least 1", o.ScrubRate)
	case o.Loops < 1 || o.Loops > 64:
		return o, fmt.Errorf("replica: %d loops; it takes 1 to 64", o.Loops)
	}
	return o, nil
}

// randomActor draws 64 random bits: among a million actors, two are the same
// with a probability below 10^-7.
func randomActor() crdt.Actor {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails
		if a := crdt.Actor(binary.BigEndian.Uint64(b[:])); a != 0 {
			return a
		}
	}
}
