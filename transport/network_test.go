package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// network is an in-memory network that can be cut silently. (bufconn would do,
// but starts timers of no length, and two of those at once in one bubble crash
// the race detector of Go 1.26.)
type network struct {
	isCut atomic.Bool

	mu     sync.Mutex // guards the rest
	hosts  map[string]*host
	halves []*half
	healed chan struct{} // closed when the network is not cut
}

func newNetwork() *network {
	n := &network{hosts: map[string]*host{}, healed: make(chan struct{})}
	close(n.healed)
	return n
}

// block cuts the network: what is sent arrives after heal.
func (n *network) block() (heal func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	healed := make(chan struct{})
	n.healed = healed
	n.isCut.Store(true)
	return func() {
		n.isCut.Store(false)
		close(healed)
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, h := range n.halves {
			h.change(func() {})
		}
	}
}

// host is a listener.
type host struct {
	address hostname
	queue   chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

type hostname string

func (hostname) Network() string  { return "memory" }
func (a hostname) String() string { return string(a) }

// listen replaces whoever listened at the address before.
func (n *network) listen(address string) net.Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &host{address: hostname(address), queue: make(chan net.Conn, 128), closed: make(chan struct{})}
	n.hosts[address] = h
	return h
}

func (h *host) Accept() (net.Conn, error) {
	select {
	case c := <-h.queue:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *host) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *host) Addr() net.Addr { return h.address }

func (n *network) dial(ctx context.Context, address string) (net.Conn, error) {
	n.mu.Lock()
	h, healed := n.hosts[address], n.healed
	n.mu.Unlock()
	select {
	case <-healed:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	refused := errors.New("connection refused: " + address)
	if h == nil {
		return nil, refused
	}
	there, back := newHalf(n), newHalf(n)
	n.mu.Lock()
	n.halves = append(n.halves, there, back)
	n.mu.Unlock()
	select {
	case <-h.closed:
		return nil, refused
	default:
	}
	select {
	case h.queue <- &memoryConn{in: there, out: back, local: h.address}:
		return &memoryConn{in: back, out: there, local: "dialler"}, nil
	case <-h.closed:
		return nil, refused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// half is one direction of a connection.
type half struct {
	n *network

	mu      sync.Mutex // guards the rest
	changed *sync.Cond
	buf     []byte
	ended   bool // the writer has closed
	left    bool // the reader has closed
	late    bool // the read deadline has passed
	timer   *time.Timer
}

// halfMax is what a half holds before its writer waits.
const halfMax = 1 << 20

func newHalf(n *network) *half {
	h := &half{n: n}
	h.changed = sync.NewCond(&h.mu)
	return h
}

func (h *half) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	h.changed.Broadcast()
}

func (h *half) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		arrived := !h.n.isCut.Load()
		switch {
		case h.left:
			return 0, net.ErrClosed
		case arrived && len(h.buf) > 0:
			k := copy(b, h.buf)
			h.buf = h.buf[k:]
			h.changed.Broadcast()
			return k, nil
		case arrived && h.ended:
			return 0, io.EOF
		case h.late:
			return 0, os.ErrDeadlineExceeded
		}
		h.changed.Wait()
	}
}

func (h *half) write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.buf) > halfMax && !h.left && !h.ended {
		h.changed.Wait()
	}
	if h.left || h.ended {
		return 0, net.ErrClosed
	}
	h.buf = append(h.buf, b...)
	h.changed.Broadcast()
	return len(b), nil
}

// memoryConn is one end of a connection.
type memoryConn struct {
	in, out *half
	local   hostname
}

func (c *memoryConn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *memoryConn) Write(b []byte) (int, error) { return c.out.write(b) }

func (c *memoryConn) Close() error {
	c.in.change(func() { c.in.left = true })
	c.out.change(func() { c.out.ended = true })
	return c.SetReadDeadline(time.Time{})
}

func (c *memoryConn) LocalAddr() net.Addr              { return c.local }
func (c *memoryConn) RemoteAddr() net.Addr             { return hostname("remote") }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }
func (c *memoryConn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }

func (c *memoryConn) SetReadDeadline(t time.Time) error {
	h := c.in
	h.change(func() {
		if h.timer != nil {
			h.timer.Stop()
			h.timer = nil
		}
		left := time.Until(t)
		h.late = !t.IsZero() && left <= 0
		if left > 0 {
			h.timer = time.AfterFunc(left, func() { h.change(func() { h.late = true }) })
		}
	})
	return nil
}
