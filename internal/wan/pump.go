package wan

import (
	"io"
	"net"
	"sync"
	"time"
)

const (
	// chunkBytes is how much is read at once.
	chunkBytes = 64 << 10
	// underWayBytes bounds what is on its way in one direction of a
	// connection; beyond, the sender waits.
	underWayBytes = 16 << 20
)

// pump moves bytes from one end of a connection to the other, until either
// fails. Then it closes both.
func (n *Network) pump(c *connection, from io.Reader, to net.Conn, w *way) {
	line := newLine()
	var reader sync.WaitGroup
	reader.Go(func() {
		defer line.end()
		buffer := make([]byte, chunkBytes)
		for {
			// Not reading while there is silence makes the sender's buffers
			// fill up, as they would.
			if !n.pass(c) {
				return
			}
			count, err := from.Read(buffer)
			if count > 0 {
				due := time.Now().Add(time.Duration(w.delay.Load()))
				line.push(chunk{append([]byte(nil), buffer[:count]...), due})
			}
			if err != nil {
				return
			}
		}
	})
	for n.forward(c, line, to, w) {
	}
	n.hangUp(c)
	line.end()
	reader.Wait()
}

// forward writes the next chunk once it is due and may cross. It says whether
// to go on.
func (n *Network) forward(c *connection, line *line, to net.Conn, w *way) bool {
	next, ok := line.pop()
	if !ok {
		return false
	}
	if early := time.Until(next.due); early > 0 {
		timer := time.NewTimer(early)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.closed:
			return false
		}
	}
	if !n.pass(c) {
		return false
	}
	// Counted first, so that who has received them finds them counted.
	w.bytes.Add(int64(len(next.data)))
	count, err := to.Write(next.data)
	w.bytes.Add(int64(count - len(next.data)))
	return err == nil
}

// chunk is bytes read together, and when they arrive.
type chunk struct {
	data []byte
	due  time.Time
}

// line is the bytes on their way, in order.
type line struct {
	mu      sync.Mutex
	changed sync.Cond
	chunks  []chunk
	bytes   int
	ended   bool
}

func newLine() *line {
	l := &line{}
	l.changed.L = &l.mu
	return l
}

// push adds a chunk, once there is room.
func (l *line) push(c chunk) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.bytes > underWayBytes && !l.ended {
		l.changed.Wait()
	}
	l.chunks = append(l.chunks, c)
	l.bytes += len(c.data)
	l.changed.Broadcast()
}

// pop takes the oldest chunk, once there is one. After the end it takes what
// is left, then fails.
func (l *line) pop() (chunk, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.chunks) == 0 && !l.ended {
		l.changed.Wait()
	}
	if len(l.chunks) == 0 {
		return chunk{}, false
	}
	c := l.chunks[0]
	l.chunks = l.chunks[1:]
	l.bytes -= len(c.data)
	l.changed.Broadcast()
	return c, true
}

func (l *line) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.changed.Broadcast()
}
