package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/coordinator/admission"
	"github.com/dunlindb/dunlin/coordinator/latency"
	"github.com/dunlindb/dunlin/coordinator/pace"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/transport"
)

// Peers carries requests to replicas, this node included: *transport.Transport.
type Peers interface {
	// Apply never blocks; sink hears exactly once.
	Apply(to ring.NodeID, g *transport.Group, deadline time.Time, sink transport.Sink, tag uint32)
	Read(ctx context.Context, to ring.NodeID, r *transport.ReadRequest) (transport.ReadAnswer, error)
	Scan(ctx context.Context, to ring.NodeID, r *transport.ScanRequest) (transport.ScanAnswer, error)
}

// Liveness says which nodes can be expected to answer. It is asked for each
// replica of each request and must not block; this node is not asked about.
type Liveness interface {
	Alive(id ring.NodeID) bool
}

// Env is what a Coordinator uses of the node around it. Every field is needed
// unless said otherwise.
type Env struct {
	Self ring.NodeID
	// View is the catalog's present view; nil before this node joined a cluster.
	View     func() *schema.View
	Peers    Peers
	Liveness Liveness
	Clock    *hlc.Clock
	// Seal returns once the catalog is sealed and View shows it.
	Seal func(ctx context.Context) error
	// CatchUp returns once View has reached version, which from is known to have.
	CatchUp func(ctx context.Context, from ring.NodeID, version uint64) error
	// Unfit says why this node may coordinate no writes: its clock is off, or its
	// peers refuse it. Nil: it always may.
	Unfit func() error
	// Hints keeps what replicas missed. Nil: nothing does.
	Hints Hints
	// Rand spreads reads over equally near replicas; nobody else may use it.
	Rand       *rand.Rand
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// validate names the first missing field.
func (e *Env) validate() error {
	switch {
	case e.Self == ring.NodeID{}:
		return errors.New("coordinator: Env.Self is not set")
	case e.View == nil || e.Seal == nil || e.CatchUp == nil:
		return errors.New("coordinator: Env.View, Env.Seal and Env.CatchUp are needed")
	case e.Peers == nil || e.Liveness == nil || e.Clock == nil:
		return errors.New("coordinator: Env.Peers, Env.Liveness and Env.Clock are needed")
	case e.Rand == nil || e.Logger == nil || e.Registerer == nil:
		return errors.New("coordinator: Env.Rand, Env.Logger and Env.Registerer are needed")
	}
	return nil
}

// Coordinator carries out clients' requests. It serves before Run too; Run owns
// the end of what is still open.
type Coordinator struct {
	cfg       Config
	env       Env
	metrics   *metrics
	admission *admission.Admission
	latencies *latency.Memory
	pacer     *pace.Pacer
	writes    sync.Pool     // of *Write
	sealing   chan struct{} // one slot: one first write at a time asks for the seal

	conflicted atomic.Int64 // when conflicting rows were last logged, Unix nanoseconds

	mu sync.Mutex // guards env.Rand
}

// New checks the configuration and registers metrics. It starts nothing.
func New(cfg Config, env Env) (*Coordinator, error) {
	if err := errors.Join(cfg.Validate(), env.validate()); err != nil {
		return nil, err
	}
	c := &Coordinator{
		cfg:       cfg,
		env:       env,
		admission: admission.New(admission.Config{InFlightBytes: cfg.InFlightBytes, StragglerBytes: cfg.StragglerBytes, Reads: cfg.Reads}),
		latencies: latency.New(cfg.HedgeDelay, cfg.HedgeMin),
		pacer:     pace.New(cfg.Pace),
		sealing:   make(chan struct{}, 1),
	}
	var err error
	c.metrics, err = newMetrics(env.Registerer, c.admission, c.pacer)
	if err != nil {
		return nil, fmt.Errorf("coordinator: register metrics: %w", err)
	}
	return c, nil
}

// Run waits for ctx to end, refuses new requests from then on, and returns when
// the open ones have ended, stragglers included, or after Config.DrainTimeout.
func (c *Coordinator) Run(ctx context.Context) error {
	<-ctx.Done()
	c.admission.Stop()
	timer := time.NewTimer(c.cfg.DrainTimeout)
	defer timer.Stop()
	select {
	case <-c.admission.Drained():
		return nil
	case <-timer.C:
		inFlight, straggling, reads := c.admission.Load()
		return fmt.Errorf("coordinator: not drained after %s: %d bytes in flight, %d bytes wait for replicas, %d reads",
			c.cfg.DrainTimeout, inFlight, straggling, reads)
	}
}

// Pace is which part of its ordinary speed background work may have; 0: ask again soon.
func (c *Coordinator) Pace() float64 { return c.pacer.Pace() }

// KeepPace is to be called every Config.Pace.Window: whether such work was on its way.
func (c *Coordinator) KeepPace(busy bool) { c.pacer.Turn(busy) }

// Clock returns the session token for an answer: a client that sends it with its
// next request has that stamped above everything this node has seen.
func (c *Coordinator) Clock() hlc.Timestamp { return c.env.Clock.Last() }

// alive reports whether a member may be asked.
func (c *Coordinator) alive(id ring.NodeID) bool { return id == c.env.Self || c.env.Liveness.Alive(id) }

// newer waits for a view of at least version, of which a replica told; false
// means that there is none within ctx.
func (c *Coordinator) newer(ctx context.Context, than *schema.View, from ring.NodeID, version uint64) (*schema.View, bool) {
	if v := c.env.View(); v.Version > than.Version && v.Version >= version {
		return v, true
	}
	if err := c.env.CatchUp(ctx, from, version); err != nil {
		c.env.Logger.Warn("a replica knows a newer catalog, but it cannot be had",
			"replica", from, "version", version, "error", err)
		return nil, false
	}
	v := c.env.View()
	return v, v.Version > than.Version
}

// seal makes sure that the catalog is sealed, which the first write needs.
func (c *Coordinator) seal(ctx context.Context) (*schema.View, error) {
	select {
	case c.sealing <- struct{}{}:
		defer func() { <-c.sealing }()
	case <-ctx.Done():
		return nil, &UnsealableError{Err: ctx.Err()}
	}
	if v := c.env.View(); v.Sealed {
		return v, nil
	}
	if err := c.env.Seal(ctx); err != nil {
		return nil, &UnsealableError{Err: err}
	}
	v := c.env.View()
	if !v.Sealed {
		return nil, &UnsealableError{Err: errors.New("the catalog is not sealed")}
	}
	return v, nil
}
