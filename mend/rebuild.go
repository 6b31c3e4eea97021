package mend

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// Range is a range in quarantine.
type Range struct {
	ID          token.RangeID
	Reason      string
	Undecodable bool          // kept as it is
	Wiped       hlc.Timestamp // when what was stored was dropped; 0: it was not yet
}

// Replica is this node as a replica.
type Replica interface {
	View() *schema.View
	Quarantined() []Range
	Wipe(ctx context.Context, id token.RangeID, now hlc.Timestamp) error
	Release(id token.RangeID) error
}

// RebuildEnv is what Rebuild uses of the node around it. Every field is needed.
type RebuildEnv struct {
	Self    ring.NodeID
	Replica Replica
	// Verified is anti-entropy's; Hurry makes it compare a range at once.
	Verified func(keyspace string, id token.RangeID, peer ring.NodeID) hlc.Timestamp
	Hurry    func(id token.RangeID)
	Alive    func(ring.NodeID) bool
	Now      func() (hlc.Timestamp, error)

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (e *RebuildEnv) validate() error {
	if e.Self == (ring.NodeID{}) || e.Replica == nil || e.Verified == nil || e.Hurry == nil || e.Alive == nil || e.Now == nil || e.Logger == nil || e.Registerer == nil {
		return errors.New("mend: every field of RebuildEnv is needed")
	}
	return nil
}

// Rebuild fills the ranges again that are in quarantine.
type Rebuild struct {
	env     RebuildEnv
	metrics *rebuildMetrics
}

// NewRebuild makes a Rebuild.
func NewRebuild(env RebuildEnv) (*Rebuild, error) {
	if err := env.validate(); err != nil {
		return nil, err
	}
	return &Rebuild{env: env, metrics: newRebuildMetrics(env.Registerer)}, nil
}

// Step takes one range a step on. idle means that all wait for other replicas.
func (r *Rebuild) Step(ctx context.Context) (idle bool, err error) {
	v := r.env.Replica.View()
	if v == nil {
		return true, nil
	}
	for _, q := range r.env.Replica.Quarantined() {
		if q.Undecodable {
			continue
		}
		switch others := r.others(v, q.ID); {
		case len(others) == 0:
			r.env.Logger.Error("what cannot be read of a range is lost: there is no other replica", "range", q.ID, "error", q.Reason)
			r.metrics.lost.Inc()
			return false, r.env.Replica.Release(q.ID)
		case q.Wiped == 0 && r.allAlive(others):
			return false, r.wipe(ctx, q)
		case q.Wiped > 0 && r.filled(others, q):
			r.env.Logger.Info("a range was filled again from other replicas", "range", q.ID)
			r.metrics.rebuilt.Inc()
			return false, r.env.Replica.Release(q.ID)
		}
	}
	return true, nil
}

func (r *Rebuild) wipe(ctx context.Context, q Range) error {
	now, err := r.env.Now()
	if err != nil {
		return err
	}
	if err := r.env.Replica.Wipe(ctx, q.ID, now); err != nil {
		return err
	}
	r.env.Logger.Warn("a range that cannot be read was dropped, and is filled again from other replicas", "range", q.ID)
	r.env.Hurry(q.ID)
	return nil
}

// other is another replica, in a keyspace.
type other struct {
	keyspace string
	id       ring.NodeID
}

// others lists the other replicas of a range that this node is a replica of, in all
// keyspaces that have tables. A replica of now has only those of now: what is to become
// one has nothing that these have not, and may be filled from here.
func (r *Rebuild) others(v *schema.View, id token.RangeID) (all []other) {
	self, member := v.Ring.Index(r.env.Self)
	seen := map[int]bool{}
	for _, t := range v.Tables() {
		if seen[t.Placement] || !member || !v.Ring.Holds(t.Placement, id, self) {
			continue
		}
		seen[t.Placement] = true
		from := v.Ring.Now(t.Placement, id)
		if !slices.Contains(from, self) {
			from = v.Ring.Writers(t.Placement, id)
		}
		for _, m := range from {
			if m != self {
				all = append(all, other{t.Keyspace, v.Ring.Member(m).ID})
			}
		}
	}
	return all
}

func (r *Rebuild) allAlive(others []other) bool {
	for _, o := range others {
		if !r.env.Alive(o.id) {
			return false
		}
	}
	return true
}

// filled reports whether a range was made equal to every other replica since it was
// dropped.
func (r *Rebuild) filled(others []other, q Range) bool {
	for _, o := range others {
		if r.env.Verified(o.keyspace, q.ID, o.id) <= q.Wiped {
			return false
		}
	}
	return true
}
