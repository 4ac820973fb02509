package wan

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
)

// lineBytes bounds the first line of either side.
const lineBytes = 64 << 10

// connection is what a region's gateway dialled, and what it was put through to.
type connection struct {
	to     string
	closed chan struct{}

	// Guarded by network.mu.
	from   string // "" until the dialling side has said it
	ends   []net.Conn
	ending bool
}

func (n *Network) accept(region string, listener net.Listener) {
	for {
		dialer, err := listener.Accept()
		if err != nil {
			return // the network closes
		}
		n.running.Go(func() { n.serve(&connection{to: region, closed: make(chan struct{})}, dialer) })
	}
}

// serve puts one connection through, until either end closes it or a cut does.
func (n *Network) serve(c *connection, dialer net.Conn) {
	defer n.forget(c)
	if !n.add(c, dialer) || !n.pass(c) {
		return
	}
	gateway := n.dial(c)
	if gateway == nil || !n.add(c, gateway) {
		return
	}
	fromGateway, fromDialer := bufio.NewReaderSize(gateway, lineBytes), bufio.NewReaderSize(dialer, lineBytes)
	greeting, err := fromGateway.ReadSlice('\n')
	if err != nil || !n.pass(c) {
		return
	}
	if _, err := dialer.Write(greeting); err != nil {
		return
	}
	line, err := fromDialer.ReadSlice('\n')
	if err != nil {
		return
	}
	from, err := dialledBy(line)
	if err != nil || !n.identify(c, from) {
		return
	}
	line = bytes.Clone(line) // the reader reuses it
	there, back := n.ways[pair{from, c.to}], n.ways[pair{c.to, from}]
	back.bytes.Add(int64(len(greeting)))
	var pumps sync.WaitGroup
	pumps.Go(func() { n.pump(c, io.MultiReader(bytes.NewReader(line), fromDialer), gateway, there) })
	pumps.Go(func() { n.pump(c, fromGateway, dialer, back) })
	pumps.Wait()
}

// dial connects to the next gateway of the region that answers; nil if none.
// It waits for the first one to be attached.
func (n *Network) dial(c *connection) net.Conn {
	gateways := n.attached(c.to, c.closed)
	n.mu.Lock()
	n.turns++
	turn := n.turns
	n.mu.Unlock()
	for i := range gateways {
		if conn, err := net.Dial("tcp", gateways[(turn+i)%len(gateways)]); err == nil {
			return conn
		}
	}
	return nil
}

// dialledBy returns the region in the line with which a gateway introduces
// itself.
func dialledBy(line []byte) (string, error) {
	text, ok := bytes.CutPrefix(line, []byte("CONNECT "))
	var connect struct{ Gateway string }
	if !ok {
		return "", fmt.Errorf("wan: %.40q is not CONNECT", line)
	}
	if err := json.Unmarshal(text, &connect); err != nil {
		return "", fmt.Errorf("wan: CONNECT: %w", err)
	}
	return connect.Gateway, nil
}

// add makes conn an end of c, unless c has to end.
func (n *Network) add(c *connection, conn net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.closed:
		c.end(reset)
	default:
	}
	if c.ending || n.mode(c) == Reset {
		reset(conn)
		return false
	}
	c.ends = append(c.ends, conn)
	n.open[c] = struct{}{}
	return true
}

// identify notes who dials, and says whether that region may.
func (n *Network) identify(c *connection, from string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ways[pair{from, c.to}] == nil {
		return false
	}
	c.from = from
	return !c.ending && n.mode(c) != Reset
}

// pass waits while c is to be silent. It says whether bytes may cross then.
func (n *Network) pass(c *connection) bool {
	for {
		n.mu.Lock()
		mode, changed := n.mode(c), n.changed
		n.mu.Unlock()
		switch mode {
		case 0:
			return true
		case Reset:
			return false
		}
		select {
		case <-changed:
		case <-c.closed:
			return false
		}
	}
}

func (n *Network) forget(c *connection) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.open, c)
	c.end(reset)
}

// hangUp ends c after what was written to it.
func (n *Network) hangUp(c *connection) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c.end(func(conn net.Conn) { _ = conn.Close() })
}

// end closes both ends by how, unless that was done before. network.mu is held.
func (c *connection) end(how func(net.Conn)) {
	if c.ending {
		return
	}
	c.ending = true
	close(c.closed)
	for _, conn := range c.ends {
		how(conn)
	}
}

// reset closes conn so that its peer is told at once, and drops what is
// still to be sent.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
