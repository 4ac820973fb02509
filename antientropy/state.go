package antientropy

import (
	"fmt"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/merkle"
	"github.com/atolldb/atoll/proto"
)

// State is what a copy of a shard says of itself.
type State struct {
	Vector crdt.VersionVector
	Root   merkle.Digest
	Whole  bool // no range is ahead of Vector
}

// Diverged says that two copies heard the same and hold different entries,
// which cannot be unless one is damaged or a rule is broken.
func Diverged(a, b State) bool {
	return a.Whole && b.Whole && a.Root != b.Root && a.Vector.Compare(b.Vector) == crdt.Equal
}

// Agree says that two copies have heard the same and hold the same.
func Agree(a, b State) bool {
	return a.Whole && b.Whole && a.Root == b.Root && a.Vector.Compare(b.Vector) == crdt.Equal
}

// Message returns the state as it travels.
func (s State) Message(shard int) *proto.ShardState {
	return &proto.ShardState{
		Shard: uint32(shard), Vector: s.Vector.AppendTo(nil), Root: s.Root.AppendTo(nil), Whole: s.Whole,
	}
}

// DecodeState returns the state that a message carries.
func DecodeState(m *proto.ShardState) (State, error) {
	vector, err := crdt.DecodeVector(m.GetVector())
	if err != nil {
		return State{}, err
	}
	root, err := merkle.Decode(m.GetRoot())
	if err != nil {
		return State{}, fmt.Errorf("shard %d: %w", m.GetShard(), err)
	}
	return State{vector, root, m.GetWhole()}, nil
}
