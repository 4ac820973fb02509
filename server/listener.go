package server

import (
	"net"
	"sync"
)

// boundedListener accepts a bounded number of connections at once: those beyond
// wait, in the hands of the system, until one is closed.
type boundedListener struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	close  sync.Once
}

func bound(l net.Listener, connections int) *boundedListener {
	return &boundedListener{Listener: l, places: make(chan struct{}, connections), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &placed{Conn: conn, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

// Close implements net.Listener.
func (l *boundedListener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// placed is a connection that has a place.
type placed struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *placed) Close() error {
	c.leave()
	return c.Conn.Close()
}
