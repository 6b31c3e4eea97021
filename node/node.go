package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/antientropy"
	"github.com/dunlindb/dunlin/catalog"
	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/hinted"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/membership"
	"github.com/dunlindb/dunlin/mend"
	"github.com/dunlindb/dunlin/rebalance"
	"github.com/dunlindb/dunlin/replica"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/transport"
)

// Node is one running node. Make it with Open; Run serves until its context
// ends, and closes everything.
type Node struct {
	cfg     Config
	env     Env
	log     *slog.Logger
	metrics *metrics
	started time.Time

	engine      *storage.Engine
	wall        *hlc.Wall
	clock       *hlc.Clock
	transport   *transport.Transport
	catalog     *catalog.Catalog
	replica     *replica.Replica
	coordinator *coordinator.Coordinator
	hints       *hinted.Handoff          // nil: switched off
	antientropy *antientropy.AntiEntropy // nil: switched off
	rebuild     *mend.Rebuild            // nil: anti-entropy is switched off
	scrub       *mend.Scrub
	rebalance   *rebalance.Driver // nil: anti-entropy is switched off
	doors       *frontDoors
	listeners   []net.Listener

	mu         sync.Mutex // guards membership, which exists once the node is a member
	membership *membership.Membership

	gone    chan error                // one slot: why this node is no member any more
	jumped  time.Time                 // since when a jump of the clock is not believed; belongs to checkSkew
	skew    atomic.Pointer[skewError] // why writes are refused; nil: they are not
	outcast atomic.Pointer[error]     // why most peers refuse this node; nil: they do not
	serving atomic.Bool               // clients are served; /readyz adds what else must hold
}

// keyCeiling is where the clock's ceiling is kept in Meta.
const keyCeiling = "node/ceiling"

// Open acquires the data directory and the listeners, and builds the node. It
// starts no goroutine of its own and serves nothing yet. Errors that an operator
// can mend are one clear line.
func Open(cfg Config, env Env) (*Node, error) {
	if err := errors.Join(cfg.Validate(), env.validate()); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, env: env, log: env.Logger, metrics: newMetrics(env.Registry), started: time.Now(), gone: make(chan error, 1)}
	var err error
	n.engine, err = storage.Open(cfg.storage(), storage.Env{
		FS: env.FS, Logger: env.Logger, Registerer: env.Registry, Fatal: env.Fatal, Simulated: env.Simulated,
	})
	if err != nil {
		return nil, err
	}
	if err := n.build(); err != nil {
		return nil, errors.Join(err, n.closeStores())
	}
	return n, nil
}

// build makes the parts, in the order of the diagram in doc.go.
func (n *Node) build() error {
	found, err := n.openClock()
	if err != nil {
		return err
	}
	caller := &lateCaller{}
	if err := n.openCatalog(caller, found); err != nil {
		return err
	}
	server := &server{node: n}
	if err := n.openTransport(server); err != nil {
		return err
	}
	caller.Transport = n.transport
	n.replica, err = replica.New(replica.DefaultConfig(), replica.Env{
		Engine: n.engine, Self: n.catalog.Self(), View: n.catalog.View, CatchUp: n.catalog.CatchUp,
		Logger: n.log, Registerer: n.env.Registry,
	})
	if err != nil {
		return err
	}
	server.Replica = n.replica
	if err := errors.Join(n.openHealing(), n.openRebalance()); err != nil {
		return err
	}
	if err := n.openCoordinator(); err != nil {
		return err
	}
	n.doors, err = n.openFrontDoors()
	return err
}

func (n *Node) openCoordinator() (err error) {
	env := coordinator.Env{
		Self: n.catalog.Self(), View: n.catalog.View, Peers: n.transport, Liveness: liveness{n}, Clock: n.clock,
		Seal: n.catalog.Seal, CatchUp: n.catalog.CatchUp, Unfit: n.unfit, Rand: n.env.random(2),
		Logger: n.log, Registerer: n.env.Registry,
	}
	if n.hints != nil {
		env.Hints = n.hints
	}
	n.coordinator, err = coordinator.New(n.cfg.coordinator(), env)
	return err
}

