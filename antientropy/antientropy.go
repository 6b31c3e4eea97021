package antientropy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/antientropy/filling"
	"github.com/dunlindb/dunlin/antientropy/ledger"
	"github.com/dunlindb/dunlin/antientropy/purge"
	"github.com/dunlindb/dunlin/antientropy/tree"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// Replica is this node as a replica: *replica.Replica.
type Replica interface {
	// View is what the whole replica serves by; nil before the first.
	View() *schema.View
	// InQuarantine reports whether something of a range is missing here.
	InQuarantine(id token.RangeID) bool
	Apply(from ring.NodeID, g transport.Group, deadline time.Time, sink transport.Sink, tag uint32)
}

// Marks is what the replica knows of its leaves: *replica.Replica.
type Marks interface {
	// LeafRange counts changes of a range's leaves, and its dirty leaves.
	LeafRange(id token.RangeID) (epoch uint64, dirty int)
	// Leaves lists a range's leaves that have rows, in order.
	Leaves(ctx context.Context, id token.RangeID) ([]record.LeafState, error)
	// CutLeaf begins a hash; KeepLeaves records it, unless the leaf was written since.
	CutLeaf(ctx context.Context, l record.Leaf) (ticket uint64, err error)
	KeepLeaves(ctx context.Context, cuts []record.LeafCut) (kept int, err error)
	// RotateLeaves begins a new period of settling.
	RotateLeaves(ctx context.Context) error
}

// Purger drops what may go of this node's rows: *replica.Replica.
type Purger interface {
	purge.Fences
	// PurgeRows drops what may go of rows of one range, in key order, as they are now.
	PurgeRows(ctx context.Context, id token.RangeID, keys [][]byte, form record.PurgeForm) (record.Purged, error)
	// PurgeHead does so with a head, if it still is what it was.
	PurgeHead(ctx context.Context, id token.RangeID, key, was []byte, form record.PurgeForm) (record.Purged, error)
}

// Hints is what this node keeps for others: *hinted.Handoff.
type Hints = purge.Hints

// Clock is this node's clock: *hlc.Clock.
type Clock interface {
	Now() (hlc.Timestamp, error)
	Physical() time.Time
}

