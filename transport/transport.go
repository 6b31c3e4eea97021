package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport/gate"
	"github.com/dunlindb/dunlin/transport/seat"
	"github.com/dunlindb/dunlin/transport/wire"
)

const (
	// sweepInterval is how exactly deadlines are kept.
	sweepInterval = 10 * time.Millisecond
	// maxBudget bounds a request's remaining time on the wire (µs in a u32).
	maxBudget = time.Hour
	// quietInterval bounds repeated log lines of one kind.
	quietInterval = 10 * time.Second
)

// Transport carries requests to and from the peers of a node. All its methods
// may be called from any goroutine.
type Transport struct {
	cfg      Config
	env      Env
	metrics  *metrics
	pool     *wire.BufferPool
	base     time.Time // where ns count from
	readers  *readers
	running  sync.WaitGroup // every goroutine of Run
	controls chan struct{}  // places for control calls
	sweep    chan struct{}  // a table has an open request
	drained  chan struct{}  // a closing peer may have none any more
	stopping chan struct{}  // closed when draining begins
	peers    atomic.Pointer[peerSet]
	seats    seat.Table[ring.NodeID] // of sessions

	quiet struct{ gate, hellos, frames, skew quiet }

	randMu sync.Mutex // guards env.Rand

	mu   sync.Mutex             // guards the rest, and changes of peers
	life context.Context        // of the peers; nil before Run
	over bool                   // no peer is started any more
	told map[ring.NodeID]string // where peers say that they are
}

// peerSet is an immutable set of peers; this node is one of them.
type peerSet struct {
	byID map[ring.NodeID]*peer
	list []*peer // by id
}

func newPeerSet(byID map[ring.NodeID]*peer) *peerSet {
	set := &peerSet{byID: byID}
	for _, p := range byID {
		set.list = append(set.list, p)
	}
	slices.SortFunc(set.list, func(a, b *peer) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return set
}

// New checks the configuration and registers the metrics. It starts nothing:
// until Run, requests to peers are refused as Unreachable.
func New(cfg Config, env Env) (*Transport, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := env.validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(env.Registerer)
	if err != nil {
		return nil, err
	}
	t := &Transport{
		cfg: cfg, env: env, metrics: m,
		pool:     new(wire.BufferPool),
		base:     time.Now().Add(-1), // so that no time is 0
		controls: make(chan struct{}, cfg.ControlCalls),
		sweep:    make(chan struct{}, 1),
		drained:  make(chan struct{}, 1),
		stopping: make(chan struct{}),
		told:     map[ring.NodeID]string{},
	}
	t.readers = &readers{t: t}
	self := newPeer(t, Peer{ID: env.Self, Address: env.Listener.Addr().String()})
	t.peers.Store(newPeerSet(map[ring.NodeID]*peer{env.Self: self}))
	if err := env.Registerer.Register(newPeerCollector(t)); err != nil {
		return nil, fmt.Errorf("transport: register metrics: %w", err)
	}
	return t, nil
}

// Run serves and keeps the connections until ctx ends. Then it refuses new
// requests, lets those that are open end for at most Config.DrainTimeout, and
// returns after its last goroutine. It is called once.
func (t *Transport) Run(ctx context.Context) error {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	t.mu.Lock()
	if t.life != nil {
		t.mu.Unlock()
		return errors.New("transport: Run was called twice")
	}
	t.life = life
	for _, p := range t.peers.Load().list {
		t.start(p)
	}
	t.mu.Unlock()

	server := t.newServer()
	door := gate.New(t.env.Listener, gate.Limits{
		Connections: t.cfg.Connections, Unprefaced: t.cfg.Unprefaced, Timeout: t.cfg.PrefaceTimeout,
	}, t.refusedConnection)
	served := make(chan error, 1)
	t.running.Go(func() { served <- server.Serve(door) })
	t.running.Go(func() { t.sweepDeadlines(life) })
	var failure error
	select {
	case <-ctx.Done():
	case failure = <-served:
		failure = fmt.Errorf("transport: serve: %w", failure)
	}
	t.shutdown(server, cancel)
	door.Wait()
	t.running.Wait()
	return failure
}

// shutdown drains both directions at once, within one timeout.
func (t *Transport) shutdown(server *grpc.Server, cancel context.CancelFunc) {
	expired := make(chan struct{})
	stop := time.AfterFunc(t.cfg.DrainTimeout, func() { close(expired) })
	defer stop.Stop()

	t.mu.Lock()
	t.over = true
	t.mu.Unlock()
	close(t.stopping)
	stopped := make(chan struct{})
	t.running.Go(func() {
		server.GracefulStop()
		close(stopped)
	})
	t.drain(expired)
	cancel()
	for _, p := range t.peers.Load().list {
		if p.local {
			p.disconnected(errors.New(verdictClosing.Detail))
		}
	}
	select {
	case <-stopped:
	case <-expired:
		server.Stop()
	}
}

// drain waits until no caller waits for an answer, or expired is closed.
func (t *Transport) drain(expired <-chan struct{}) {
	for {
		open := false
		for _, p := range t.peers.Load().list {
			open = p.close() || open
		}
		if !open {
			return
		}
		select {
		case <-t.drained:
		case <-expired:
			return
		}
	}
}

// sweepDeadlines times out requests until ctx ends. It has a ticker only while
// a request is open.
func (t *Transport) sweepDeadlines(ctx context.Context) {
	var scratch []owner
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.sweep:
		}
		ticker := time.NewTicker(sweepInterval)
		for open := true; open; {
			select {
			case <-ctx.Done():
				ticker.Stop()
				return
			case <-ticker.C:
			}
			open = false
			t.metrics.sweeps.Inc()
			now := t.now()
			for _, p := range t.peers.Load().list {
				var some bool
				scratch, some = p.expire(now, scratch)
				open = open || some
			}
		}
		ticker.Stop()
	}
}

