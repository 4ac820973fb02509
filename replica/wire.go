package replica

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/ring"
	"github.com/atolldb/atoll/merkle"
	pb "github.com/atolldb/atoll/proto"
)

// marshal encodes a message. Messages made here are always valid.
func marshal(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("replica: encoding %T: %v", m, err))
	}
	return b
}

// decodeDelivered decodes an event and checks that its keys belong to the
// shard. The event shares nothing with raw.
func decodeDelivered(shard, shards int, raw []byte) (delivered, error) {
	event, err := crdt.DecodeEvent(raw)
	if err != nil {
		return delivered{}, err
	}
	check := func(key string) error {
		if !holds(shards, shard, key) {
			return fmt.Errorf("%w: event %s in shard %d", ErrWrongShard, event.Dot, shard)
		}
		return nil
	}
	for _, c := range event.Changes {
		if err := check(c.Field.Key); err != nil {
			return delivered{}, err
		}
	}
	for _, c := range event.Clears {
		if err := check(c.Object.Key); err != nil {
			return delivered{}, err
		}
	}
	return delivered{event, raw}, nil
}

// encodeEnd writes the end of the order as nothing.
func encodeEnd(p crdt.Position) []byte {
	if p == crdt.End {
		return nil
	}
	return []byte(p)
}

func decodeEnd(b []byte) crdt.Position {
	if len(b) == 0 {
		return crdt.End
	}
	return crdt.Position(b)
}

func encodeRanges(ranges []antientropy.Range) []*pb.Range {
	out := make([]*pb.Range, len(ranges))
	for i, r := range ranges {
		out[i] = &pb.Range{Low: []byte(r.Lo), High: encodeEnd(r.Hi), Digest: r.Digest.AppendTo(nil)}
	}
	return out
}

func decodeRanges(in []*pb.Range) ([]antientropy.Range, error) {
	out := make([]antientropy.Range, len(in))
	for i, r := range in {
		digest, err := merkle.Decode(r.GetDigest())
		if err != nil {
			return nil, fmt.Errorf("%w: range: %w", crdt.ErrInvalid, err)
		}
		out[i] = antientropy.Range{Lo: crdt.Position(r.GetLow()), Hi: decodeEnd(r.GetHigh()), Digest: digest}
		if out[i].Lo >= out[i].Hi || i > 0 && out[i].Lo < out[i-1].Hi {
			return nil, fmt.Errorf("%w: ranges out of order", crdt.ErrInvalid)
		}
	}
	return out, nil
}

func encodeParts(parts []antientropy.Part) *pb.Walked {
	out := &pb.Walked{}
	known := map[string]uint32{}
	for _, p := range parts {
		vector := string(p.Heard.AppendTo(nil))
		index, ok := known[vector]
		if !ok {
			index = uint32(len(out.Vectors))
			known[vector] = index
			out.Vectors = append(out.Vectors, []byte(vector))
		}
		part := &pb.Part{Low: []byte(p.Lo), High: encodeEnd(p.Hi), Vector: index, Complete: p.Complete}
		if !p.Complete || p.Digest != (merkle.Digest{}) {
			part.Digest = p.Digest.AppendTo(nil)
		}
		for _, f := range p.Fields {
			part.Fields = append(part.Fields, &pb.Field{Position: []byte(f.At), Entries: f.Entries.AppendTo(nil)})
		}
		out.Parts = append(out.Parts, part)
	}
	return out
}

// decodeParts decodes and validates what a peer answers to a walk.
func decodeParts(shard, shards int, in *pb.Walked) ([]antientropy.Part, error) {
	vectors := make([]crdt.VersionVector, len(in.GetVectors()))
	for i, b := range in.GetVectors() {
		var err error
		if vectors[i], err = crdt.DecodeVector(b); err != nil {
			return nil, err
		}
	}
	parts := make([]antientropy.Part, len(in.GetParts()))
	for i, p := range in.GetParts() {
		if int(p.GetVector()) >= len(vectors) {
			return nil, fmt.Errorf("%w: vector %d of %d", crdt.ErrInvalid, p.GetVector(), len(vectors))
		}
		part := antientropy.Part{Heard: vectors[p.GetVector()], Complete: p.GetComplete()}
		part.Lo, part.Hi = crdt.Position(p.GetLow()), decodeEnd(p.GetHigh())
		var err error
		if !part.Complete || len(p.GetDigest()) > 0 {
			if part.Digest, err = merkle.Decode(p.GetDigest()); err != nil {
				return nil, err
			}
		}
		for _, f := range p.GetFields() {
			field, err := decodeWalkedField(shard, shards, f, part.Heard)
			if err != nil {
				return nil, err
			}
			part.Fields = append(part.Fields, field)
		}
		parts[i] = part
	}
	return parts, nil
}

func decodeWalkedField(shard, shards int, f *pb.Field, heard crdt.VersionVector) (crdt.FieldEntries, error) {
	at := crdt.Position(f.GetPosition())
	id, err := crdt.DecodePosition(at)
	if err != nil {
		return crdt.FieldEntries{}, err
	}
	if !holds(shards, shard, id.Key) {
		return crdt.FieldEntries{}, fmt.Errorf("%w: a field of shard %d in shard %d", ErrWrongShard, ring.Shard(id.Key, shards), shard)
	}
	es, err := crdt.DecodeEntries(id.Type, f.GetEntries())
	if err != nil {
		return crdt.FieldEntries{}, err
	}
	if !es.HeardBy(heard) {
		return crdt.FieldEntries{}, fmt.Errorf("%w: an entry of an event that was not heard", crdt.ErrInvalid)
	}
	if len(es) == 0 {
		return crdt.FieldEntries{}, fmt.Errorf("%w: a field without entries", crdt.ErrInvalid)
	}
	return crdt.FieldEntries{At: at, Entries: es}, nil
}
