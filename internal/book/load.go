package book

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/client"
)

const (
	// writeTimeout is how long a client waits for the answer to a write.
	writeTimeout = 3 * time.Second
	// failedPause keeps clients that nobody serves from spinning.
	failedPause = 20 * time.Millisecond
)

// LoadOptions says who writes what.
type LoadOptions struct {
	// Servers holds the servers of each client: there are as many clients.
	Servers [][]string
	// As says how the clients log in. Servers, Name and Timeout are set here.
	As client.Options
	// Seed decides what is written.
	Seed uint64
	// Prefix tells the sets and registers of this load from those of others.
	// Counters have no prefix: they go on.
	Prefix string
	// Levels are those of the clients, in turn. Default: one. Where linearizable
	// is the only one, they read registers, too.
	Levels []client.Consistency
	// Pause is the time between two writes of a client. Default: none.
	Pause time.Duration
}

// Load is clients that write until it is ended.
type Load struct {
	// Book is what they were told.
	Book *Book

	stop    context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	strange error // the first that says nothing of its outcome
	done    atomic.Int64
}

// StartLoad connects clients, which then write into the book. The context is
// that of connecting.
func StartLoad(ctx context.Context, b *Book, o LoadOptions) (*Load, error) {
	going, stop := context.WithCancel(context.Background())
	l := &Load{Book: b, stop: stop}
	for i, servers := range o.Servers {
		as := o.As
		as.Servers, as.Name, as.Timeout = servers, fmt.Sprint("load-", i), writeTimeout
		conn, err := client.Connect(ctx, as)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("book: client %d: %w", i, err), l.End())
		}
		at := conn
		if n := len(o.Levels); n > 0 {
			if at, err = conn.At(o.Levels[i%n]); err != nil {
				return nil, errors.Join(err, conn.Close(), l.End())
			}
		}
		w := &writer{
			load: l, options: o, id: i, client: at, book: b, random: rand.New(rand.NewPCG(o.Seed, uint64(i))),
			exact: slices.Equal(o.Levels, []client.Consistency{client.Linearizable}),
		}
		l.running.Go(func() {
			defer conn.Close()
			for going.Err() == nil {
				pause := o.Pause
				if w.write() == Done {
					l.done.Add(1)
				} else {
					pause = max(pause, failedPause)
				}
				if pause > 0 {
					select {
					case <-time.After(pause):
					case <-going.Done():
					}
				}
			}
		})
	}
	return l, nil
}

// Done returns how many writes and reads were acknowledged.
func (l *Load) Done() int { return int(l.done.Load()) }

// End lets the writes under way end, and starts no more. It returns an error
// if one of them failed in a way that says nothing of its outcome.
func (l *Load) End() error {
	l.stop()
	l.running.Wait()
	return l.strange
}

// writer is one client.
type writer struct {
	load    *Load
	options LoadOptions
	id      int
	client  *client.Client
	book    *Book
	random  *rand.Rand
	n       int         // writes so far; makes values differ
	mine    [][2]string // set and element, added for sure and not removed
	exact   bool        // all of the load is linearizable
}

// write does one write, or a linearizable read, and books it. The context has no end of its own, so
// that a write is not given up when the load ends.
func (w *writer) write() Outcome {
	w.n++
	switch dice := w.random.IntN(10); {
	case dice < 4:
		return w.count()
	case dice < 7 || dice == 7 && len(w.mine) == 0:
		return w.add()
	case dice == 7:
		return w.remove()
	case w.exact && w.random.IntN(2) == 0:
		return w.look()
	default:
		return w.set()
	}
}

func (w *writer) value() string { return fmt.Sprintf("%d/%d", w.id, w.n) }

func (w *writer) count() Outcome {
	key, k := fmt.Sprint("counter-", w.random.IntN(40)), int64(1+w.random.IntN(5))
	switch w.random.IntN(4) {
	case 0:
		key = "counter-hot"
	case 1:
		k = -k
	}
	began := time.Now()
	_, err := w.client.Counter(key).Add(context.Background(), k)
	o := w.outcome(err)
	w.book.AddedTo(key, k, o, began)
	return o
}

func (w *writer) add() Outcome {
	set, name := fmt.Sprint(w.options.Prefix, "set-", w.random.IntN(8)), w.value()
	began := time.Now()
	_, err := w.client.Set(set).Add(context.Background(), name)
	o := w.outcome(err)
	w.book.AddedElement(set, name, o, began)
	if o == Done {
		w.mine = append(w.mine, [2]string{set, name})
	}
	return o
}

func (w *writer) remove() Outcome {
	i := w.random.IntN(len(w.mine))
	set, name := w.mine[i][0], w.mine[i][1]
	w.mine[i] = w.mine[len(w.mine)-1]
	w.mine = w.mine[:len(w.mine)-1]
	began := time.Now()
	n, err := w.client.Set(set).Remove(context.Background(), name)
	o := w.outcome(err)
	w.book.RemovedElement(set, name, n == 1, o, began)
	return o
}

func (w *writer) register() string {
	return fmt.Sprint(w.options.Prefix, "register-", w.random.IntN(12))
}

func (w *writer) look() Outcome {
	key := w.register()
	began := time.Now()
	value, err := w.client.Register(key).Get(context.Background())
	if errors.Is(err, client.ErrNotFound) {
		err = nil
	}
	o := w.outcome(err)
	if o == Done {
		w.book.Looked(key, string(value), began)
	}
	return o
}

func (w *writer) set() Outcome {
	key, value := w.register(), w.value()
	began := time.Now()
	o := w.outcome(w.client.Register(key).Set(context.Background(), []byte(value)))
	w.book.Wrote(key, value, o, began)
	return o
}

func (w *writer) outcome(err error) Outcome {
	o, ok := OutcomeOf(err)
	if !ok {
		w.load.mu.Lock()
		defer w.load.mu.Unlock()
		if w.load.strange == nil {
			w.load.strange = fmt.Errorf("book: client %d: a write failed with an error that says nothing of its outcome: %w", w.id, err)
		}
		return Unknown
	}
	return o
}
