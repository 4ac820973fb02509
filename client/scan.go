package client

import (
	"bytes"
	"container/heap"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/ring"
	pb "github.com/atolldb/atoll/proto"
)

const (
	// scanAtOnce is how many shards a scan asks at the same time.
	scanAtOnce = 16
	// scanAhead is how many objects a scan has in memory, about, and a page of one
	// shard has minScanPage to maxScanPage.
	scanAhead   = 1 << 15
	minScanPage = 16
	maxScanPage = 1000
)

// Object is what a scan shows of an object.
type Object struct {
	Key  string
	Type crdt.Type
	// Len is how many elements a set has; 1 for others.
	Len int
}

// ScanOptions says which objects a scan is to show.
type ScanOptions struct {
	// Prefix is what keys begin with. If it has a whole {tag}, one shard is asked.
	Prefix string
	// Type is that of the objects; 0 is every type.
	Type crdt.Type
	// Limit is how many objects are enough; 0 is no limit.
	Limit int
}

// Scan yields the objects that there are, in the order of the bytes of their keys,
// page by page from all shards. Each is seen once; those that come or go meanwhile
// may be seen or not. An error is the last thing yielded.
func (c *Client) Scan(ctx context.Context, o ScanOptions) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		if o.Limit < 0 {
			yield(Object{}, fmt.Errorf("%w: a limit of %d objects; it takes 0 or more", ErrInvalid, o.Limit))
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		s := &scan{client: c, options: o, slots: make(chan struct{}, scanAtOnce), over: make(chan struct{})}
		defer s.asking.Wait()
		defer close(s.over)
		defer cancel()
		if err := s.start(ctx); err != nil {
			yield(Object{}, err)
			return
		}
		for n := 0; len(s.shards) > 0 && (o.Limit == 0 || n < o.Limit); n++ {
			if !yield(s.shards[0].page[0].object(), nil) {
				return
			}
			if err := s.advance(); err != nil {
				yield(Object{}, err)
				return
			}
		}
	}
}

// scan merges the scans of shards.
type scan struct {
	client  *Client
	options ScanOptions
	slots   chan struct{}
	over    chan struct{} // closed when nobody takes pages any more
	asking  sync.WaitGroup
	shards  []*shardScan // a heap: that with the lowest object first
}

// shardScan is the scan of a shard. Its page is not empty.
type shardScan struct {
	page []found
	next <-chan page
}

// page is what comes next of a shard, or why nothing does.
type page struct {
	objects []found
	err     error
}

// found is an object by its cursor, which is its key and, as a byte, its type.
type found struct {
	cursor string
	len    int
}

func (f found) object() Object {
	n := len(f.cursor) - 1
	return Object{f.cursor[:n], crdt.Type(f.cursor[n]), f.len}
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (s *scan) Len() int           { return len(s.shards) }
func (s *scan) Less(i, j int) bool { return s.shards[i].page[0].cursor < s.shards[j].page[0].cursor }
func (s *scan) Swap(i, j int)      { s.shards[i], s.shards[j] = s.shards[j], s.shards[i] }
func (s *scan) Push(x any)         { s.shards = append(s.shards, x.(*shardScan)) }
func (s *scan) Pop() any {
	last := len(s.shards) - 1
	x := s.shards[last]
	s.shards = s.shards[:last]
	return x
}

// start asks the shards that can have such keys for their first pages.
func (s *scan) start(ctx context.Context) error {
	c, prefix := s.client, s.options.Prefix
	low, high := 0, c.shards
	if ring.Tag(prefix) != prefix {
		low = ring.Shard(prefix, c.shards)
		high = low + 1
	}
	limit := min(max(scanAhead/(high-low), minScanPage), maxScanPage)
	if s.options.Limit > 0 {
		limit = min(limit, s.options.Limit)
	}
	var all []*shardScan
	for shard := low; shard < high; shard++ {
		next := make(chan page)
		all = append(all, &shardScan{next: next})
		s.asking.Go(func() { s.ask(ctx, shard, limit, next) })
	}
	for _, of := range all {
		p, ok := <-of.next
		if p.err != nil {
			return p.err
		}
		if ok {
			of.page = p.objects
			s.shards = append(s.shards, of)
		}
	}
	heap.Init(s)
	return nil
}

// advance goes on to the next object.
func (s *scan) advance() error {
	of := s.shards[0]
	if of.page = of.page[1:]; len(of.page) > 0 {
		heap.Fix(s, 0)
		return nil
	}
	p, ok := <-of.next
	switch {
	case p.err != nil:
		return p.err
	case !ok:
		heap.Pop(s)
	default:
		of.page = p.objects
		heap.Fix(s, 0)
	}
	return nil
}

// ask asks a shard for page after page, one more than was taken, until there are
// no more: it says an error before it ends.
func (s *scan) ask(ctx context.Context, shard, limit int, pages chan<- page) {
	defer close(pages)
	for after := []byte(nil); ; {
		var p page
		s.slots <- struct{}{}
		p.objects, after, p.err = s.client.scanPage(ctx, shard, s.options, after, limit)
		<-s.slots
		if len(p.objects) > 0 || p.err != nil {
			select {
			case pages <- p:
			case <-s.over:
				return
			}
		}
		if p.err != nil || len(after) == 0 {
			return
		}
	}
}

// scanPage asks for the objects after a cursor, and returns the next cursor.
func (c *Client) scanPage(ctx context.Context, shard int, o ScanOptions, after []byte, limit int) ([]found, []byte, error) {
	results, err := c.inShard(ctx, shard, nil, &pb.Operation{
		Key: []byte(o.Prefix), What: &pb.Operation_Scan{Scan: &pb.Scan{After: after, Limit: uint32(limit), Type: uint32(o.Type)}},
	})
	if err != nil {
		return nil, nil, err
	}
	last, more := string(after), results[0].GetMore()
	var objects []found
	for _, m := range results[0].GetObjects() {
		of := crdt.Type(m.GetType())
		f := found{string(append(slices.Clip(m.GetKey()), byte(of))), int(m.GetFields())}
		if f.cursor <= last || !strings.HasPrefix(f.cursor[:len(f.cursor)-1], o.Prefix) || !slices.Contains(crdt.Types[:], of) {
			return nil, nil, fmt.Errorf("%w: a page of a scan with %.64q, which is not to be on it", ErrUnavailable, m.GetKey())
		}
		objects, last = append(objects, f), f.cursor
	}
	if len(more) > 0 && (string(more) < last || bytes.Equal(more, after)) { // it would go on for ever
		return nil, nil, fmt.Errorf("%w: a page of a scan that leads nowhere", ErrUnavailable)
	}
	return objects, more, nil
}
