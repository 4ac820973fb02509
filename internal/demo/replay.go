package demo

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/traffic"
)

// The keys that the demo writes.
const (
	hitsKey     = "hits"
	visitorsKey = "visitors"
)

func pathKey(path string) string    { return "hits:" + path }
func dayKey(day string) string      { return "visitors:" + day }
func seenKey(visitor string) string { return "seen:" + visitor }

// replay turns hits into operations. Each visitor belongs to one region and
// one of its clients, as if routed by address, so that the visitor's last-seen
// register is written in order. All else is written in all regions at once.
type replay struct {
	queues map[string][]chan traffic.Hit // by region, one for each client
	done   atomic.Int64
	wg     sync.WaitGroup
	close  func()
	failed chan error // holds the first error
}

// queueHits is how many hits may wait for one client.
const queueHits = 16

func newReplay(c *cluster, clients int) *replay {
	r := &replay{queues: map[string][]chan traffic.Hit{}, failed: make(chan error, 1)}
	for _, region := range regions {
		for range clients {
			queue := make(chan traffic.Hit, queueHits)
			r.queues[region] = append(r.queues[region], queue)
			r.wg.Go(func() { r.run(c.clients[region], queue) })
		}
	}
	r.close = sync.OnceFunc(func() {
		for _, queues := range r.queues {
			for _, queue := range queues {
				close(queue)
			}
		}
	})
	return r
}

// send hands a hit to its region's client.
func (r *replay) send(ctx context.Context, hit traffic.Hit) error {
	h := fnv.New64a()
	_, _ = h.Write([]byte(hit.Client)) // never fails
	n := h.Sum64()
	queues := r.queues[regions[n%uint64(len(regions))]]
	select {
	case queues[n/uint64(len(regions))%uint64(len(queues))] <- hit:
		return nil
	case err := <-r.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait returns once everything sent is written, or with the first error.
func (r *replay) wait() error {
	r.stop()
	select {
	case err := <-r.failed:
		return err
	default:
		return nil
	}
}

// stop lets the clients end what they have.
func (r *replay) stop() {
	r.close()
	r.wg.Wait()
}

// run writes hits until the queue ends. After an error it only empties it.
func (r *replay) run(c *client.Client, queue <-chan traffic.Hit) {
	seen := map[string]time.Time{}
	broken := false
	for hit := range queue {
		if broken {
			continue
		}
		if err := write(c, hit, seen); err != nil {
			broken = true
			select {
			case r.failed <- fmt.Errorf("writing a hit: %w", err):
			default:
			}
		}
		r.done.Add(1)
	}
}

func write(c *client.Client, hit traffic.Hit, seen map[string]time.Time) error {
	ctx := context.Background() // the client's timeout bounds each call
	if _, err := c.Counter(hitsKey).Add(ctx, 1); err != nil {
		return err
	}
	if _, err := c.Counter(pathKey(hit.Path)).Add(ctx, 1); err != nil {
		return err
	}
	if _, err := c.Set(dayKey(hit.Day())).Add(ctx, hit.Client); err != nil {
		return err
	}
	if _, err := c.Set(visitorsKey).Add(ctx, hit.Client); err != nil {
		return err
	}
	// Logs are written as requests end, not as they come.
	if last, ok := seen[hit.Client]; ok && !hit.Time.After(last) {
		return nil
	}
	seen[hit.Client] = hit.Time
	return c.Register(seenKey(hit.Client)).Set(ctx, []byte(hit.Time.Format(time.RFC3339)))
}
