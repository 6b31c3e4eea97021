package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
)

// Env is what a Replica uses of the node around it. Every field is needed unless
// said otherwise.
type Env struct {
	Engine *storage.Engine
	// Self is this node.
	Self ring.NodeID
	// View is the catalog's view at the start, which New adopts; nil, or a nil
	// view, before this node belongs to a cluster.
	View func() *schema.View
	// CatchUp returns once this node has adopted at least a version of the
	// catalog, which from is known to have; with version 0, once it has asked from
	// for a newer one.
	CatchUp    func(ctx context.Context, from ring.NodeID, version uint64) error
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// validate names the first missing field.
func (e *Env) validate() error {
	switch {
	case e.Engine == nil:
		return errors.New("replica: Env.Engine is not set")
	case e.CatchUp == nil:
		return errors.New("replica: Env.CatchUp is not set")
	case e.Logger == nil || e.Registerer == nil:
		return errors.New("replica: Env.Logger and Env.Registerer are needed")
	}
	return nil
}

// Replica applies groups to this node's store and reads from it. Apply, Read
// and Scan have the signatures of transport.Handler.
type Replica struct {
	cfg     Config
	env     Env
	engine  *storage.Engine
	metrics *metrics
	applies sync.Pool // of *apply

	fence   atomic.Int64  // hlc.Timestamp; groups born at or below it are refused
	raising chan struct{} // one slot: one RaiseFence at a time

	// adopted is the view that every committer serves by; nil before the first.
	adopted  atomic.Pointer[schema.View]
	adopting chan struct{} // one slot: one Adopt at a time
	// committers holds what each committer serves by. An element belongs to the
	// committer's goroutine.
	committers []committer
	leaves     *rangeMarks
	removed    map[uint32]uint32 // by table: windows below are gone; belongs to Adopt

	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	catchUps chan struct{} // slots of groups that wait for the catalog
	waiting  sync.WaitGroup

	mu     sync.Mutex // guards closed, and waiting's Add against its Wait
	closed bool

	quarantine *quarantine

	corrupt, late logLimit
}

// committer is the state of one of storage's committers.
type committer struct {
	view   *schema.View
	floors bool // some table of the view has a retention floor
	fence  hlc.Timestamp
	marks  *marks
}

// New makes a replica and adopts Env.View's view, if there is one.
func New(cfg Config, env Env) (*Replica, error) {
	if err := errors.Join(cfg.Validate(), env.validate()); err != nil {
		return nil, err
	}
	r := &Replica{
		cfg: cfg, env: env, engine: env.Engine,
		adopting:   make(chan struct{}, 1),
		raising:    make(chan struct{}, 1),
		quarantine: newQuarantine(),
		committers: make([]committer, env.Engine.Committers()),
		leaves:     &rangeMarks{},
		removed:    map[uint32]uint32{},
		catchUps:   make(chan struct{}, cfg.CatchUps),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	var err error
	if r.metrics, err = newMetrics(env.Registerer); err != nil {
		return nil, fmt.Errorf("replica: register metrics: %w", err)
	}
	for i := range r.committers {
		r.committers[i].marks = newMarks(r.leaves)
	}
	if err := r.loadLeaves(r.ctx); err != nil {
		return nil, fmt.Errorf("replica: load what is known of leaves: %w", err)
	}
	if err := errors.Join(r.loadFence(), r.loadQuarantine()); err != nil {
		return nil, fmt.Errorf("replica: load the fence and the quarantine: %w", err)
	}
	if env.View == nil || env.View() == nil {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(r.ctx, cfg.CatchUpTimeout)
	defer cancel()
	if err := r.Adopt(ctx, env.View()); err != nil {
		return nil, err
	}
	return r, nil
}

// View returns the view that the whole replica serves by; nil before the first.
func (r *Replica) View() *schema.View { return r.adopted.Load() }

// Close ends the groups that wait for the catalog, and waits for their
// goroutines. Groups that would have to wait later are refused.
func (r *Replica) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.waiting.Wait()
}
