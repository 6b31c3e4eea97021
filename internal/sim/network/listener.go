package network

import (
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Listener accepts streams.
type Listener struct {
	host    *Host
	address netip.AddrPort
	backlog []*Conn
	arrived gate
	closed  bool
}

// Accept waits for the next stream.
func (l *Listener) Accept() (net.Conn, error) {
	n := l.host.network
	for {
		n.mu.Lock()
		if l.closed {
			n.mu.Unlock()
			return nil, opError("accept", "tcp", l.Addr(), net.ErrClosed)
		}
		if len(l.backlog) > 0 {
			c := l.backlog[0]
			l.backlog = l.backlog[1:]
			n.stats.Accepted++
			n.mu.Unlock()
			return c, nil
		}
		arrived := l.arrived.wait()
		n.mu.Unlock()
		<-arrived
	}
}

// Close stops accepting; streams not accepted yet are reset.
func (l *Listener) Close() error {
	n := l.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.closed {
		return opError("close", "tcp", l.Addr(), net.ErrClosed)
	}
	l.close()
	delete(l.host.listeners, l.address.Port())
	return nil
}

// close ends the listener. The network's mutex is held.
func (l *Listener) close() {
	l.closed = true
	now := time.Now()
	for _, c := range l.backlog {
		if !c.peer.ended() {
			c.peer.in.end(now, syscall.ECONNRESET)
		}
		c.fail(net.ErrClosed)
	}
	l.backlog = nil
	l.arrived.fire()
}

// Addr returns the address that the listener accepts on.
func (l *Listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.address) }

// gate lets goroutines wait for a change: they take the channel with the
// network's mutex held and wait without it.
type gate struct{ c chan struct{} }

func (g *gate) wait() <-chan struct{} {
	if g.c == nil {
		g.c = make(chan struct{})
	}
	return g.c
}

func (g *gate) fire() {
	if g.c != nil {
		close(g.c)
		g.c = nil
	}
}
