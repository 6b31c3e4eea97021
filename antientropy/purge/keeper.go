package purge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/antientropy/share"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
)

// Fences is this node's fence: *replica.Replica.
type Fences interface {
	// RaiseFence refuses groups born at or below a timestamp, for good, when it returns.
	RaiseFence(ctx context.Context, to hlc.Timestamp) error
	Fence() hlc.Timestamp
}

// Hints is what this node keeps for others: *hinted.Handoff.
type Hints interface {
	// Publish returns the largest timestamp up to limit at or below which no counted
	// hint is or will be held. It never goes back.
	Publish(limit hlc.Timestamp) (hlc.Timestamp, error)
	// Oldest is when the oldest group that is kept for a node was born, about.
	Oldest(target ring.NodeID) (born hlc.Timestamp, ok bool)
}

// Ledger is what anti-entropy knows of this node's ranges.
type Ledger interface {
	// Level returns the level with a peer in a range; 0 if there is none.
	Level(keyspace string, id token.RangeID, peer ring.NodeID) hlc.Timestamp
	// Aged returns the smallest deletion or expiry in a range, in Unix seconds;
	// record.Never if there is none, 0 if that is not known now.
	Aged(ctx context.Context, v *schema.View, t message.Target) (int64, error)
}

// Clock is this node's clock: *hlc.Clock.
type Clock interface {
	Now() (hlc.Timestamp, error)
	Physical() time.Time
}

// Env is what a Keeper uses of the node around it. Every field is needed unless
// said otherwise.
type Env struct {
	Self   ring.NodeID
	Fences Fences
	Hints  Hints // nil: none are kept
	Ledger Ledger
	Meta   *storage.Meta
	Clock  Clock
	// Call asks a member's Answer.
	Call func(ctx context.Context, to ring.NodeID, kind string, body []byte) ([]byte, error)
	// Alive reports whether a member is worth a call; nil: always.
	Alive      func(ring.NodeID) bool
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (e *Env) validate() error {
	switch {
	case e.Self == ring.NodeID{} || e.Fences == nil || e.Ledger == nil || e.Meta == nil:
		return errors.New("purge: Env.Self, Env.Fences, Env.Ledger and Env.Meta are needed")
	case e.Clock == nil || e.Call == nil || e.Logger == nil || e.Registerer == nil:
		return errors.New("purge: Env.Clock, Env.Call, Env.Logger and Env.Registerer are needed")
	}
	return nil
}

// Keeper keeps this node's floor, what it heard of others', and the purge points of
// its ranges. Step belongs to one goroutine; the rest is safe for concurrent use.
type Keeper struct {
	cfg     Config
	env     Env
	metrics *metrics

	mu      sync.Mutex // guards the fields below
	view    *schema.View
	floor   hlc.Timestamp // this node's
	members map[ring.NodeID]*member
	points  map[string]*points // by keyspace
	pending map[message.Target]pending
	waiting int64 // the smallest deletion or expiry that is not purged; Unix seconds
}

// member is what another node has said of itself.
type member struct {
	floor, fence, hold hlc.Timestamp
	levels             map[message.Target]hlc.Timestamp // by this view's targets
	heard              time.Time                        // when it last answered; at first when it was first wanted
	told               bool                             // that it blocks purging
}

// pending is a purge point that waits for this node's fence.
type pending struct {
	point int64
	fence hlc.Timestamp
}

// New makes a Keeper.
func New(cfg Config, env Env) (*Keeper, error) {
	if err := errors.Join(cfg.Validate(), env.validate()); err != nil {
		return nil, err
	}
	return &Keeper{
		cfg: cfg, env: env, metrics: newMetrics(env.Registerer),
		members: map[ring.NodeID]*member{}, points: map[string]*points{},
		pending: map[message.Target]pending{}, waiting: record.Never,
	}, nil
}

// Meet takes up a view: it loads the purge points of its keyspaces. What was
// learnt of levels is forgotten: ranges may have other replicas now.
func (k *Keeper) Meet(v *schema.View) error {
	for _, t := range v.Tables() {
		if err := k.load(t.Keyspace); err != nil {
			return err
		}
	}
	now := k.env.Clock.Physical()
	k.mu.Lock()
	defer k.mu.Unlock()
	members := map[ring.NodeID]*member{}
	for i := range v.Ring.Members() {
		id := v.Ring.Member(uint16(i)).ID
		if id == k.env.Self {
			continue
		}
		m := k.members[id]
		if m == nil {
			m = &member{heard: now}
		}
		m.levels = map[message.Target]hlc.Timestamp{}
		members[id] = m
	}
	k.view, k.members = v, members
	clear(k.pending)
	return nil
}

// load finds the purge points of a keyspace, once.
func (k *Keeper) load(keyspace string) error {
	k.mu.Lock()
	known := k.points[keyspace] != nil
	k.mu.Unlock()
	if known {
		return nil
	}
	p, err := loadPoints(k.env.Meta, keyspace)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.points[keyspace] = p
	return nil
}

// Point is the purge point of a range in a keyspace, in Unix seconds: deletions made
// and data expired at or before it may go. 0: none.
func (k *Keeper) Point(keyspace string, id token.RangeID) int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.points[keyspace]; p != nil {
		return p.at[id]
	}
	return 0
}

