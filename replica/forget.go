package replica

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
	pb "github.com/atolldb/atoll/proto"
)

// How can a copy forget a damaged leaf without losing what nobody else has?
//
// By the kernel's rule a leaf the entries of which do not add up to its digest
// holds nothing and has heard nothing; the copy takes a new actor, pulls, and
// replays its log. Here it pulls first: what a peer has of the leaf, and had
// heard of it, takes the place of what is there in the batch that forgets. It
// does so only if the peer has heard all that the leaf had heard, but for what
// the own log has. Then V falls to what the peer had heard, and the log brings
// it up again, so nothing is lost, whichever peer it was and whatever fails in
// between. Is there no such peer, as for a member that is alone, the leaf stays
// as it is: local reads are answered from it, and peers are told that it has
// heard nothing. An operator who knows better gives such a leaf up: it is
// replaced at any price.
//
// A large leaf is replaced in several batches. Its digest is set right by the
// last one, so that it counts as damaged until then, also after a crash.

var (
	errAlone     = errors.New("no peer is in reach")
	errTooLittle = errors.New("nobody in reach has all that was heard of it")
)

// mend repairs a damaged leaf.
func (r *Replica) mend(s *shard, leaf int) error {
	snap := r.store.Snapshot()
	in, _, err := r.inspect(snap, s.index, leaf, leaf+1, math.MaxInt, untiring)
	proven := err == nil && in.proven(leaf, s)
	snap.Close()
	switch {
	case err != nil:
	case in.damaged[leaf] == nil || proven:
		err = r.submitAndWait(r.tasks, task{shard: s, alone: func(l *loop) error { return l.setDigest(s, leaf) }})
	default:
		if err = r.replaceLeaf(s, leaf, false); err != nil && s.health.abandoned(leaf) {
			err = r.replaceLeaf(s, leaf, true)
		}
		if err == nil {
			r.setAhead(s, true)
		}
	}
	if err == nil {
		r.cured(s, leaf)
		return nil
	}
	s.health.mu.Lock()
	s.health.unmended[leaf] = err
	s.health.mu.Unlock()
	return err
}

// replaceLeaf takes what a peer has of a leaf, or else the log, for what is
// there: at any price, or only if nothing is lost by it.
func (r *Replica) replaceLeaf(s *shard, leaf int, atAnyPrice bool) error {
	err := r.askAround(func(ctx context.Context, member string) error {
		return r.pullLeaf(ctx, member, &replacement{shard: s, leaf: leaf, atAnyPrice: atAnyPrice})
	})
	if err == nil || r.forgetLeaf(&replacement{shard: s, leaf: leaf, atAnyPrice: atAnyPrice}) == nil {
		return nil
	}
	return err
}

// askAround tries the peers that were heard of, the likely ones first, until one
// does.
func (r *Replica) askAround(ask func(ctx context.Context, member string) error) error {
	why := errAlone
	if r.network.Load() == nil {
		return why
	}
	for _, member := range r.byPromise() {
		if err := ask(r.present(member), member); err == nil {
			return nil
		} else if why == errAlone || errors.Is(err, errTooLittle) {
			why = fmt.Errorf("%s: %w", member, err)
		}
	}
	return why
}

// proven says that the entries of a leaf are right and its digest is not: all
// leaves together add up to the root with them. That nothing can be read proves
// nothing: a leaf that is empty has no digest to be wrong, and when another leaf was
// replaced the root was written anew without a digest that could not be read.
func (in *inspection) proven(leaf int, s *shard) bool {
	if in.sums[leaf] == (merkle.Digest{}) {
		return false
	}
	kept, err := readShardRoot(in.snap, s.index)
	others, digestsErr := otherLeaves(in.snap, s.index, leaf)
	return err == nil && digestsErr == nil && kept == others.Add(in.sums[leaf])
}

func readShardRoot(snap store.Snapshot, index int) (merkle.Digest, error) {
	_, _, root, err := readShard(snap, index)
	return root, err
}

// otherLeaves returns the sum of the digests of all leaves but one. Those that
// cannot be read are left out, and an error says so.
func otherLeaves(snap store.Snapshot, index, but int) (sum merkle.Digest, unreadable error) {
	own := string(leafKey(index, but))
	err := scanAll(snap, leafKey(index, 0), shardEnd('m', index), func(key, value []byte, err error) error {
		if string(key) == own {
			return nil
		}
		var digest merkle.Digest
		if err == nil {
			digest, err = decodeLeaf(key, value)
		}
		if err != nil {
			unreadable = err
			return nil
		}
		sum = sum.Add(digest)
		return nil
	})
	if err != nil {
		unreadable = err
	}
	return sum, unreadable
}

// setDigest makes the digest of a leaf that of its entries, if these are
// proven right or the digest is right already.
func (l *loop) setDigest(s *shard, leaf int) error {
	g := l.newGroup()
	in, _, err := l.replica.inspect(g.snap, s.index, leaf, leaf+1, math.MaxInt, untiring)
	if err == nil && in.damaged[leaf] != nil {
		if !in.proven(leaf, s) {
			err = in.damaged[leaf]
		} else {
			c := g.change(s)
			c.setLeaf(leaf, in.sums[leaf], c.root)
		}
	}
	if err != nil {
		g.snap.Close()
		return err
	}
	return g.commitOne(s)
}

