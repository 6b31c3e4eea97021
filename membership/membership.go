package membership

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
)

// Network is how gossip reaches other nodes. Addresses are "host:port".
type Network interface {
	Listen(address string) (net.Listener, error)
	ListenPacket(address string) (net.PacketConn, error)
	Dial(ctx context.Context, address string) (net.Conn, error)
}

// Peer is a node to be in touch with.
type Peer struct {
	ID      uuid.UUID
	Address string // of its gossip port, "host:port"
}

// Status is what gossip says about a node.
type Status struct {
	Alive bool
	Since time.Time // of the last change; zero for a node never heard of
}

// Env is what a Membership uses.
type Env struct {
	Self    uuid.UUID // this node
	Cluster uuid.UUID
	Key     []byte // gossip key of the catalog: 16, 24 or 32 bytes
	Network Network
	// OnChange is called after nodes became alive or dead; several changes may
	// share one call. It may be nil.
	OnChange func()
	// OnFact is called when a node tells a fact other than its last one. It may
	// be nil.
	OnFact     func(uuid.UUID, Fact)
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Membership is this node's view of who is alive. Make it with New.
type Membership struct {
	cfg       Config
	env       Env
	label     string // the cluster's UUID, in clear before every packet and stream
	metrics   *metrics
	log       *limitedLog
	transport *transport
	table     *table

	mu    sync.Mutex // guards fact and peers
	fact  Fact
	peers []Peer

	factSet  chan struct{} // signal: the own fact changed
	peersSet chan struct{} // signal: the peers changed
}

// New opens the sockets and starts no goroutine. Run must be called, if only
// with an ended context: it closes the sockets.
func New(cfg Config, env Env) (*Membership, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if env.Self == uuid.Nil || env.Cluster == uuid.Nil {
		return nil, errors.New("membership: the UUIDs of node and cluster must be known before gossip starts")
	}
	sealer, err := newAuthenticator(env.Key, string(env.Cluster[:]))
	if err != nil {
		return nil, err
	}
	metrics, err := newMetrics(env.Registerer)
	if err != nil {
		return nil, fmt.Errorf("membership: register metrics: %w", err)
	}
	lines := newLimitedLog(env.Logger, metrics)
	t, err := newTransport(cfg, env.Network, sealer, metrics, lines)
	if err != nil {
		return nil, err
	}
	return &Membership{
		cfg:       cfg,
		env:       env,
		label:     string(env.Cluster[:]),
		metrics:   metrics,
		log:       lines,
		transport: t,
		table:     newTable(env.Self, env.Cluster, metrics),
		factSet:   make(chan struct{}, 1),
		peersSet:  make(chan struct{}, 1),
	}, nil
}

// SetFact sets what this node tells of itself. It does not block.
func (m *Membership) SetFact(f Fact) {
	m.mu.Lock()
	m.fact = f
	m.mu.Unlock()
	signal(m.factSet)
}

// SetPeers sets the nodes to be in touch with; those that are not alive are
// tried again and again, with pauses. This node itself may be among them.
func (m *Membership) SetPeers(peers []Peer) {
	m.mu.Lock()
	m.peers = append([]Peer(nil), peers...)
	m.mu.Unlock()
	signal(m.peersSet)
}

// Status returns what is known of a node.
func (m *Membership) Status(id uuid.UUID) Status { return m.table.status(id) }

// Run gossips until ctx ends, then says farewell, so that the others need no
// failure detection to notice, and closes the sockets.
func (m *Membership) Run(ctx context.Context) error {
	defer m.transport.close()
	if ctx.Err() != nil {
		return nil
	}
	if err := m.transport.resolveAdvertised(ctx); err != nil {
		return err
	}
	var owned sync.WaitGroup
	defer owned.Wait()
	inner, stop := context.WithCancel(context.Background())
	defer stop()
	owned.Go(func() { m.log.run(inner) })
	owned.Go(func() { m.notify(inner) })

	m.transport.start()
	list, err := memberlist.Create(m.memberlistConfig())
	if err != nil {
		return fmt.Errorf("membership: start gossip: %w", err)
	}
	rejoining, endRejoining := context.WithCancel(inner)
	var joiner sync.WaitGroup
	joiner.Go(func() { m.rejoin(rejoining, list) })
	joiner.Go(func() { m.spread(rejoining, list) })

	<-ctx.Done()
	m.table.stop()
	endRejoining()
	if err := list.Leave(m.cfg.LeaveTimeout); err != nil {
		m.env.Logger.Info("left without hearing that others noticed", "error", err)
	}
	err = list.Shutdown() // closes the transport, which ends pending joins
	joiner.Wait()
	if err != nil {
		return fmt.Errorf("membership: stop gossip: %w", err)
	}
	return nil
}

// memberlistConfig is memberlist's LAN profile with our transport.
func (m *Membership) memberlistConfig() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = m.env.Self.String()
	c.Label = m.label
	c.Transport = m.transport
	c.SecretKey = m.env.Key
	c.GossipVerifyIncoming, c.GossipVerifyOutgoing = true, true
	c.EnableCompression = false // twice the CPU for packets that fit a datagram anyway
	c.RequireNodeNames = true
	c.DeadNodeReclaimTime = 30 * time.Second // a node may come back at another address
	c.TCPTimeout = streamTimeout
	c.Delegate = delegate{m}
	c.Events = m.table
	c.Alive = m.table
	c.Logger = log.New(m.log, "", 0)
	return c
}

// delegate supplies this node's meta; there are no user messages.
type delegate struct{ m *Membership }

func (d delegate) NodeMeta(int) []byte {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	return appendMeta(nil, d.m.env.Cluster, d.m.fact)
}

func (delegate) NotifyMsg([]byte)                {}
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (delegate) LocalState(bool) []byte          { return nil }
func (delegate) MergeRemoteState([]byte, bool)   {}

// notify calls back after changes in the table, outside memberlist's locks.
func (m *Membership) notify(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.table.changed:
		}
		liveness, facts := m.table.take()
		if liveness && m.env.OnChange != nil {
			m.env.OnChange()
		}
		for _, f := range facts {
			if m.env.OnFact != nil {
				m.env.OnFact(f.node, f.fact)
			}
		}
	}
}

// updateWait is how long spread lets memberlist wait until an update is on its
// way; the update stays queued after that.
const updateWait = 10 * time.Millisecond

// spread gossips the own fact each time that it changes.
func (m *Membership) spread(ctx context.Context, list *memberlist.Memberlist) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.factSet:
			// The error says only that the wait was too short.
			_ = list.UpdateNode(updateWait)
		}
	}
}

// signal leaves a note in a channel of capacity 1, unless there is one already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
