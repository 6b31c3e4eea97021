package gate

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// preface is what an HTTP/2 client sends first (RFC 9113, section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Gate is a net.Listener that lets only connections through which have sent the
// HTTP/2 preface. It reads at most the preface's bytes, one goroutine and 24 bytes
// per waiting connection, and closes what is garbage, slow or too much, so that
// a port scan or a foreign protocol costs gRPC nothing.
type Gate struct {
	inner      net.Listener
	timeout    time.Duration
	open       limit
	unprefaced limit
	refused    func(remote net.Addr, r Reason, err error)

	ready  chan net.Conn
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex // guards waiting and, against Close, additions to group
	over  bool
	waits map[net.Conn]struct{} // connections whose preface is awaited
	group sync.WaitGroup        // the accept loop and the greeters
}

// limit is a counter with a bound.
type limit struct {
	mu  sync.Mutex // guards n
	n   int
	max int
}

func (l *limit) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n >= l.max {
		return false
	}
	l.n++
	return true
}

func (l *limit) give() {
	l.mu.Lock()
	l.n--
	l.mu.Unlock()
}

// Reason says why a connection was closed, or that accepting failed.
type Reason string

// The reasons.
const (
	Connections Reason = "connections" // too many are open
	Unprefaced  Reason = "unprefaced"  // too many have not sent the preface
	Garbage     Reason = "garbage"     // it speaks something else
	Slow        Reason = "slow"        // the preface did not come in time
	Broken      Reason = "broken"      // it ended before the preface
	Accept      Reason = "accept"      // the listener failed for a moment
)

// Limits bound a Gate.
type Limits struct {
	Connections int           // open at once
	Unprefaced  int           // of them, waiting for their preface
	Timeout     time.Duration // until the preface is there
}

// New starts accepting from a listener; Close ends that, and Wait waits for it.
// refused is told of each refusal, from any goroutine.
func New(inner net.Listener, limits Limits, refused func(net.Addr, Reason, error)) *Gate {
	g := &Gate{
		inner: inner, timeout: limits.Timeout, refused: refused,
		open: limit{max: limits.Connections}, unprefaced: limit{max: limits.Unprefaced},
		ready: make(chan net.Conn), closed: make(chan struct{}), waits: map[net.Conn]struct{}{},
	}
	g.group.Go(g.accept)
	return g
}

// accept takes connections until the listener is closed. Errors that pass, such
// as a lack of file descriptors, are waited out.
func (g *Gate) accept() {
	pause := time.Duration(0)
	for {
		conn, err := g.inner.Accept()
		if err != nil {
			if pause = min(max(2*pause, 5*time.Millisecond), time.Second); !g.passes(err, pause) {
				g.once.Do(func() { close(g.closed) })
				return
			}
			continue
		}
		pause = 0
		if !g.open.take() {
			g.refuse(conn, Connections, nil)
			continue
		}
		counted := &gatedConn{Conn: conn, gate: g}
		if !g.unprefaced.take() {
			g.refuse(counted, Unprefaced, nil)
			continue
		}
		g.greet(counted)
	}
}

// passes waits after an error of Accept; false if the listener is gone.
func (g *Gate) passes(err error, pause time.Duration) bool {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
		return false
	}
	select {
	case <-g.closed:
		return false
	case <-time.After(pause):
		g.refused(g.inner.Addr(), Accept, err)
		return true
	}
}

// greet awaits a connection's preface on a goroutine of its own.
func (g *Gate) greet(conn *gatedConn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		g.unprefaced.give()
		conn.Close()
		return
	}
	g.waits[conn] = struct{}{}
	g.group.Go(func() {
		reason, err := conn.peek(g.timeout)
		g.mu.Lock()
		delete(g.waits, conn)
		g.mu.Unlock()
		g.unprefaced.give()
		if reason != "" {
			g.refuse(conn, reason, err)
			return
		}
		select {
		case g.ready <- conn:
		case <-g.closed:
			conn.Close()
		}
	})
}

// refuse says so and closes.
func (g *Gate) refuse(conn net.Conn, r Reason, err error) {
	g.refused(conn.RemoteAddr(), r, err)
	conn.Close()
}

// Accept implements net.Listener.
func (g *Gate) Accept() (net.Conn, error) {
	select {
	case conn := <-g.ready:
		return conn, nil
	case <-g.closed:
		return nil, net.ErrClosed
	}
}

// Close closes the listener and the connections that were not let through.
func (g *Gate) Close() error {
	g.once.Do(func() { close(g.closed) })
	err := g.inner.Close()
	g.mu.Lock()
	g.over = true
	for conn := range g.waits {
		conn.Close()
	}
	g.mu.Unlock()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Wait returns after the gate's last goroutine; the gate must be closed.
func (g *Gate) Wait() { g.group.Wait() }

// Addr implements net.Listener.
func (g *Gate) Addr() net.Addr { return g.inner.Addr() }

// gatedConn is a connection that replays the preface that was read from it, and
// gives its place back when closed.
type gatedConn struct {
	net.Conn
	gate   *Gate
	unread []byte
	once   sync.Once
}

// peek reads the preface. Bytes that differ are found out as they come. The
// reason is empty if it is complete.
func (c *gatedConn) peek(timeout time.Duration) (reason Reason, err error) {
	if err := c.Conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return Broken, err
	}
	var buf [len(preface)]byte
	for n := 0; n < len(buf); {
		m, err := c.Conn.Read(buf[n:])
		n += m
		if string(buf[:n]) != preface[:n] {
			return Garbage, fmt.Errorf("does not speak HTTP/2: %q", buf[:n])
		}
		var late net.Error
		switch {
		case n == len(buf):
		case errors.As(err, &late) && late.Timeout():
			return Slow, err
		case err != nil:
			return Broken, err
		}
	}
	c.unread = buf[:]
	if err := c.Conn.SetReadDeadline(time.Time{}); err != nil {
		return Broken, err
	}
	return "", nil
}

// Read yields the preface first.
func (c *gatedConn) Read(b []byte) (int, error) {
	if len(c.unread) > 0 {
		n := copy(b, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// Close closes the connection; its place is free again.
func (c *gatedConn) Close() error {
	c.once.Do(c.gate.open.give)
	return c.Conn.Close()
}
