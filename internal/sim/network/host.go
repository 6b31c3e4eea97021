package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

const (
	firstEphemeral = 32768
	backlogMax     = 128
)

type hostState uint8

const (
	hostUp     hostState = iota
	hostKilled           // the process is gone; its kernel answers with resets
	hostDown             // no power: silence
)

// Host is one boot of a host: what its processes open sockets with. It is the
// Network interface of the packages under test.
type Host struct {
	network *Network
	address netip.Addr

	state     hostState
	nextPort  uint16
	listeners map[uint16]*Listener
	sockets   map[uint16]*Socket
	conns     map[*Conn]struct{}
}

// Address returns the host's IP address.
func (h *Host) Address() netip.Addr { return h.address }

// Kill ends this boot as kill -9 does: every socket is closed, and peers see
// resets.
func (h *Host) Kill() { h.crash(hostKilled) }

// PowerOff ends this boot in silence: peers see nothing at all.
func (h *Host) PowerOff() { h.crash(hostDown) }

func (h *Host) crash(state hostState) {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if h.state != hostUp {
		return
	}
	h.state = state
	for _, l := range h.listeners {
		l.close()
	}
	for _, s := range h.sockets {
		s.close()
	}
	now := time.Now()
	for c := range h.conns {
		peer := c.peer
		unread := c.in.buffered > 0
		c.fail(net.ErrClosed)
		if peer.ended() {
			continue
		}
		peer.orphan, peer.unanswered = true, unread
		if state == hostKilled {
			peer.in.end(now, syscall.ECONNRESET)
		}
	}
	clear(h.conns)
	clear(h.listeners)
	clear(h.sockets)
	n.changed.fire()
}

// Listen opens a listener. The address names this host's IP address and a port;
// port 0 picks one.
func (h *Host) Listen(address string) (net.Listener, error) {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	at, err := h.bind(address)
	if err == nil && h.listeners[at.Port()] != nil {
		err = syscall.EADDRINUSE
	}
	if err != nil {
		return nil, opError("listen", "tcp", label("tcp", address), err)
	}
	l := &Listener{host: h, address: at}
	h.listeners[at.Port()] = l
	return l, nil
}

// ListenPacket opens a datagram socket, as Listen does.
func (h *Host) ListenPacket(address string) (net.PacketConn, error) {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	at, err := h.bind(address)
	if err == nil && h.sockets[at.Port()] != nil {
		err = syscall.EADDRINUSE
	}
	if err != nil {
		return nil, opError("listen", "udp", label("udp", address), err)
	}
	s := &Socket{host: h, address: at}
	h.sockets[at.Port()] = s
	return s, nil
}

// bind checks an address to listen on. The network's mutex is held.
func (h *Host) bind(address string) (netip.AddrPort, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return at, err
	}
	if h.state != hostUp {
		return at, syscall.ENETDOWN
	}
	if at.Addr() != h.address {
		return at, syscall.EADDRNOTAVAIL
	}
	if at.Port() == 0 {
		at = netip.AddrPortFrom(h.address, h.ephemeral())
	}
	return at, nil
}

// ephemeral picks the next port. The network's mutex is held.
func (h *Host) ephemeral() uint16 {
	for {
		port := h.nextPort
		if h.nextPort++; h.nextPort == 0 {
			h.nextPort = firstEphemeral
		}
		if h.listeners[port] == nil && h.sockets[port] == nil {
			return port
		}
	}
}

// Dial opens a stream. Towards a host without power, or over a blocked link, it
// waits until ctx ends.
func (h *Host) Dial(ctx context.Context, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, opError("dial", "tcp", label("tcp", address), err)
	}
	c, err := h.dial(ctx, to)
	if err != nil {
		return nil, opError("dial", "tcp", net.TCPAddrFromAddrPort(to), err)
	}
	return c, nil
}

func (h *Host) dial(ctx context.Context, to netip.AddrPort) (*Conn, error) {
	there, err := h.awaitPath(ctx, to)
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, there); err != nil {
		return nil, err
	}
	c, back, err := h.connect(to)
	for err == errStalled { // blocked while the handshake was under way
		if there, err = h.awaitPath(ctx, to); err != nil {
			return nil, err
		}
		if err = sleep(ctx, there+retransmission); err != nil {
			return nil, err
		}
		c, back, err = h.connect(to)
	}
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, back); err != nil {
		h.network.mu.Lock()
		h.network.reset(c.peer)
		c.fail(net.ErrClosed)
		h.network.mu.Unlock()
		return nil, err
	}
	return c, nil
}

// awaitPath waits until there is a way to a host and back, and returns the
// delay there.
func (h *Host) awaitPath(ctx context.Context, to netip.AddrPort) (time.Duration, error) {
	n := h.network
	for {
		n.mu.Lock()
		if h.state != hostUp {
			n.mu.Unlock()
			return 0, net.ErrClosed
		}
		if h.pathOpen(to.Addr()) {
			n.stats.Dials++
			delay := n.link(h.address, to.Addr()).delay()
			n.mu.Unlock()
			return delay, nil
		}
		changed := n.changed.wait()
		n.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (h *Host) pathOpen(to netip.Addr) bool {
	remote := h.network.hosts[to]
	return remote != nil && remote.state != hostDown && h.network.reachable(h.address, to)
}

// errStalled means that the path was lost during a handshake.
var errStalled = fmt.Errorf("network: the path was lost during the handshake")

// connect makes the two ends of a stream and queues the far one at its
// listener. It returns the delay of the answer.
func (h *Host) connect(to netip.AddrPort) (*Conn, time.Duration, error) {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if h.state != hostUp {
		return nil, 0, net.ErrClosed
	}
	if !h.pathOpen(to.Addr()) {
		return nil, 0, errStalled
	}
	remote := n.hosts[to.Addr()]
	l := remote.listeners[to.Port()]
	if l == nil || len(l.backlog) >= backlogMax {
		n.stats.Refused++
		return nil, 0, syscall.ECONNREFUSED
	}
	local := netip.AddrPortFrom(h.address, h.ephemeral())
	there, back := newHalf(n.link(h.address, to.Addr())), newHalf(n.link(to.Addr(), h.address))
	near := &Conn{host: h, local: local, remote: to, in: back, out: there}
	far := &Conn{host: remote, local: to, remote: local, in: there, out: back}
	near.peer, far.peer = far, near
	h.conns[near] = struct{}{}
	remote.conns[far] = struct{}{}
	l.backlog = append(l.backlog, far)
	l.arrived.fire()
	return near, n.link(to.Addr(), h.address).delay(), nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// text is an address as it was given.
type text struct{ network, address string }

func (t text) Network() string { return t.network }
func (t text) String() string  { return t.address }

func label(network, address string) net.Addr { return text{network, address} }