// setLeaf sets the digest of a leaf, and the root.
func (c *change) setLeaf(leaf int, digest, root merkle.Digest) {
	w := store.Write{Key: leafKey(c.shard.index, leaf)}
	if digest != (merkle.Digest{}) {
		w.Value = encodeLeaf(w.Key, digest)
	}
	c.mended, c.root, c.touched = append(c.mended, w), root, true
}

// commitOne commits a group of one shard.
func (g *group) commitOne(s *shard) error {
	c := g.change(s)
	g.commit()
	return c.err
}

// pullLeaf replaces a damaged leaf by what a peer has of it.
func (r *Replica) pullLeaf(ctx context.Context, member string, p *replacement) error {
	s, w := p.shard, antientropy.NewPull(leafStart(p.leaf), leafStart(p.leaf+1))
	nothing := func(crdt.Position, crdt.Position) (merkle.Digest, error) { return merkle.Digest{}, nil }
	for ask := w.Next(); ask != nil; ask = w.Next() {
		answer, err := r.ask(ctx, member, &pb.SyncRequest{What: &pb.SyncRequest_Walk{
			Walk: &pb.Walk{Shard: uint32(s.index), Ranges: encodeRanges(ask)},
		}})
		if err != nil {
			return err
		}
		parts, err := decodeParts(s.index, r.options.Shards, answer.GetWalked())
		if err != nil {
			return err
		}
		if parts, err = w.Receive(parts, nothing); err != nil {
			return err
		}
		if p.add(parts); p.bytes > maxStepSize {
			if err := r.submitAndWait(ctx, task{shard: s, alone: p.replace}); err != nil {
				return err
			}
		}
	}
	return r.replaceLast(ctx, p)
}

// forgetLeaf replaces a damaged leaf by nothing, if the log has all that was
// heard of it.
func (r *Replica) forgetLeaf(p *replacement) error {
	p.add([]antientropy.Part{{Range: antientropy.Range{Lo: leafStart(p.leaf), Hi: leafStart(p.leaf + 1)}}})
	return r.replaceLast(r.tasks, p)
}

// replaceLast does the rest of a replacement.
func (r *Replica) replaceLast(ctx context.Context, p *replacement) error {
	snap := r.store.Snapshot()
	headers, err := orphans(snap, p.shard.index, p.leaf, untiring)
	snap.Close()
	if err != nil {
		return err
	}
	p.last = true
	for _, o := range headers {
		p.had(o)
	}
	return r.submitAndWait(ctx, task{shard: p.shard, alone: p.replace})
}

// replacement is what takes the place of a damaged leaf, as far as it has come
// and is not on disk yet.
type replacement struct {
	shard *shard
	leaf  int
	parts []antientropy.Part
	bytes int
	last  bool // nothing comes after it
	// objects may have headers that speak of what was there.
	objects map[crdt.Object]bool

	atAnyPrice bool // also if something is lost by it
}

func (p *replacement) had(o crdt.Object) {
	if p.objects == nil {
		p.objects = map[crdt.Object]bool{}
	}
	p.objects[o] = true
}

func (p *replacement) add(parts []antientropy.Part) {
	for _, part := range parts {
		part.Complete = true // where both have nothing, it says so by its digest
		p.parts = append(p.parts, part)
		for _, f := range part.Fields {
			p.bytes += fieldSize + len(f.At)
		}
	}
}

// replace brings what has come to disk, in as many batches as it takes.
func (p *replacement) replace(l *loop) error {
	g := l.newGroup()
	defer func() { g.snap.Close() }()
	for _, part := range p.parts {
		if part.Digest != (merkle.Digest{}) && part.Digest != fieldsDigest(l.hasher, part.Fields) {
			return fmt.Errorf("%w: what the peer holds is not what its digest says", antientropy.ErrBadAnswer)
		}
		if p.atAnyPrice {
			continue
		}
		if err := l.replica.covered(g.snap, p.shard, part); err != nil {
			return err
		}
	}
	var done []antientropy.Part // in this batch
	for _, part := range p.parts {
		for _, piece := range g.pieces(p.shard, part) {
			if g.size > maxGroupSize {
				if err := g.commitOne(p.shard); err != nil {
					return err
				}
				g, done = l.newGroup(), nil
			}
			if err := g.replacePiece(g.change(p.shard), p, piece); err != nil {
				return err
			}
			done = append(done, piece)
		}
	}
	if p.last {
		if err := g.finishLeaf(g.change(p.shard), p, done); err != nil {
			return err
		}
	}
	p.parts, p.bytes = nil, 0
	return g.commitOne(p.shard)
}

// covered says whether a peer's part can take the place of what is here: all
// that was heard of it here was heard there, or is in the log.
func (r *Replica) covered(snap store.Snapshot, s *shard, p antientropy.Part) error {
	for _, span := range s.heard.Over(p.Lo, p.Hi) {
		for actor, seq := range span.Vector {
			if err := r.logged(snap, s.index, actor, p.Heard[actor], seq); err != nil {
				return err
			}
		}
	}
	return nil
}

