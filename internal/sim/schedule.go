package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
)

// Schedule is a history to be: who takes part, and what happens to them. It
// can be cut anywhere and still be played.
type Schedule struct {
	Seed    uint64
	Shards  int
	Placed  bool // shards have owners by the table of members
	Members []Member
	Walks   time.Duration // between two periodic walks
	Network quality
	Steps   []Step // in order of time
}

// Member is one member of the cluster.
type Member struct {
	Name, Region string
	Volatile     bool // crashes lose its last commits
	LogLimit     int
	Skew         time.Duration // of its clock
	Pace         time.Duration // that a commit takes at least
	Late         bool          // it starts with a step
}

// Kind is what a step does.
type Kind int

// The kinds of steps. Those which do not fit, as to crash a member that is
// down, do nothing.
const (
	Ask     Kind = iota // a client sends a request
	Crash               // the power fails; a volatile member loses N commits
	Stop                // the member is closed
	Start               // the member is started on its disk
	Wipe                // the member crashes and its disk is lost
	Backup              // the disk of the member is copied
	Restore             // the member crashes, its disk becomes the copy, and it is told so
	Revert              // the same, but it is not told
	Cut                 // nothing gets from the member to the other one
	Join                // ends a cut
	Worsen              // the way to the other one loses, repeats, and reorders
	Improve             // ends that
	Fill                // the disk is full
	Empty               // ends that
	Break               // commits fail, applied or not
	Mend                // ends that
	Slow                // commits take long
	Hurry               // ends that
	Skew                // the member restarts with its clock N seconds ahead
	Rot                 // a bit of a stored entry, header or digest flips
	Invent              // an entry becomes one of an event that was never heard, its checksum right
	Swap                // an entry becomes another one, its checksum right
	Owners              // an operator wants N owners of each shard in a region
	Leave               // the member is decommissioned
	Remove              // the member is dead for good, and an operator takes it out of the table
	Move                // the member restarts in another zone and with another weight: see place
	kinds
)

var kindNames = [...]string{
	"ask", "crash", "stop", "start", "wipe", "backup", "restore", "revert", "cut", "join", "worsen", "improve",
	"fill", "empty", "break", "mend", "slow", "hurry", "skew", "rot", "invent", "swap", "owners", "leave", "remove", "move",
}

// String returns the kind as one word.
func (k Kind) String() string { return kindNames[k] }

// Step is one thing that happens.
type Step struct {
	At            time.Duration
	Kind          Kind
	Member, Other int // indices of members; Ask: the region is Member's
	N             int // Ask: the session, or 0 for none
	Shard         int
	Operations    []*pb.Operation
	Level         pb.Consistency // Ask
	Operation     []byte         // Ask: its id, if it has one
}

// text describes the step, with the names of members.
func (s Step) text(members []Member) string {
	name := members[s.Member].Name
	switch s.Kind {
	case Ask:
		var ops []string
		for _, op := range s.Operations {
			ops = append(ops, operationText(op))
		}
		level := ""
		if s.Level != pb.Consistency_ONE {
			level = " at " + strings.ToLower(s.Level.String())
		}
		if len(s.Operation) > 0 {
			level += fmt.Sprintf(" once (%x)", s.Operation[6:])
		}
		return fmt.Sprintf("%-8s session %d asks %d%s: %s", members[s.Member].Region, s.N, s.Shard, level, strings.Join(ops, ", "))
	case Cut, Join, Worsen, Improve:
		return fmt.Sprintf("%-8s %v to %s", name, s.Kind, members[s.Other].Name)
	case Crash, Skew, Owners, Move, Rot, Invent, Swap:
		return fmt.Sprintf("%-8s %v %d", name, s.Kind, s.N)
	}
	return fmt.Sprintf("%-8s %v", name, s.Kind)
}

func operationText(op *pb.Operation) string {
	key := string(op.Key)
	switch what := op.What.(type) {
	case *pb.Operation_CounterAdd:
		return fmt.Sprintf("%s += %d", key, what.CounterAdd)
	case *pb.Operation_CounterReset:
		return key + " = 0"
	case *pb.Operation_SetAdd:
		return fmt.Sprintf("%s + %q", key, what.SetAdd.Elements)
	case *pb.Operation_SetRemove:
		return fmt.Sprintf("%s - %q", key, what.SetRemove.Elements)
	case *pb.Operation_RegisterSet:
		return fmt.Sprintf("%s = %q", key, what.RegisterSet)
	case *pb.Operation_Delete:
		if t := what.Delete.Type; t != 0 {
			return fmt.Sprintf("delete %v %s", crdt.Type(t), key)
		}
		return "delete " + key
	}
	return "read " + key
}

// String lists the schedule.
func (s Schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d shards, walks every %v, network %+v\n", s.Shards, s.Walks, s.Network)
	for _, m := range s.Members {
		fmt.Fprintf(&b, "%s in %s: log %d, commits in %v, clock %+v", m.Name, m.Region, m.LogLimit, m.Pace, m.Skew)
		if m.Volatile {
			b.WriteString(", volatile")
		}
		if m.Late {
			b.WriteString(", late")
		}
		b.WriteByte('\n')
	}
	for _, step := range s.Steps {
		fmt.Fprintf(&b, "%10.3fs  %s\n", step.At.Seconds(), step.text(s.Members))
	}
	return b.String()
}