// Expired is up to when values of cells have expired for all nodes, in Unix seconds.
func (k *Keeper) Expired() int64 {
	return max(1, k.env.Clock.Physical().Add(-k.cfg.Lag).Unix())
}

// ExpiredBefore is up to when values must have expired to be looked for.
func (k *Keeper) ExpiredBefore() int64 { return k.Expired() - int64(k.cfg.Pace/time.Second) }

// Level is the level that a session with a peer gives, if it begins now and makes
// the two equal.
func (k *Keeper) Level(peer ring.NodeID) hlc.Timestamp {
	own := k.env.Fences.Fence()
	k.mu.Lock()
	defer k.mu.Unlock()
	if m := k.members[peer]; m != nil {
		return min(own, m.fence)
	}
	return 0
}

// Step exchanges with every member, and then moves this node's fence and purge
// points as far as that allows.
func (k *Keeper) Step(ctx context.Context, v *schema.View) error {
	if err := k.raiseFloor(); err != nil {
		return err
	}
	for i := range v.Ring.Members() {
		id := v.Ring.Member(uint16(i)).ID
		if id == k.env.Self || k.env.Alive != nil && !k.env.Alive(id) {
			continue
		}
		if err := k.exchange(ctx, v, id); err != nil {
			k.env.Logger.Debug("purge: a member does not answer", "node", id, "error", err)
		}
	}
	if err := k.raiseFence(ctx); err != nil {
		return err
	}
	err := k.movePoints(ctx, v)
	k.tell()
	return err
}

// raiseFloor moves this node's floor up to Lag behind now.
func (k *Keeper) raiseFloor() error {
	now, err := k.env.Clock.Now()
	if err != nil {
		return fmt.Errorf("purge: raise the floor: %w", err)
	}
	floor := now - hlc.Timestamp(k.cfg.Lag.Microseconds())
	if k.env.Hints != nil {
		if floor, err = k.env.Hints.Publish(floor); err != nil {
			return fmt.Errorf("purge: raise the floor: %w", err)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.floor = max(k.floor, floor)
	return nil
}

// exchange tells a member of this node's state and hears its.
func (k *Keeper) exchange(ctx context.Context, v *schema.View, id ring.NodeID) error {
	m := k.state(v, id, share.With(v, k.env.Self, id))
	body, err := k.env.Call(ctx, id, message.Purge, m.Encode())
	if err != nil {
		return err
	}
	answer, err := message.DecodePurgeState(body)
	if err == nil && len(answer.Levels) != len(m.Targets) {
		err = fmt.Errorf("%w: %d levels of %d ranges", message.ErrMessage, len(answer.Levels), len(m.Targets))
	}
	if err != nil {
		return err
	}
	answer.Targets = m.Targets
	k.hear(v, id, &answer)
	return nil
}

// Answer hears what a member says of itself, and answers it. Both sides serve by v.
func (k *Keeper) Answer(v *schema.View, from ring.NodeID, m *message.PurgeState) message.PurgeState {
	var known []message.Target
	for _, t := range m.Targets {
		if t.Placement < v.Ring.Placements() {
			known = append(known, t)
		}
	}
	if len(m.Levels) == len(m.Targets) && len(known) == len(m.Targets) {
		k.hear(v, from, m)
	}
	answer := k.state(v, from, known)
	answer.Targets = nil
	return answer
}

// state is what this node says of itself to another.
func (k *Keeper) state(v *schema.View, to ring.NodeID, targets []message.Target) message.PurgeState {
	m := message.PurgeState{
		Epoch: share.Epoch(v), Fence: k.env.Fences.Fence(), Targets: targets,
	}
	if k.env.Hints != nil {
		if born, ok := k.env.Hints.Oldest(to); ok {
			m.Hold = born
		}
	}
	for _, t := range targets {
		m.Levels = append(m.Levels, k.own(v, t))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	m.Floor = k.floor
	return m
}

// hear takes up what a member has said of itself, unless the view is another now.
func (k *Keeper) hear(v *schema.View, from ring.NodeID, s *message.PurgeState) {
	now := k.env.Clock.Physical()
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.members[from]
	if m == nil || k.view != v {
		return
	}
	m.floor, m.fence, m.hold, m.heard = max(m.floor, s.Floor), max(m.fence, s.Fence), s.Hold, now
	for i, t := range s.Targets {
		m.levels[t] = max(m.levels[t], s.Levels[i])
	}
}

// own is this node's level in a range: the smallest with any other replica. A node
// that is alone is level with itself as far as its fence.
func (k *Keeper) own(v *schema.View, t message.Target) hlc.Timestamp {
	if !share.Holds(v, t, k.env.Self) {
		return 0
	}
	level, name := k.env.Fences.Fence(), share.Keyspace(v, t.Placement)
	for _, id := range share.Others(v, t, k.env.Self) {
		level = min(level, k.env.Ledger.Level(name, t.ID, id))
	}
	return level
}
