package rebalance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/rebalance/stream"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
)

// Kinds of the control calls that Handle answers.
const (
	Call = "rebalance.state" // how far a node is
	Page = stream.Page       // a part of a range
)

// Replica is this node as a replica.
type Replica interface {
	View() *schema.View
	FrozenFence(ctx context.Context) (hlc.Timestamp, error)
	CleanUp(ctx context.Context, from token.RangeID) (next token.RangeID, removed bool, err error)
}

// Store is this node as a replica that is filled and that others are filled from.
type Store interface {
	stream.Reader
	stream.Writer
}

// Catalog decides the steps of changes.
type Catalog interface {
	Advance(ctx context.Context, change uint64, from ring.Phase, fence hlc.Timestamp) error
	Abort(ctx context.Context, change uint64) error
	Confirm(ctx context.Context) error
}

// Env is what a Driver uses of the node around it. Every field is needed.
type Env struct {
	Self    ring.NodeID
	Replica Replica
	Store   Store // the same replica
	Engine  *storage.Engine
	Meta    *storage.Meta // that of Engine
	Clock   stream.Clock
	Catalog Catalog
	// Ask makes a control call to a member.
	Ask   func(ctx context.Context, node ring.NodeID, kind string, body []byte) ([]byte, error)
	Alive func(ring.NodeID) bool
	// Verified reports whether a range was verified with a peer by this or a later
	// version of the catalog; Hurry makes that happen soon.
	Verified func(v *schema.View, keyspace string, id token.RangeID, peer ring.NodeID) bool
	Hurry    func(ids []token.RangeID, peer ring.NodeID)
	// Held counts the hints that this node has to hand over before it leaves.
	Held func() int64
	// Pace is which part of its ordinary speed work may have here, by what clients feel.
	Pace func() float64

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (e *Env) validate() error {
	if e.Self == (ring.NodeID{}) || e.Replica == nil || e.Catalog == nil || e.Ask == nil || e.Alive == nil || e.Verified == nil ||
		e.Hurry == nil || e.Held == nil || e.Pace == nil || e.Store == nil || e.Engine == nil || e.Meta == nil || e.Clock == nil || e.Logger == nil || e.Registerer == nil {
		return errors.New("rebalance: every field of Env is needed")
	}
	return nil
}

// Driver takes part in changes of the layout: as a node that takes ranges over, and as
// the one that drives.
type Driver struct {
	cfg     Config
	env     Env
	metrics *metrics
	source  *stream.Source
	sink    *stream.Sink
	filling filling
	pace    pace

	// These belong to Step.
	phase   phase
	since   time.Time                 // when this phase was first seen
	dead    map[ring.NodeID]time.Time // nodes that join and do not answer, since when
	hurried time.Time                 // when all that is missing was last compared soon
	asked   map[duty]bool             // what was since
	// confirmed is when the catalog was last asked for a decision that got lost.
	confirmed time.Time
	clean     cleaning

	mu    sync.Mutex // guards the fields below
	plans plans
	began time.Time // when Step has seen this phase first
}

type phase struct {
	change uint64
	name   ring.Phase
}

// plans are the transfers of a view, and what this node gains by them.
type plans struct {
	view  *schema.View
	all   []transfer
	gains map[stream.Target]bool
}

// New makes a Driver.
func New(cfg Config, env Env) (*Driver, error) {
	if err := errors.Join(cfg.Validate(), env.validate()); err != nil {
		return nil, err
	}
	d := &Driver{cfg: cfg, env: env, metrics: newMetrics(env.Registerer), dead: map[ring.NodeID]time.Time{}}
	d.pace.set(1)
	d.metrics.pace.Set(1)
	var err, failed error
	d.source, err = stream.NewSource(cfg.Stream, stream.SourceEnv{Self: env.Self, Replica: env.Store, Engine: env.Engine, Registerer: env.Registerer})
	d.sink, failed = stream.NewSink(cfg.Stream, stream.SinkEnv{
		Self: env.Self, Replica: env.Store, Meta: env.Meta, Caller: caller{env.Ask}, Clock: env.Clock, Pace: d.Pace, Logger: env.Logger, Registerer: env.Registerer,
	})
	return d, errors.Join(err, failed)
}

// caller makes control calls.
type caller struct {
	ask func(ctx context.Context, node ring.NodeID, kind string, body []byte) ([]byte, error)
}

// Call makes one.
func (c caller) Call(ctx context.Context, to ring.NodeID, kind string, body []byte) ([]byte, error) {
	return c.ask(ctx, to, kind, body)
}

func (d *Driver) transfers(v *schema.View) []transfer { return d.planned(v).all }

func (d *Driver) planned(v *schema.View) plans {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.plans.view == v {
		return d.plans
	}
	d.plans = plans{v, transfers(v), map[stream.Target]bool{}}
	for me, i := d.env.Self, 0; i < len(d.plans.all); i++ {
		x := &d.plans.all[i]
		if slices.ContainsFunc(x.gained, func(m uint16) bool { return v.Ring.Member(m).ID == me }) {
			d.plans.gains[stream.Target{Keyspace: x.keyspace, Range: x.id, Change: v.Ring.Change().ID}] = true
		}
	}
	return d.plans
}

// State is how far a node is with a change.
type State struct {
	Generation uint64 `json:"generation"`
	Version    uint64 `json:"version"` // of the catalog that it serves by
	Duties     int    `json:"duties"`  // ranges, by source, that it has to take over
	Done       int    `json:"done"`
	Held       int64  `json:"held"` // hints that it has to hand over before it leaves
	Rows       uint64 `json:"rows"` // pulled in bulk for this change
	Bytes      uint64 `json:"bytes"`
	// Pace is how hard clients let this node work, up to 1.
	Pace   *float64 `json:"pace,omitempty"`
	Stored uint64   `json:"stored"` // bytes on its disk
	// WaitsFor counts the ranges that are not done by the node they come from; those in
	// quarantine here by this one.
	WaitsFor map[string]int `json:"waits_for,omitempty"`
	// Quarantined counts ranges that come to it or from it and are in quarantine here:
	// nobody is complete by them.
	Quarantined int `json:"quarantined,omitempty"`
}

// State is this node's.
func (d *Driver) State() State {
	v := d.env.Replica.View()
	if v == nil {
		return State{}
	}
	pace := d.env.Pace()
	s := State{Generation: v.Generation, Version: v.Version, Held: d.env.Held(), Pace: &pace, WaitsFor: map[string]int{}}
	for _, open := range d.open(v, &s) {
		if d.env.Store.InQuarantine(open.id) {
			open.peer = d.env.Self
		}
		s.WaitsFor[open.peer.String()]++
	}
	s.Quarantined = d.quarantined(v)
	if c := v.Ring.Change(); c != nil {
		s.Rows, s.Bytes = d.filling.pulled(c.ID, d.sink.Progress())
	}
	if stats, err := d.env.Engine.Stats(nil); err == nil { // else it is not known: it serves estimates
		s.Stored = stats.Bytes
	}
	return s
}

// quarantined counts the ranges in quarantine that come here or go from here.
func (d *Driver) quarantined(v *schema.View) (ranges int) {
	me, ok := v.Ring.Index(d.env.Self)
	if !ok {
		return 0
	}
	all := d.transfers(v)
	for i := range all {
		x := &all[i]
		if d.env.Store.InQuarantine(x.id) && (slices.Contains(x.gained, me) || slices.Contains(x.outgoing(), me)) {
			ranges++
		}
	}
	return ranges
}

// open lists the duties that are not done, and counts them all. What has been verified
// and cannot be read any more is not done.
func (d *Driver) open(v *schema.View, s *State) (all []duty) {
	me, ok := v.Ring.Index(d.env.Self)
	if c := v.Ring.Change(); !ok || c == nil {
		return nil
	}
	transfers := d.transfers(v)
	for i := range transfers {
		for _, one := range transfers[i].duties(v, me) {
			s.Duties++
			if d.env.Verified(v, one.keyspace, one.id, one.peer) && !d.env.Store.InQuarantine(one.id) {
				s.Done++
			} else {
				all = append(all, one)
			}
		}
	}
	return all
}

// Handle answers another member's call.
func (d *Driver) Handle(ctx context.Context, from ring.NodeID, kind string, body []byte) ([]byte, error) {
	if kind == Page {
		return d.source.Handle(ctx, from, kind, body)
	}
	return json.Marshal(d.State())
}

// ask asks a member how far it is.
func (d *Driver) ask(ctx context.Context, id ring.NodeID) (State, error) {
	switch {
	case id == d.env.Self:
		return d.State(), nil
	case !d.env.Alive(id):
		return State{}, errors.New("it is not alive")
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.CallTimeout)
	defer cancel()
	var s State
	b, err := d.env.Ask(ctx, id, Call, nil)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	return s, err
}

// Step takes the change on its way one step on, as far as that is this node's part.
func (d *Driver) Step(ctx context.Context) (idle bool, err error) {
	v := d.env.Replica.View()
	if v == nil {
		return true, nil
	}
	c := v.Ring.Change()
	if c == nil {
		d.phase = phase{}
		d.metrics.duties.Set(0)
		d.metrics.done.Set(0)
		return d.cleanUp(ctx, v)
	}
	if now := (phase{c.ID, c.Phase}); d.phase != now {
		d.phase, d.since, d.hurried, d.confirmed = now, time.Now(), time.Time{}, time.Now()
		clear(d.dead)
		d.begin(d.since)
	}
	d.heed(ctx, d.takeOver(v))
	if !d.drives(v) {
		return true, nil
	}
	return d.drive(ctx, v, c)
}

// takeOver has what this node lacks compared with those that have it, once it is
// filled as far as that could be done in bulk, and returns who these are.
func (d *Driver) takeOver(v *schema.View) (sources map[ring.NodeID]bool) {
	var s State
	missing := map[ring.NodeID][]token.RangeID{}
	sources = map[ring.NodeID]bool{}
	if time.Since(d.hurried) >= d.cfg.HurryEvery {
		d.hurried, d.asked = time.Now(), map[duty]bool{}
	}
	for _, one := range d.open(v, &s) {
		sources[one.peer] = true
		if !d.Awaits(v, one.keyspace, one.id) && !d.asked[one] {
			d.asked[one] = true
			missing[one.peer] = append(missing[one.peer], one.id)
		}
	}
	d.metrics.duties.Set(float64(s.Duties))
	d.metrics.done.Set(float64(s.Done))
	for peer, ids := range missing {
		d.env.Hurry(ids, peer)
	}
	return sources
}

// drives reports whether this node drives: the live voter with the smallest id that
// stays does, and the next ones if a phase lasts long.
func (d *Driver) drives(v *schema.View) bool {
	me, ok := v.Ring.Index(d.env.Self)
	if !ok {
		return false
	}
	rank := d.rank(v, v.Ring.Member(me))
	return rank >= 0 && time.Since(d.since) >= time.Duration(rank)*d.cfg.TakeOver
}

// rank is how many members drive sooner than one; negative: it does not drive.
func (d *Driver) rank(v *schema.View, one *ring.Member) (rank int) {
	if !d.mayDrive(one) {
		return -1
	}
	for i := range v.Ring.Members() {
		if m := v.Ring.Member(uint16(i)); d.mayDrive(m) && bytes.Compare(m.ID[:], one.ID[:]) < 0 {
			rank++
		}
	}
	return rank
}

func (d *Driver) mayDrive(m *ring.Member) bool {
	return m.Voter && m.State == ring.Normal && (m.ID == d.env.Self || d.env.Alive(m.ID))
}

func (d *Driver) drive(ctx context.Context, v *schema.View, c *ring.Change) (idle bool, err error) {
	if v.Ring.Expects() > 0 && time.Since(d.since) > d.cfg.GiveUp {
		d.env.Logger.Warn("a change of the layout is aborted: not all nodes came that were to join in it", "missing", v.Ring.Expects(), "for", d.cfg.GiveUp)
		d.metrics.aborts.Inc()
		return false, d.env.Catalog.Abort(ctx, c.ID)
	}
	if gone := d.lost(v, c); gone != nil {
		d.env.Logger.Warn("a change of the layout is aborted: a node that joins does not answer", "node", *gone, "for", d.cfg.GiveUp, "change", c.Kind)
		d.metrics.aborts.Inc()
		return false, d.env.Catalog.Abort(ctx, c.ID)
	}
	waiting, err := d.waiting(ctx, v, c)
	if err != nil {
		return true, err
	}
	if len(waiting) > 0 {
		return true, d.confirm(ctx)
	}
	var fence hlc.Timestamp
	if c.Phase == ring.Announced {
		if fence, err = d.env.Replica.FrozenFence(ctx); err != nil {
			return true, err
		}
	}
	if err := d.env.Catalog.Advance(ctx, c.ID, c.Phase, fence); err != nil {
		return true, fmt.Errorf("rebalance: take the change %q on from %s: %w", c.Kind, c.Phase, err)
	}
	d.metrics.steps.WithLabelValues(string(c.Phase)).Inc()
	d.env.Logger.Info("a change of the layout goes on", "change", c.Kind, "id", c.ID, "done", c.Phase, "took", time.Since(d.since).Round(time.Millisecond))
	return false, nil
}

// confirm finds out, ever more seldom while a phase lasts, whether the next one was
// decided and nobody who is left knows: its driver may have died, and a node that
// leaves have gone.
func (d *Driver) confirm(ctx context.Context) error {
	if d.phase.name != ring.Flipped || time.Since(d.confirmed) < max(2*d.cfg.TakeOver, d.confirmed.Sub(d.since)) {
		return nil
	}
	d.confirmed = time.Now()
	return d.env.Catalog.Confirm(ctx)
}

// lost is a node that joins and has not answered for too long; nil: there is none, or
// the change cannot be aborted any more.
func (d *Driver) lost(v *schema.View, c *ring.Change) *ring.NodeID {
	if c.Phase == ring.Flipped {
		return nil
	}
	for i := range v.Ring.Members() {
		m := v.Ring.Member(uint16(i))
		if m.State != ring.Joining || d.env.Alive(m.ID) {
			delete(d.dead, m.ID)
			continue
		}
		since, known := d.dead[m.ID]
		if !known {
			d.dead[m.ID] = time.Now()
		} else if time.Since(since) > d.cfg.GiveUp {
			return &m.ID
		}
	}
	return nil
}