// openClock starts the clock above the ceiling that is found on disk, and
// reserves the next one before anything can be stamped.
func (n *Node) openClock() (found hlc.Timestamp, err error) {
	value, ok, err := n.engine.Meta().Get(keyCeiling)
	if err != nil {
		return 0, fmt.Errorf("node: read the clock's ceiling: %w", err)
	}
	if ok && len(value) == 8 {
		found = hlc.Timestamp(binary.BigEndian.Uint64(value))
	}
	n.wall = hlc.NewWall(n.env.Physical, n.cfg.Clock.MaxSkew)
	n.clock = hlc.New(n.wall.Now, found, n.cfg.Clock.MaxSkew)
	_, err = n.reserveClock(context.Background())
	return found, err
}

// reserveClock raises the clock's ceiling when that is due; it is a job.
func (n *Node) reserveClock(context.Context) (idle bool, err error) {
	next, due := n.clock.Reserve()
	if !due {
		return true, nil
	}
	if err := n.engine.Meta().Set(keyCeiling, binary.BigEndian.AppendUint64(nil, uint64(next))); err != nil {
		return false, fmt.Errorf("node: persist the clock's ceiling: %w", err)
	}
	n.clock.Raise(next)
	return true, nil
}

func (n *Node) openCatalog(caller catalog.Caller, ceiling hlc.Timestamp) error {
	id := n.engine.Identity()
	var err error
	n.catalog, err = catalog.Open(n.cfg.catalog(), catalog.Env{
		Meta: n.engine.Meta(), Caller: caller, Store: id.Store, Boot: id.Boot, Ceiling: ceiling,
		Entropy: n.env.Entropy, Rand: n.env.random(1), OnAdopt: n.adopt, OnGone: n.onGone,
		Logger: n.log, Registerer: n.env.Registry,
	})
	if err != nil {
		return err
	}
	if n.catalog.View() == nil && !n.catalog.Rejoining() && !n.cfg.Bootstrap && len(n.cfg.Join) == 0 {
		return fmt.Errorf("node: %s belongs to no cluster yet: start with --bootstrap to found one, or with --join HOST to enter one", n.cfg.DataDir)
	}
	return nil
}

func (n *Node) openTransport(handler transport.Handler) error {
	listener, err := n.listen(n.cfg.Listen.InternodePort, "listen.internode_port")
	if err != nil {
		return err
	}
	n.transport, err = transport.New(n.cfg.transport(), transport.Env{
		Self: n.catalog.Self(), Listener: listener, Dial: n.env.Network.Dial, Handler: handler,
		Admit: n.admit, Hello: n.catalog.Hello, Clock: n.clock,
		CatalogVersion: n.catalog.Version, OnPeerVersion: n.catalog.Learn,
		Rand: n.env.random(3), Logger: n.log, Registerer: n.env.Registry,
	})
	return err
}

// server is this node as other nodes see it: a transport.Handler.
type server struct {
	*replica.Replica // set before anything is served
	node             *Node
}

// Apply stores a group here, or holds it for another replica that is not alive.
func (s *server) Apply(from ring.NodeID, g transport.Group, deadline time.Time, sink transport.Sink, tag uint32) {
	if g.Owner == (ring.NodeID{}) {
		s.Replica.Apply(from, g, deadline, sink, tag)
		return
	}
	s.node.hold(g, sink, tag)
}

// Control answers rare calls: anti-entropy's and the catalog's.
func (s *server) Control(ctx context.Context, from transport.Hello, kind string, body []byte) ([]byte, error) {
	switch {
	case isAntiEntropy(kind):
		return s.node.compare(ctx, from, kind, body)
	case kind == rebalance.Call || kind == rebalance.Page:
		return s.node.move(ctx, from, kind, body)
	}
	return s.node.catalog.Handle(ctx, from, kind, body)
}

// lateCaller breaks the circle between catalog, which calls through transport,
// and transport, which needs to know who the catalog says this node is.
type lateCaller struct{ *transport.Transport }