// Env is what AntiEntropy uses of the node around it. Every field is needed unless
// said otherwise.
type Env struct {
	Self    ring.NodeID
	Replica Replica
	Marks   Marks
	Purger  Purger
	Hints   Hints // nil: none are kept
	Engine  *storage.Engine
	Clock   Clock
	// Call asks a peer's Handle, at most until ctx ends. An error of Handle comes
	// back as a *transport.ControlError.
	Call func(ctx context.Context, to ring.NodeID, kind string, body []byte) ([]byte, error)
	// Alive reports whether a peer is worth a call; nil: always.
	Alive func(ring.NodeID) bool
	// Awaits reports whether a range of a keyspace is about to be filled here in bulk: it
	// is not compared before, which would pull it row by row. Nil: none is.
	Awaits func(v *schema.View, keyspace string, id token.RangeID) bool
	// Pace is which part of Config.HurryShare urgent work may have, up to 1; nil: all.
	Pace func() float64
	// OnCorrupt hears of a range of which something cannot be read; nil: nobody does.
	OnCorrupt  func(id token.RangeID, err error)
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (e *Env) validate() error {
	switch {
	case e.Self == ring.NodeID{}:
		return errors.New("antientropy: Env.Self is not set")
	case e.Replica == nil || e.Marks == nil || e.Purger == nil || e.Engine == nil:
		return errors.New("antientropy: Env.Replica, Env.Marks, Env.Purger and Env.Engine are needed")
	case e.Clock == nil || e.Call == nil:
		return errors.New("antientropy: Env.Clock and Env.Call are needed")
	case e.Logger == nil || e.Registerer == nil:
		return errors.New("antientropy: Env.Logger and Env.Registerer are needed")
	}
	return nil
}

// AntiEntropy keeps this node's ranges equal to its peers'. Step belongs to one
// goroutine; everything else is safe for concurrent use.
type AntiEntropy struct {
	cfg     Config
	env     Env
	metrics *metrics
	purge   *purge.Keeper
	ledger  *ledger.Ledger
	walks   sync.Pool     // of *tree.Walker
	serving chan struct{} // slots of answers that read rows
	served  *filling.Keeper
	wake    chan struct{} // one slot

	plan schedule // belongs to Step

	mu       sync.Mutex // guards the fields below
	looks    [token.Ranges]*look
	busy     map[pair]struct{} // ranges that are being changed on behalf of a peer
	hurried  []Scope           // that Step has not taken up
	progress progress
	pulled   map[uint32]pulled // by table
}

// pair is a range and a peer.
type pair struct {
	id   token.RangeID
	peer ring.NodeID
}

// pulled counts repaired rows of a table.
type pulled struct{ rows, bytes uint64 }

// New makes an AntiEntropy.
func New(cfg Config, env Env) (*AntiEntropy, error) {
	if err := errors.Join(cfg.Validate(), env.validate()); err != nil {
		return nil, err
	}
	a := &AntiEntropy{
		cfg: cfg, env: env, metrics: newMetrics(env.Registerer),
		serving: make(chan struct{}, cfg.Serving), wake: make(chan struct{}, 1),
		busy: map[pair]struct{}{}, pulled: map[uint32]pulled{},
		served: filling.New(cfg.Serving), ledger: ledger.New(env.Engine.Meta()),
	}
	a.plan.peers, a.plan.hash.corrupt = map[ring.NodeID]*peer{}, map[record.Leaf]struct{}{}
	var err error
	a.purge, err = purge.New(cfg.Purge, purge.Env{
		Self: env.Self, Fences: env.Purger, Hints: env.Hints, Ledger: a, Meta: env.Engine.Meta(), Clock: env.Clock,
		Call: a.ask, Alive: env.Alive, Logger: env.Logger, Registerer: env.Registerer,
	})
	return a, err
}

// Wake receives when Step has become urgent.
func (a *AntiEntropy) Wake() <-chan struct{} { return a.wake }

// begin claims a range for changes on behalf of a peer; end gives it back.
func (a *AntiEntropy) begin(p pair) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, taken := a.busy[p]; taken {
		return false
	}
	a.busy[p] = struct{}{}
	return true
}

func (a *AntiEntropy) end(p pair) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.busy, p)
}

// walk visits the keys of a span with a pooled walker, within a piece, and counts
// them.
func (a *AntiEntropy) walk(s tree.Span, f tree.Form, see tree.Visit) (tree.Walked, error) {
	w, ok := a.walks.Get().(*tree.Walker)
	if !ok {
		w = tree.NewWalker(a.env.Engine)
	}
	defer a.walks.Put(w)
	limits := tree.Limits{Rows: a.cfg.PieceRows, Time: a.cfg.PieceTime}
	if f.Expired > 0 {
		limits.Loose = looseMax
	}
	at, err := w.Walk(s, f, limits, see)
	a.metrics.rowsRead.Add(float64(at.Rows))
	if errors.Is(err, storage.ErrCorrupt) {
		a.metrics.corrupt.Inc()
		if a.env.OnCorrupt != nil {
			a.env.OnCorrupt(s.Leaf.Range, err)
		}
	}
	return at, err
}

// ask asks a peer on behalf of Step.
func (a *AntiEntropy) ask(ctx context.Context, to ring.NodeID, kind string, body []byte) ([]byte, error) {
	began := time.Now()
	answer, err := a.call(ctx, to, kind, body)
	a.plan.waited(to, time.Since(began), a.cfg.PieceTime)
	return answer, err
}

// call asks a peer.
func (a *AntiEntropy) call(ctx context.Context, to ring.NodeID, kind string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.CallTimeout)
	defer cancel()
	a.metrics.sent.Add(float64(len(body)))
	answer, err := a.env.Call(ctx, to, kind, body)
	a.metrics.received.Add(float64(len(answer)))
	return answer, err
}
