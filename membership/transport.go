package membership

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// streamTimeout bounds a whole push/pull, and a dial.
	streamTimeout = 10 * time.Second
	dialTimeout   = 3 * time.Second
	// headerTimeout bounds the arrival of a stream's first message.
	headerTimeout = 5 * time.Second
	// maxStreams bounds the streams from outside that are served at once; the
	// others are closed. A healthy node has one or two.
	maxStreams = 64
	// maxPacketBytes is the largest UDP payload.
	maxPacketBytes = 64 << 10
	// acceptPause follows a failed accept or receive, so that a broken socket
	// does not spin.
	acceptPause = 100 * time.Millisecond
)

// transport carries memberlist's packets and streams over a Network, and lets
// in only what is sealed with the cluster's key.
type transport struct {
	network    Network
	auth       *authenticator
	metrics    *metrics
	log        *limitedLog
	advertised string // "host:port"

	listener net.Listener
	socket   net.PacketConn
	packets  chan *memberlist.Packet
	streams  chan net.Conn

	ctx    context.Context // ends when the transport closes
	cancel context.CancelFunc
	owned  sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	ip    net.IP     // resolved from advertised
	port  int
	conns map[*trackedConn]struct{} // open streams, in and out
	gone  bool                      // closed: no more conns
	in    int                       // open streams from outside
}

func newTransport(cfg Config, network Network, auth *authenticator, m *metrics, lines *limitedLog) (*transport, error) {
	listener, err := network.Listen(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("membership: listen: %w", err)
	}
	socket, err := network.ListenPacket(cfg.Listen)
	if err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("membership: listen for packets: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &transport{
		network: network, auth: auth, metrics: m, log: lines, advertised: cfg.advertise(),
		listener: listener, socket: socket,
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn),
		ctx: ctx, cancel: cancel,
		conns: make(map[*trackedConn]struct{}),
	}, nil
}

// resolveAdvertised finds the IP address that others are told.
func (t *transport) resolveAdvertised(ctx context.Context) error {
	addrs, err := resolve(ctx, t.advertised)
	if err != nil {
		return fmt.Errorf("membership: the advertised address: %w", err)
	}
	addr := addrs[0]
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ip, t.port = net.IP(addr.Addr().AsSlice()), int(addr.Port())
	return nil
}

// resolve turns "host:port" into IP addresses with the port, by DNS if it must;
// IPv4 addresses come first.
func resolve(ctx context.Context, address string) ([]netip.AddrPort, error) {
	if addr, err := netip.ParseAddrPort(address); err == nil {
		return []netip.AddrPort{addr}, nil
	}
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("address %s: port: %w", address, err)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	if len(ips) == 0 {
		return nil, fmt.Errorf("address %s: its host has no IP address", address)
	}
	var v4, v6 []netip.AddrPort
	for _, ip := range ips {
		if ip = ip.Unmap(); ip.Is4() {
			v4 = append(v4, netip.AddrPortFrom(ip, uint16(port)))
		} else {
			v6 = append(v6, netip.AddrPortFrom(ip, uint16(port)))
		}
	}
	return append(v4, v6...), nil
}

// start begins to receive.
func (t *transport) start() {
	t.owned.Go(t.receive)
	t.owned.Go(t.accept)
}

// receive passes on the packets that are sealed with the cluster's key.
func (t *transport) receive() {
	buf := make([]byte, maxPacketBytes)
	var scratch []byte
	for {
		n, from, err := t.socket.ReadFrom(buf)
		if err != nil {
			if !t.again(err) {
				return
			}
			continue
		}
		t.metrics.receivedBytes.WithLabelValues("packet").Add(float64(n))
		var r *refusal
		if scratch, r = t.auth.checkPacket(buf[:n], scratch); r != nil {
			t.refuse("packet", from, r)
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: time.Now()}
		select {
		case t.packets <- p:
		case <-t.ctx.Done():
			return
		}
	}
}

// accept takes in streams, each checked on a goroutine of its own.
func (t *transport) accept() {
	for {
		conn, err := t.listener.Accept()
		if err != nil {
			if !t.again(err) {
				return
			}
			continue
		}
		c, ok := t.track(conn, true)
		if !ok {
			_ = conn.Close()
			t.refuse("stream", conn.RemoteAddr(), refuse(reasonTooMany, "%d streams are being served", maxStreams))
			continue
		}
		t.owned.Go(func() { t.admit(c) })
	}
}