// Where is the address at which a member is to be reached.
func (c *lateCaller) Where(m ring.Member) string {
	return c.Transport.Where(transport.Peer{ID: m.ID, Address: m.Internode})
}

// adoptDeadline bounds how long the committers may take to switch to a version.
const adoptDeadline = 30 * time.Second

// adopt makes the node serve by a new catalog version.
func (n *Node) adopt(v *schema.View) error {
	ctx, cancel := context.WithTimeout(context.Background(), adoptDeadline)
	defer cancel()
	if err := n.replica.Adopt(ctx, v); err != nil {
		return err
	}
	n.setPeers(v)
	return nil
}

// setPeers tells transport and membership whom to be in touch with.
func (n *Node) setPeers(v *schema.View) {
	var peers []transport.Peer
	for i := range v.Ring.Members() {
		if m := v.Ring.Member(uint16(i)); m.ID != n.catalog.Self() && isPeer(v, m.ID) {
			peers = append(peers, transport.Peer{ID: m.ID, Address: m.Internode})
		}
	}
	n.transport.SetPeers(peers)
	if m := n.gossip(); m != nil {
		m.SetPeers(n.gossipPeers(v))
		f := n.catalog.Fact()
		m.SetFact(membership.Fact{Version: f.Version, Generation: f.Generation, Hash: f.Hash, Internode: n.cfg.catalog().Addresses.Internode})
	}
}

// isPeer reports whether requests are exchanged with a node: a member that was not given
// up by a recovery, which is for good.
func isPeer(v *schema.View, id ring.NodeID) bool {
	i, member := v.Ring.Index(id)
	return member && (v.Ring.Member(i).State != ring.Dead || v.Ring.Member(i).Voter)
}

// admit decides whether a stream with a node is wanted. The catalog goes on to decide by
// the version before while this node begins to serve by the next and tells transport of
// its peers: who is none any more must not come back in between.
func (n *Node) admit(h transport.Hello) error {
	if err := n.catalog.Admit(h); err != nil {
		return err
	}
	if v := n.replica.View(); v != nil && !isPeer(v, h.Node) {
		return fmt.Errorf("node %s is no member by version %d of the catalog", h.Node, v.Version)
	}
	return nil
}

func (n *Node) gossip() *membership.Membership {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.membership
}

// suspectAfter is how long a peer may owe an answer before it counts as not alive.
const suspectAfter = time.Second

// liveness joins what transport and gossip know: a peer is alive when its stream
// is open, it owes no answer for over a second, and gossip has not seen it die.
type liveness struct{ n *Node }

// Alive reports whether a peer can be expected to answer.
func (l liveness) Alive(id ring.NodeID) bool {
	p := l.n.transport.Peer(id)
	if !p.Connected || p.OldestUnanswered > suspectAfter {
		return false
	}
	m := l.n.gossip()
	if m == nil {
		return true
	}
	s := m.Status(id)
	return s.Alive || s.Since.IsZero()
}

// Coordinator is the node's coordinator, for callers in the same process.
func (n *Node) Coordinator() *coordinator.Coordinator { return n.coordinator }

// Replica is this node as a replica, for callers in the same process.
func (n *Node) Replica() *replica.Replica { return n.replica }

// View is the catalog version that the node serves by; nil before it is a member.
func (n *Node) View() *schema.View { return n.catalog.View() }

// Self is the node's id.
func (n *Node) Self() ring.NodeID { return n.catalog.Self() }

// Registry holds the node's metrics.
func (n *Node) Registry() *prometheus.Registry { return n.env.Registry }

// closeStores closes what Open acquired and no part owns.
func (n *Node) closeStores() error {
	var errs []error
	if n.replica != nil {
		n.replica.Close()
	}
	for _, l := range n.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) { // its server may have closed it
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, n.engine.Close())...)
}

// listen opens a listener that closeStores will close.
func (n *Node) listen(port int, key string) (net.Listener, error) {
	l, err := n.env.Network.Listen(n.cfg.listenAddress(port))
	if err != nil {
		return nil, fmt.Errorf("node: %s: %w", key, err)
	}
	n.listeners = append(n.listeners, l)
	return l, nil
}