// logged returns errTooLittle unless the log has all events of an actor from
// after one up to another.
func (r *Replica) logged(snap store.Snapshot, index int, actor crdt.Actor, after, upTo uint64) error {
	if upTo > after && upTo-after > logStretch*uint64(r.options.LogLimit) {
		return fmt.Errorf("%w: %d events of %v are missing there", errTooLittle, upTo-after, actor)
	}
	for seq := after + 1; seq <= upTo; seq++ {
		event, _, err := readEvent(snap, index, crdt.Dot{Actor: actor, Seq: seq})
		if err != nil {
			return err
		}
		if event == nil {
			return fmt.Errorf("%w: event %d of %v is missing there, and in the log", errTooLittle, seq, actor)
		}
	}
	return nil
}

// replacePiece forgets what is in a range, and what was heard of it, for what
// the peer has and had heard.
func (g *group) replacePiece(c *change, r *replacement, p antientropy.Part) error {
	index, theirs := c.shard.index, p.Fields
	put := func(f crdt.FieldEntries) {
		key := entryKey(index, f.At)
		value := encodeField(key, f.Entries)
		c.mended = append(c.mended, store.Write{Key: key, Value: value})
		if id, err := f.At.FieldID(); err == nil {
			if w, ok := operationWrite(index, f.At, id, true); ok {
				c.mended = append(c.mended, w)
			}
		}
		g.size += fieldSize + len(f.At) + len(value)
	}
	err := scanAll(g.snap, entryKey(index, p.Lo), entryKey(index, p.Hi), func(key, _ []byte, _ error) error {
		at := positionOf(slices.Clone(key))
		if id, err := at.FieldID(); err == nil {
			r.had(id.Object)
		}
		for len(theirs) > 0 && theirs[0].At < at {
			put(theirs[0])
			theirs = theirs[1:]
		}
		if len(theirs) > 0 && theirs[0].At == at {
			put(theirs[0])
			theirs = theirs[1:]
			return nil
		}
		c.mended = append(c.mended, store.Write{Key: entryKey(index, at)})
		g.size += fieldSize + len(at)
		return nil
	})
	for _, f := range theirs {
		put(f)
	}
	c.heard.Forget(p.Lo, p.Hi)
	c.heard.Join(p.Lo, p.Hi, p.Heard)
	c.become(0) // whoever writes next is somebody new
	g.loop.replica.counters.pulled.Add(uint64(len(p.Fields)))
	return err
}

// finishLeaf sets digest, root and headers of a leaf that was replaced, given what
// of it is in this batch: the end of it. What is before is on disk.
func (g *group) finishLeaf(c *change, p *replacement, batch []antientropy.Part) error {
	index, lo := c.shard.index, leafStart(p.leaf)
	mid := leafStart(p.leaf + 1)
	if len(batch) > 0 {
		mid = batch[0].Lo
	}
	sum, err := entriesDigest(g.snap, g.loop.hasher, index, lo, mid)
	if err != nil {
		return err
	}
	fields := map[crdt.Object]uint64{}
	for o := range p.objects {
		fields[o] = 0
	}
	count := func(at crdt.Position) {
		if id, err := at.FieldID(); err == nil {
			fields[id.Object]++
		}
	}
	err = g.snap.Scan(entryKey(index, lo), entryKey(index, mid), func(key, _ []byte) error {
		count(positionOf(key))
		return nil
	})
	for _, part := range batch {
		sum = sum.Add(fieldsDigest(g.loop.hasher, part.Fields))
		for _, f := range part.Fields {
			count(f.At)
		}
	}
	for o, n := range fields {
		c.setHeader(o, n)
	}
	others, _ := otherLeaves(g.snap, index, p.leaf) // those that cannot be read are damaged themselves
	c.setLeaf(p.leaf, sum, others.Add(sum))
	return err
}

// setHeader says how many fields an object has.
func (c *change) setHeader(o crdt.Object, n uint64) {
	w := store.Write{Key: headerKey(c.shard.index, o)}
	if n > 0 {
		w.Value = encodeHeader(w.Key, n)
	}
	c.mended, c.touched = append(c.mended, w), true
}

// maxRecount is how many objects are counted in one batch.
const maxRecount = 1000

// recountAll counts the fields of objects and sets their headers, which follow
// from the entries.
func (r *Replica) recountAll(s *shard, objects []crdt.Object) error {
	for some := range slices.Chunk(objects, maxRecount) {
		recount := func(l *loop) error {
			g := l.newGroup()
			for _, o := range some {
				lo, hi := o.Range()
				n, err := countFields(g.snap, s.index, lo, hi, math.MaxUint64)
				if err != nil {
					g.snap.Close()
					return err
				}
				g.change(s).setHeader(o, n)
			}
			return g.commitOne(s)
		}
		if err := r.submitAndWait(r.tasks, task{shard: s, alone: recount}); err != nil {
			return err
		}
		r.counters.recounts.Add(uint64(len(some)))
	}
	return nil
}
