package cluster_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/cluster"
)

const (
	// writeTimeout is how long a client waits for the answer to a write.
	writeTimeout = 3 * time.Second
	// failedPause keeps clients that nobody serves from spinning.
	failedPause = 20 * time.Millisecond
)

// load is clients that write, spread over the regions, until it is stopped.
type load struct {
	book    *book
	stop    context.CancelFunc
	running sync.WaitGroup
}

// startLoad starts n clients, which differ by their number. Every other one
// knows the next region as well, and goes there when its own is gone.
func startLoad(t *testing.T, c *cluster.Cluster, seed uint64, n int) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{book: newBook(), stop: stop}
	t.Cleanup(l.end)
	for i := range n {
		servers := []string{c.Members[i%len(c.Members)].Client}
		if i/len(c.Members)%2 == 1 {
			servers = append(servers, c.Members[(i+1)%len(c.Members)].Client)
		}
		conn, err := client.Connect(ctx, client.Options{Servers: servers, Name: fmt.Sprint("load-", i), Timeout: writeTimeout})
		if err != nil {
			t.Fatal(err)
		}
		w := &writer{
			t: t, id: i, client: conn, book: l.book, random: rand.New(rand.NewPCG(seed, uint64(i))),
		}
		l.running.Go(func() {
			defer conn.Close()
			for ctx.Err() == nil {
				if w.write() != done {
					select {
					case <-time.After(failedPause):
					case <-ctx.Done():
					}
				}
			}
		})
	}
	return l
}

// end lets the writes under way end, and starts no more.
func (l *load) end() {
	l.stop()
	l.running.Wait()
}

// writer is one client.
type writer struct {
	t      *testing.T
	id     int
	client *client.Client
	book   *book
	random *rand.Rand
	n      int         // writes so far; makes values differ
	mine   [][2]string // set and element, added for sure and not removed
}

// write does one write and books it. The context has no end of its own, so
// that a write is not given up when the load ends.
func (w *writer) write() outcome {
	ctx, began := context.Background(), time.Now()
	w.n++
	value := fmt.Sprintf("%d/%d", w.id, w.n)
	switch dice := w.random.IntN(10); {
	case dice < 4:
		key, k := fmt.Sprint("counter-", w.random.IntN(40)), int64(1+w.random.IntN(5))
		switch w.random.IntN(4) {
		case 0:
			key = "counter-hot"
		case 1:
			k = -k
		}
		_, err := w.client.Counter(key).Add(ctx, k)
		o := w.outcome(err)
		w.book.addedTo(key, k, o, began)
		return o
	case dice < 7 || dice == 7 && len(w.mine) == 0:
		set := fmt.Sprint("set-", w.random.IntN(8))
		_, err := w.client.Set(set).Add(ctx, value)
		o := w.outcome(err)
		w.book.addedElement(set, value, o, began)
		if o == done {
			w.mine = append(w.mine, [2]string{set, value})
		}
		return o
	case dice == 7:
		i := w.random.IntN(len(w.mine))
		set, name := w.mine[i][0], w.mine[i][1]
		w.mine[i] = w.mine[len(w.mine)-1]
		w.mine = w.mine[:len(w.mine)-1]
		n, err := w.client.Set(set).Remove(ctx, name)
		o := w.outcome(err)
		w.book.removedElement(set, name, n == 1, o, began)
		return o
	default:
		key := fmt.Sprint("register-", w.random.IntN(12))
		o := w.outcome(w.client.Register(key).Set(ctx, []byte(value)))
		w.book.wrote(key, value, o, began)
		return o
	}
}

func (w *writer) outcome(err error) outcome {
	o, ok := outcomeOf(err)
	if !ok {
		w.t.Errorf("client %d: a write failed with an error that says nothing of its outcome: %v", w.id, err)
		return unknown
	}
	return o
}
