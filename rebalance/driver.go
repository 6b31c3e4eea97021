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
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// Call is the kind of the control call that Answer answers.
const Call = "rebalance.state"

// Replica is this node as a replica.
type Replica interface {
	View() *schema.View
	FrozenFence(ctx context.Context) (hlc.Timestamp, error)
	CleanUp(ctx context.Context, from token.RangeID) (next token.RangeID, removed bool, err error)
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

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (e *Env) validate() error {
	if e.Self == (ring.NodeID{}) || e.Replica == nil || e.Catalog == nil || e.Ask == nil || e.Alive == nil || e.Verified == nil ||
		e.Hurry == nil || e.Held == nil || e.Logger == nil || e.Registerer == nil {
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

	// These belong to Step.
	phase   phase
	since   time.Time                 // when this phase was first seen
	dead    map[ring.NodeID]time.Time // nodes that join and do not answer, since when
	hurried time.Time
	// confirmed is when the catalog was last asked for a decision that got lost.
	confirmed time.Time
	clean     cleaning

	mu    sync.Mutex // guards plans
	plans plans
}

type phase struct {
	change uint64
	name   ring.Phase
}

// plans are the transfers of a view.
type plans struct {
	view *schema.View
	all  []transfer
}

// New makes a Driver.
func New(cfg Config, env Env) (*Driver, error) {
	if err := errors.Join(cfg.Validate(), env.validate()); err != nil {
		return nil, err
	}
	return &Driver{cfg: cfg, env: env, metrics: newMetrics(env.Registerer), dead: map[ring.NodeID]time.Time{}}, nil
}

func (d *Driver) transfers(v *schema.View) []transfer {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.plans.view != v {
		d.plans = plans{v, transfers(v)}
	}
	return d.plans.all
}

// State is how far a node is with a change.
type State struct {
	Generation uint64 `json:"generation"`
	Version    uint64 `json:"version"` // of the catalog that it serves by
	Duties     int    `json:"duties"`  // ranges, by source, that it has to take over
	Done       int    `json:"done"`
	Held       int64  `json:"held"` // hints that it has to hand over before it leaves
	// WaitsFor counts the ranges that are not done by the node they come from.
	WaitsFor map[string]int `json:"waits_for,omitempty"`
}

// State is this node's.
func (d *Driver) State() State {
	v := d.env.Replica.View()
	if v == nil {
		return State{}
	}
	s := State{Generation: v.Generation, Version: v.Version, Held: d.env.Held(), WaitsFor: map[string]int{}}
	for _, open := range d.open(v, &s) {
		s.WaitsFor[open.peer.String()]++
	}
	return s
}

// open lists the duties that are not done, and counts them all.
func (d *Driver) open(v *schema.View, s *State) (all []duty) {
	me, ok := v.Ring.Index(d.env.Self)
	if c := v.Ring.Change(); !ok || c == nil {
		return nil
	}
	transfers := d.transfers(v)
	for i := range transfers {
		for _, one := range transfers[i].duties(v, me) {
			s.Duties++
			if d.env.Verified(v, one.keyspace, one.id, one.peer) {
				s.Done++
			} else {
				all = append(all, one)
			}
		}
	}
	return all
}

// Answer answers another member.
func (d *Driver) Answer() ([]byte, error) { return json.Marshal(d.State()) }

// ask asks a member how far it is.
func (d *Driver) ask(ctx context.Context, id ring.NodeID) (State, error) {
	if id == d.env.Self {
		return d.State(), nil
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
	}
	d.takeOver(v)
	if !d.drives(v) {
		return true, nil
	}
	return d.drive(ctx, v, c)
}

// takeOver has what this node lacks compared with those that have it.
func (d *Driver) takeOver(v *schema.View) {
	var s State
	missing := map[ring.NodeID][]token.RangeID{}
	for _, one := range d.open(v, &s) {
		missing[one.peer] = append(missing[one.peer], one.id)
	}
	d.metrics.duties.Set(float64(s.Duties))
	d.metrics.done.Set(float64(s.Done))
	if len(missing) == 0 || time.Since(d.hurried) < d.cfg.HurryEvery {
		return
	}
	d.hurried = time.Now()
	for peer, ids := range missing {
		d.env.Hurry(ids, peer)
	}
}

// drives reports whether this node drives: the live voter with the smallest id that
// stays does, and the next ones if a phase lasts long.
func (d *Driver) drives(v *schema.View) bool {
	rank := 0
	for i := range v.Ring.Members() {
		m := v.Ring.Member(uint16(i))
		if m.Voter && m.State == ring.Normal && m.ID != d.env.Self && bytes.Compare(m.ID[:], d.env.Self[:]) < 0 && d.env.Alive(m.ID) {
			rank++
		}
	}
	me, ok := v.Ring.Index(d.env.Self)
	return ok && v.Ring.Member(me).Voter && v.Ring.Member(me).State == ring.Normal && time.Since(d.since) >= time.Duration(rank)*d.cfg.TakeOver
}

func (d *Driver) drive(ctx context.Context, v *schema.View, c *ring.Change) (idle bool, err error) {
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

// needed are the members that must have got so far, and what of them.
type needed struct {
	duties   map[ring.NodeID]bool // its ranges are complete
	informed map[ring.NodeID]bool // it serves by the present phase
}

func (d *Driver) needed(v *schema.View, c *ring.Change) needed {
	n := needed{map[ring.NodeID]bool{}, map[ring.NodeID]bool{}}
	for i := range v.Ring.Members() {
		if m := v.Ring.Member(uint16(i)); m.State == ring.Joining && c.Phase == ring.Announced {
			n.informed[m.ID] = true
		}
	}
	transfers := d.transfers(v)
	for i := range transfers {
		x := &transfers[i]
		for _, m := range x.outgoing() {
			n.informed[v.Ring.Member(m).ID] = true
		}
		if c.Phase != ring.Streaming {
			continue
		}
		for _, m := range slices.Concat(x.gained, x.rest) {
			if len(x.duties(v, m)) > 0 {
				n.duties[v.Ring.Member(m).ID] = true
			}
		}
	}
	return n
}

// waiting says, in sentences, what keeps a change from its next phase.
func (d *Driver) waiting(ctx context.Context, v *schema.View, c *ring.Change) (all []string, err error) {
	n := d.needed(v, c)
	for i := range v.Ring.Members() {
		m := v.Ring.Member(uint16(i))
		leaves := m.State == ring.Leaving && c.Phase == ring.Flipped
		if !n.duties[m.ID] && !n.informed[m.ID] && !leaves {
			continue
		}
		s, err := d.ask(ctx, m.ID)
		switch {
		case ctx.Err() != nil:
			return all, ctx.Err()
		case err != nil:
			all = append(all, d.blocked(m, err))
		case s.Generation != v.Generation || s.Version < max(c.ID, v.Ring.MaxChangedAt()):
			all = append(all, fmt.Sprintf("node %s has not adopted catalog version %d yet", m.ID, max(c.ID, v.Ring.MaxChangedAt())))
		case n.duties[m.ID] && (s.Done < s.Duties || s.Version < v.Version):
			all = append(all, fmt.Sprintf("node %s has taken over %d of %d ranges", m.ID, s.Done, s.Duties))
			all = append(all, d.missing(v, &s)...)
		case leaves && s.Held > 0:
			all = append(all, fmt.Sprintf("node %s has %d hints to hand over before it leaves", m.ID, s.Held))
		}
	}
	return all, nil
}

// missing names the nodes that ranges should come from and that are not alive.
func (d *Driver) missing(v *schema.View, s *State) (all []string) {
	for i := range v.Ring.Members() {
		if m := v.Ring.Member(uint16(i)); s.WaitsFor[m.ID.String()] > 0 && !d.env.Alive(m.ID) {
			all = append(all, d.blocked(m, fmt.Errorf("%d ranges have to come from it", s.WaitsFor[m.ID.String()])))
		}
	}
	return all
}

func (d *Driver) blocked(m *ring.Member, err error) string {
	way := "start it again, or abort the change (dunlin layout abort)"
	if m.State == ring.Normal || m.State == ring.Leaving {
		way += fmt.Sprintf("; if it is lost for good, abort and then remove it (dunlin node remove %s)", m.ID)
	}
	return fmt.Sprintf("node %s does not answer (%v): %s", m.ID, err, way)
}
