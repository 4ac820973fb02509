package sim

import (
	"context"
	"fmt"
	"maps"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport"
)

// Whoever pulls refuses fields that do not come to the digest which comes with them,
// so it does not show there whether a member looks before it tells what its disk has
// made of a leaf. It shows where an answer leaves the member: what a part holds must
// be the effect of what the part says to have heard. Of a leaf that has rotted it
// says that it has heard nothing, and holds nothing.

// serve has the oracle see what a member answers to other members.
func (m *member) serve(handle transport.Handler) transport.Handler {
	return func(ctx context.Context, message transport.Message) ([]byte, error) {
		var asked pb.SyncRequest
		var answered pb.SyncAnswer
		data, err := handle(ctx, message)
		if err == nil && proto.Unmarshal(message.Data, &asked) == nil && asked.GetWalk() != nil {
			err := proto.Unmarshal(data, &answered)
			m.world.mu.Lock()
			defer m.world.mu.Unlock()
			if err == nil {
				err = m.checkServed(int(asked.GetWalk().GetShard()), answered.GetWalked())
			}
			if err != nil {
				m.world.failLocked("%s serves %v", m.Name, err)
			}
		}
		return data, err
	}
}

// checkServed checks the complete parts of an answer to a walk. w.mu is held.
func (m *member) checkServed(shard int, walked *pb.Walked) error {
	w := m.world
	if shard >= w.schedule.Shards {
		return nil // the cluster's own
	}
	for _, part := range walked.GetParts() {
		if !part.GetComplete() {
			continue
		}
		heard := decoded(walked.GetVectors()[part.GetVector()])
		served := map[crdt.Position]entries{}
		for _, f := range part.GetFields() {
			at := crdt.Position(f.GetPosition())
			id, err := crdt.DecodePosition(at)
			if err != nil {
				return err
			}
			es, err := crdt.DecodeEntries(id.Type, f.GetEntries())
			if err != nil {
				return fmt.Errorf("%s %.40q: %w", id.Object, id.Name, err)
			}
			served[at] = entriesOf(es)
		}
		lo, hi := crdt.Position(part.GetLow()), crdt.Position(part.GetHigh())
		for _, f := range w.record.fields[shard] {
			if f.at < lo || hi != "" && f.at >= hi {
				continue
			}
			if want := w.record.effect(f, heard); !maps.Equal(served[f.at], want) {
				return fmt.Errorf("%s %.40q as %v; what it says to have heard there comes to %v: %v", f.id.Object, f.id.Name, served[f.at], want, vectorText(heard))
			}
			delete(served, f.at)
		}
		for at, es := range served {
			return fmt.Errorf("%.40q as %v, which nobody wrote", at, es)
		}
		w.outcome.Stats.Served++
	}
	return nil
}