// again reports whether to go on after an error of the sockets.
func (t *transport) again(err error) bool {
	if t.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return false
	}
	t.log.warn("gossip socket", "error", err)
	timer := time.NewTimer(acceptPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.ctx.Done():
		return false
	}
}

// admit hands a stream to memberlist once its first message has proved to be
// sealed with the cluster's key. Every exchange consists of one message each way.
func (t *transport) admit(c *trackedConn) {
	_ = c.SetReadDeadline(time.Now().Add(headerTimeout))
	message, r := t.auth.readStream(c)
	if r != nil {
		t.refuse("stream", c.RemoteAddr(), r)
		_ = c.Close()
		return
	}
	c.replay = message
	select {
	case t.streams <- c:
	case <-t.ctx.Done():
		_ = c.Close()
	}
}

func (t *transport) refuse(kind string, from net.Addr, r *refusal) {
	t.metrics.refused.WithLabelValues(kind, r.reason).Inc()
	t.log.warn("refused a gossip "+kind, "from", from, "reason", r.detail)
}

// FinalAdvertiseAddr returns the address that others are told.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ip, t.port, nil
}

// WriteTo sends a packet and returns when it was sent.
func (t *transport) WriteTo(b []byte, address string) (time.Time, error) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return time.Time{}, fmt.Errorf("gossip to %s: %w", address, err)
	}
	if _, err := t.socket.WriteTo(b, net.UDPAddrFromAddrPort(addr)); err != nil {
		return time.Time{}, err
	}
	t.metrics.sentBytes.WithLabelValues("packet").Add(float64(len(b)))
	return time.Now(), nil
}

// PacketCh returns the packets from outside.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh returns the streams from outside.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// DialTimeout opens a stream.
func (t *transport) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, min(timeout, dialTimeout))
	defer cancel()
	conn, err := t.network.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	c, ok := t.track(conn, false)
	if !ok {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	return c, nil
}

// Shutdown is memberlist's way to close the transport.
func (t *transport) Shutdown() error {
	t.close()
	return nil
}

// close ends all sockets and streams and waits for the receiving goroutines.
// It may be called more than once.
func (t *transport) close() {
	t.cancel()
	_ = t.listener.Close()
	_ = t.socket.Close()
	t.mu.Lock()
	t.gone = true
	open := make([]*trackedConn, 0, len(t.conns))
	for c := range t.conns {
		open = append(open, c)
	}
	t.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
	t.owned.Wait()
}

// track remembers an open stream, so that close reaches it. It reports false
// if the transport is closed or too many streams from outside are open.
func (t *transport) track(conn net.Conn, inbound bool) (*trackedConn, bool) {
	c := &trackedConn{Conn: conn, transport: t, inbound: inbound, left: maxStreamBytes}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone || (inbound && t.in >= maxStreams) {
		return nil, false
	}
	t.conns[c] = struct{}{}
	if inbound {
		t.in++
	}
	return c, true
}

func (t *transport) forget(c *trackedConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, open := t.conns[c]; !open {
		return
	}
	delete(t.conns, c)
	if c.inbound {
		t.in--
	}
}

// trackedConn is a stream that the transport knows of. It gives back the
// message that was read to check it, and bounds what is read in all.
type trackedConn struct {
	net.Conn
	transport *transport
	inbound   bool
	replay    []byte
	left      int // bytes that may still be read
}

func (c *trackedConn) Read(p []byte) (int, error) {
	if len(c.replay) > 0 {
		n := copy(p, c.replay)
		c.replay = c.replay[n:]
		return n, nil
	}
	if c.left <= 0 {
		return 0, fmt.Errorf("gossip stream: more than %d bytes: %w", maxStreamBytes, io.ErrUnexpectedEOF)
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	c.transport.metrics.receivedBytes.WithLabelValues("stream").Add(float64(n))
	return n, err
}

func (c *trackedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.transport.metrics.sentBytes.WithLabelValues("stream").Add(float64(n))
	return n, err
}

func (c *trackedConn) Close() error {
	c.transport.forget(c)
	return c.Conn.Close()
}
