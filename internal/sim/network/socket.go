package network

import (
	"container/heap"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

const (
	socketQueueMax = 1024  // datagrams; more are lost
	datagramMax    = 65507 // bytes of payload, as UDP over IPv4
)

type datagram struct {
	data    []byte
	from    netip.AddrPort
	arrives time.Time
}

// datagrams is a heap by time of arrival.
type datagrams []datagram

func (d datagrams) Len() int           { return len(d) }
func (d datagrams) Less(i, j int) bool { return d[i].arrives.Before(d[j].arrives) }
func (d datagrams) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }

// Push is heap.Interface's.
func (d *datagrams) Push(x any) { *d = append(*d, x.(datagram)) }

// Pop is heap.Interface's.
func (d *datagrams) Pop() any {
	old := *d
	last := old[len(old)-1]
	old[len(old)-1] = datagram{}
	*d = old[:len(old)-1]
	return last
}

// Socket sends and receives datagrams.
type Socket struct {
	host     *Host
	address  netip.AddrPort
	queue    datagrams
	arrived  gate
	closed   bool
	deadline time.Time // of reads; writes never wait
}

// ReadFrom waits for a datagram. What does not fit p is cut off.
func (s *Socket) ReadFrom(p []byte) (int, net.Addr, error) {
	n := s.host.network
	for {
		n.mu.Lock()
		now := time.Now()
		if err := s.state(now); err != nil {
			n.mu.Unlock()
			return 0, nil, opError("read", "udp", s.LocalAddr(), err)
		}
		until := s.deadline
		if len(s.queue) > 0 {
			if first := &s.queue[0]; !first.arrives.After(now) {
				d := heap.Pop(&s.queue).(datagram)
				n.mu.Unlock()
				return copy(p, d.data), net.UDPAddrFromAddrPort(d.from), nil
			}
			until = earlier(s.queue[0].arrives, s.deadline)
		}
		arrived := s.arrived.wait()
		n.mu.Unlock()
		await(arrived, until)
	}
}

func (s *Socket) state(now time.Time) error {
	if s.closed {
		return net.ErrClosed
	}
	if !s.deadline.IsZero() && !now.Before(s.deadline) {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// WriteTo sends a datagram; as with UDP, success says nothing.
func (s *Socket) WriteTo(p []byte, to net.Addr) (int, error) {
	at, err := netip.ParseAddrPort(to.String())
	if err == nil && len(p) > datagramMax {
		err = syscall.EMSGSIZE
	}
	n := s.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil && s.closed {
		err = net.ErrClosed
	}
	if err != nil {
		return 0, opError("write", "udp", to, err)
	}
	n.stats.Datagrams++
	n.stats.DatagramBytes += int64(len(p))
	l := n.link(s.host.address, at.Addr())
	if l.blocks > 0 || l.draw(l.profile().Loss) {
		n.stats.Lost++
		return len(p), nil
	}
	data := append([]byte(nil), p...)
	now := time.Now()
	n.deliver(l, at, datagram{data: data, from: s.address}, now)
	if l.draw(l.profile().Duplicate) {
		n.stats.Duplicate++
		n.deliver(l, at, datagram{data: append([]byte(nil), p...), from: s.address}, now)
	}
	return len(p), nil
}

// deliver puts a datagram on its way to a socket, if there is one with room.
// n.mu is held.
func (n *Network) deliver(l *link, to netip.AddrPort, d datagram, now time.Time) {
	h := n.hosts[to.Addr()]
	if h == nil || h.state != hostUp || h.sockets[to.Port()] == nil {
		n.stats.Lost++
		return
	}
	target := h.sockets[to.Port()]
	if len(target.queue) >= socketQueueMax {
		n.stats.Lost++
		return
	}
	d.arrives = l.sent(now, len(d.data)).Add(l.delay())
	heap.Push(&target.queue, d)
	target.arrived.fire()
}

// Close ends the socket.
func (s *Socket) Close() error {
	n := s.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.closed {
		return opError("close", "udp", s.LocalAddr(), net.ErrClosed)
	}
	s.close()
	delete(s.host.sockets, s.address.Port())
	return nil
}

// close ends the socket. The network's mutex is held.
func (s *Socket) close() {
	s.closed = true
	s.queue = nil
	s.arrived.fire()
}

// LocalAddr returns the socket's address.
func (s *Socket) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(s.address) }

// SetDeadline bounds reads; writes never wait.
func (s *Socket) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

// SetReadDeadline bounds pending and later reads.
func (s *Socket) SetReadDeadline(t time.Time) error {
	n := s.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.closed {
		return opError("set deadline", "udp", s.LocalAddr(), net.ErrClosed)
	}
	s.deadline = t
	s.arrived.fire()
	return nil
}

// SetWriteDeadline does nothing: writes never wait.
func (s *Socket) SetWriteDeadline(time.Time) error { return nil }