// SetPeers replaces the set of peers to keep a connection to; this node is
// ignored. What is open on the connection of a peer that is no longer wanted, or
// has another address, ends as Unreachable. Streams that others have open to this
// node end too, and come back if Admit says so.
func (t *Transport) SetPeers(peers []Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.peers.Load().byID
	byID := map[ring.NodeID]*peer{t.env.Self: old[t.env.Self]}
	for _, want := range peers {
		if want.ID == t.env.Self {
			continue
		}
		p := old[want.ID]
		if p == nil || !p.aim(t.told[want.ID], want.Address) {
			p = t.newPeer(want)
		}
		byID[want.ID] = p
	}
	for id := range t.told {
		if byID[id] == nil {
			delete(t.told, id) // so that it is bounded
		}
	}
	t.replace(byID)
	t.seats.Keep(func(id ring.NodeID) bool { return byID[id] != nil })
}

// newPeer begins to keep a peer connected. The caller holds mu.
func (t *Transport) newPeer(want Peer) *peer {
	p := newPeer(t, want)
	p.places = places(t.told[want.ID], want.Address)
	t.start(p)
	return p
}

// replace makes peers the present ones, and stops those that are none any more. The
// caller holds mu.
func (t *Transport) replace(byID map[ring.NodeID]*peer) {
	old := t.peers.Load().byID
	t.peers.Store(newPeerSet(byID))
	for id, p := range old {
		if byID[id] != p && p.stop != nil {
			p.stop()
		}
	}
}

// start begins to keep a peer connected, if Run has begun. The caller holds mu.
func (t *Transport) start(p *peer) {
	if p.local || t.life == nil || t.over {
		return
	}
	ctx, cancel := context.WithCancel(t.life)
	p.stop = cancel
	t.running.Go(func() { p.run(ctx) })
}

// refusedConnection counts and tells what the gate did not let through.
func (t *Transport) refusedConnection(remote net.Addr, r gate.Reason, err error) {
	t.metrics.refusedConnections.WithLabelValues(string(r)).Inc()
	t.complain(&t.quiet.gate, "internode connection refused", "remote", remote, "reason", string(r), "error", err)
}

func (t *Transport) isStopping() bool {
	select {
	case <-t.stopping:
		return true
	default:
		return false
	}
}

// peer returns a peer by its id, nil if it is none.
func (t *Transport) peer(id ring.NodeID) *peer { return t.peers.Load().byID[id] }

// Peer returns the state of a peer, the zero state if it is none. This node is
// always connected.
func (t *Transport) Peer(id ring.NodeID) PeerState {
	if p := t.peer(id); p != nil {
		return p.state(t.now())
	}
	return PeerState{}
}

// Status describes all peers but this node, in the order of their ids.
func (t *Transport) Status() []PeerStatus {
	var all []PeerStatus
	for _, p := range t.peers.Load().list {
		if !p.local {
			all = append(all, p.status())
		}
	}
	return all
}

// now is the time in ns since base: never 0, monotonic.
func (t *Transport) now() int64 { return int64(time.Since(t.base)) }

// at is a moment in the same terms.
func (t *Transport) at(moment time.Time) int64 { return int64(moment.Sub(t.base)) }

// quiet lets one log line of a kind through per interval.
type quiet struct {
	mu         sync.Mutex // guards the rest
	until      int64
	suppressed int
}

// complain logs a warning at a bounded rate, with the number of lines left out.
func (t *Transport) complain(q *quiet, message string, args ...any) {
	now := t.now()
	q.mu.Lock()
	if now < q.until {
		q.suppressed++
		q.mu.Unlock()
		return
	}
	suppressed := q.suppressed
	q.until, q.suppressed = now+int64(quietInterval), 0
	q.mu.Unlock()
	if suppressed > 0 {
		args = append(args, slog.Int("suppressed", suppressed))
	}
	t.env.Logger.Warn(message, args...)
}
