package badgerstore

import "sync"

// gate counts the calls in progress and lets no more in once it is closed. It
// is not a sync.RWMutex because calls nest (a visit of Scan may Get), which
// would deadlock with a waiting writer.
type gate struct {
	mu     sync.Mutex
	inside int
	closed bool
	idle   chan struct{} // closed when the gate is closed and nobody inside
}

func newGate() *gate { return &gate{idle: make(chan struct{})} }

// enter reports whether the gate is open; if so, the caller owes a leave.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.closed && g.inside == 0 {
		close(g.idle)
	}
}

// close lets nobody in any more, waits until everybody has left and reports
// whether the gate was open before.
func (g *gate) close() bool {
	g.mu.Lock()
	first := !g.closed
	g.closed = true
	if first && g.inside == 0 {
		close(g.idle)
	}
	g.mu.Unlock()
	<-g.idle
	return first
}
