package network

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Network is a set of hosts and the directed links between them. Make it with
// New.
type Network struct {
	seed uint64

	mu      sync.Mutex // guards the fields below
	profile Profile    // of links without one of their own
	local   Profile    // of each host's link to itself
	hosts   map[netip.Addr]*Host
	links   map[route]*link
	changed gate // hosts came or went, links were blocked or opened
	stats   Stats
}

// Stats counts what happened on a network; a simulation shows with it that its
// faults took place.
type Stats struct {
	Dials, Refused, Accepted   int
	StreamBytes                int64
	Resets                     int
	Datagrams, Lost, Duplicate int
	DatagramBytes              int64
}

// route is a direction.
type route struct{ from, to netip.Addr }

// New makes a network without hosts. The seed decides every draw.
func New(seed uint64, profile Profile) *Network {
	return &Network{
		seed:    seed,
		profile: profile,
		local:   Profile{MinDelay: 20 * time.Microsecond, MaxDelay: 60 * time.Microsecond},
		hosts:   make(map[netip.Addr]*Host),
		links:   make(map[route]*link),
	}
}

// Stats returns the counts so far.
func (n *Network) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats
}

// Boot brings up the host with an IP address, and returns its sockets' maker.
// An earlier boot of the same address must have crashed or been shut down.
func (n *Network) Boot(address netip.Addr) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	if old := n.hosts[address]; old != nil && old.state == hostUp {
		panic(fmt.Sprintf("network: host %s is up already", address))
	}
	h := &Host{
		network: n, address: address, state: hostUp, nextPort: firstEphemeral,
		listeners: make(map[uint16]*Listener), sockets: make(map[uint16]*Socket), conns: make(map[*Conn]struct{}),
	}
	n.hosts[address] = h
	n.changed.fire()
	n.resetOrphans()
	return h
}

// Block stops what goes from one host to another, until the matching Unblock;
// blocks are counted.
func (n *Network) Block(from, to netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.link(from, to)
	if l.blocks++; l.blocks == 1 {
		l.blockedSince = time.Now()
		n.changed.fire()
	}
}

// Unblock takes back one Block.
func (n *Network) Unblock(from, to netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.link(from, to)
	if l.blocks == 0 {
		panic("network: Unblock without Block")
	}
	if l.blocks--; l.blocks == 0 {
		l.retransmit(time.Now())
		n.changed.fire()
		n.resetOrphans()
	}
}

// SetProfile gives a link a character of its own; nil gives it the network's.
func (n *Network) SetProfile(from, to netip.Addr, p *Profile) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(from, to).own = p
}

// link returns a directed link, making it at its first use. n.mu is held.
func (n *Network) link(from, to netip.Addr) *link {
	r := route{from, to}
	l := n.links[r]
	if l == nil {
		l = &link{network: n, loop: from == to, halves: make(map[*half]struct{}), rand: rand.New(rand.NewPCG(n.seed, routeSeed(r)))}
		n.links[r] = l
	}
	return l
}

func routeSeed(r route) uint64 {
	f, t := r.from.As16(), r.to.As16()
	return binary.BigEndian.Uint64(f[8:])*0x9e3779b97f4a7c15 ^ binary.BigEndian.Uint64(t[8:])
}

// reachable reports whether both directions between two hosts are open.
// n.mu is held.
func (n *Network) reachable(a, b netip.Addr) bool {
	return n.link(a, b).blocks == 0 && n.link(b, a).blocks == 0
}

// resetOrphans resets the streams whose other end died with a host that is up
// again, if they have something to send: its kernel answers that with a reset.
// n.mu is held.
func (n *Network) resetOrphans() {
	for _, h := range n.hosts {
		for c := range h.conns {
			if c.orphan && (c.unanswered || c.out.buffered > 0) && n.answersReset(c) {
				n.reset(c)
			}
		}
	}
}

// answersReset reports whether a segment sent on an orphaned stream would be
// answered with a reset now. n.mu is held.
func (n *Network) answersReset(c *Conn) bool {
	remote := n.hosts[c.remote.Addr()]
	return remote != nil && remote.state != hostDown && n.reachable(c.local.Addr(), c.remote.Addr())
}

// reset ends a stream at once. n.mu is held.
func (n *Network) reset(c *Conn) {
	n.stats.Resets++
	c.fail(syscall.ECONNRESET)
}

func opError(op, kind string, address net.Addr, err error) error {
	return &net.OpError{Op: op, Net: kind, Addr: address, Err: err}
}
