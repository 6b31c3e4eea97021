package network

import (
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// window is how many bytes may be on their way or unread in one direction.
const window = 256 << 10

// segment is what one Write put on its way, or the end of the stream.
type segment struct {
	data    []byte
	arrives time.Time
	end     error // io.EOF or a reset; then there is no data
}

// half is one direction of a stream. The network's mutex guards it.
type half struct {
	link     *link
	queue    []segment
	head     int // first segment of queue
	buffered int // bytes not read yet
	last     time.Time
	ending   bool // the end was queued
	readable gate
	writable gate
}

func newHalf(l *link) *half {
	h := &half{link: l}
	l.halves[h] = struct{}{}
	return h
}

// push puts a segment on its way, behind the earlier ones.
func (h *half) push(now time.Time, s segment) {
	s.arrives = h.link.segmentArrives(now, len(s.data))
	if s.arrives.Before(h.last) {
		s.arrives = h.last
	}
	h.last = s.arrives
	h.queue = append(h.queue, s)
	h.buffered += len(s.data)
	h.readable.fire()
}

// end puts the end of the stream on its way.
func (h *half) end(now time.Time, err error) {
	if !h.ending {
		h.ending = true
		h.push(now, segment{end: err})
	}
}

// resume moves what a block since a time held up to when it arrives after all.
func (h *half) resume(since, resumed time.Time) {
	for i := h.head; i < len(h.queue); i++ {
		s := &h.queue[i]
		if s.arrives.After(since) && s.arrives.Before(resumed) {
			s.arrives = resumed
		}
		h.last = s.arrives
	}
	h.readable.fire()
}

// take copies what has arrived into p. until is when to look again, if the next
// segment is on its way.
func (h *half) take(p []byte, now time.Time) (n int, until time.Time, err error) {
	for n < len(p) && h.head < len(h.queue) {
		s := &h.queue[h.head]
		if !h.link.passes(s.arrives, now) {
			if h.link.blocks == 0 {
				until = s.arrives
			}
			break
		}
		if s.end != nil {
			err = s.end
			break
		}
		m := copy(p[n:], s.data)
		n += m
		if s.data = s.data[m:]; len(s.data) == 0 {
			h.queue[h.head] = segment{}
			h.head++
		}
	}
	if h.head == len(h.queue) {
		h.queue, h.head = h.queue[:0], 0
	}
	if n > 0 {
		h.buffered -= n
		h.writable.fire()
		return n, until, nil
	}
	return 0, until, err
}

// over reports whether the other end is known to have closed: its end is the
// next that there is to read.
func (h *half) over(now time.Time) bool {
	return h.head < len(h.queue) && h.queue[h.head].end != nil && h.link.passes(h.queue[h.head].arrives, now)
}

// Conn is one end of a stream.
type Conn struct {
	host          *Host
	local, remote netip.AddrPort
	peer          *Conn
	in, out       *half

	failure       error // every operation fails with it
	closed        bool  // by its owner
	orphan        bool  // the other end died with its host
	unanswered    bool  // and had not read everything
	readDeadline  time.Time
	writeDeadline time.Time
}

// Read waits for bytes to arrive.
func (c *Conn) Read(p []byte) (int, error) {
	n := c.host.network
	for {
		n.mu.Lock()
		now := time.Now()
		if err := c.usable(now, c.readDeadline); err != nil {
			n.mu.Unlock()
			return 0, opError("read", "tcp", c.RemoteAddr(), err)
		}
		count, until, err := c.in.take(p, now)
		if count > 0 || err != nil || len(p) == 0 {
			n.stats.StreamBytes += int64(count)
			n.mu.Unlock()
			if err != nil && err != io.EOF {
				err = opError("read", "tcp", c.RemoteAddr(), err)
			}
			return count, err
		}
		changed := c.in.readable.wait()
		until = earlier(until, c.readDeadline)
		n.mu.Unlock()
		await(changed, until)
	}
}

// Write puts bytes on their way, and waits while the window is full.
func (c *Conn) Write(p []byte) (int, error) {
	n := c.host.network
	written := 0
	for {
		n.mu.Lock()
		now := time.Now()
		if err := c.writeState(now); err != nil {
			n.mu.Unlock()
			return written, opError("write", "tcp", c.RemoteAddr(), err)
		}
		written += c.send(p[written:], now)
		if written == len(p) {
			n.mu.Unlock()
			return written, nil
		}
		changed := c.out.writable.wait()
		until := c.writeDeadline
		n.mu.Unlock()
		await(changed, until)
	}
}

// writeState returns why nothing can be written. The network's mutex is held.
func (c *Conn) writeState(now time.Time) error {
	if err := c.usable(now, c.writeDeadline); err != nil {
		return err
	}
	if c.orphan && c.host.network.answersReset(c) {
		c.host.network.reset(c)
		return syscall.ECONNRESET
	}
	if c.in.over(now) {
		return syscall.EPIPE
	}
	return nil
}

// send puts as much of p on its way as the window allows. The network's mutex is
// held.
func (c *Conn) send(p []byte, now time.Time) int {
	if c.peer.closed && !c.orphan {
		return len(p) // nobody will read it
	}
	n := min(len(p), window-c.out.buffered)
	if n > 0 {
		c.out.push(now, segment{data: append([]byte(nil), p[:n]...)})
	}
	return max(n, 0)
}

// usable returns why an operation fails at once. The network's mutex is held.
func (c *Conn) usable(now, deadline time.Time) error {
	if c.failure != nil {
		return c.failure
	}
	if !deadline.IsZero() && !now.Before(deadline) {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Close ends the stream; what was written still arrives.
func (c *Conn) Close() error {
	n := c.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.closed || c.failure == net.ErrClosed {
		return opError("close", "tcp", c.RemoteAddr(), net.ErrClosed)
	}
	c.out.end(time.Now(), io.EOF)
	c.fail(net.ErrClosed)
	return nil
}

// fail makes every operation fail from now on. The network's mutex is held.
func (c *Conn) fail(err error) {
	if err == net.ErrClosed {
		c.closed = true
	}
	c.failure = err
	delete(c.host.conns, c)
	delete(c.in.link.halves, c.in)
	c.in.queue, c.in.head, c.in.buffered = nil, 0, 0
	c.in.readable.fire()
	c.in.writable.fire() // its writer need not wait for a reader that is gone
	c.out.writable.fire()
}

// ended reports whether this end is of no more use. The network's mutex is held.
func (c *Conn) ended() bool { return c.failure != nil }

// LocalAddr returns this end's address.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr returns the other end's address.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadlines(&t, &t) }

// SetReadDeadline bounds pending and later reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(&t, nil) }

// SetWriteDeadline bounds pending and later writes.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(nil, &t) }

func (c *Conn) setDeadlines(read, write *time.Time) error {
	n := c.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.failure != nil {
		return opError("set deadline", "tcp", c.RemoteAddr(), c.failure)
	}
	if read != nil {
		c.readDeadline = *read
		c.in.readable.fire()
	}
	if write != nil {
		c.writeDeadline = *write
		c.out.writable.fire()
	}
	return nil
}

// await waits for a change, or until a time unless that is zero.
func await(changed <-chan struct{}, until time.Time) {
	if until.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

// earlier returns the earlier of two times that are not zero.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
