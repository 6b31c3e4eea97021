package purge

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/antientropy/share"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
)

// points are the purge points of a keyspace, in Unix seconds.
type points struct{ at [token.Ranges]int64 }

const (
	pointsVersion = 1
	pointsSize    = 1 + 8*token.Ranges
)

func pointsKey(keyspace string) string { return "antientropy/points/" + keyspace }

func (p *points) encode() []byte {
	b := append(make([]byte, 0, pointsSize), pointsVersion)
	for _, at := range p.at {
		b = binary.BigEndian.AppendUint64(b, uint64(at))
	}
	return b
}

// loadPoints reads what was persisted; points that another version has written are
// found again.
func loadPoints(meta *storage.Meta, keyspace string) (*points, error) {
	b, _, err := meta.Get(pointsKey(keyspace))
	if err != nil {
		return nil, fmt.Errorf("purge: load purge points of %s: %w", keyspace, err)
	}
	return decodePoints(b), nil
}

func decodePoints(b []byte) *points {
	p := &points{}
	if len(b) == pointsSize && b[0] == pointsVersion {
		for i := range p.at {
			p.at[i] = int64(binary.BigEndian.Uint64(b[1+8*i:]))
		}
	}
	return p
}

// raiseFence moves this node's fence up to the smallest floor of all members, but
// not past what others still hold for this node: it would be refused.
func (k *Keeper) raiseFence(ctx context.Context) error {
	k.mu.Lock()
	to := fence(k.floor, k.members)
	k.mu.Unlock()
	if to <= k.env.Fences.Fence() {
		return nil
	}
	return k.env.Fences.RaiseFence(ctx, to)
}

// fence is as far as a node's fence may go. A member that was never heard of has no
// floor yet. What a member holds is the word of its last answer.
func fence(own hlc.Timestamp, members map[ring.NodeID]*member) hlc.Timestamp {
	to := own
	for _, m := range members {
		to = min(to, m.floor)
		if m.hold > 0 {
			to = min(to, m.hold-1)
		}
	}
	return to
}

// movePoints looks at each range of this node: a point for which all replicas are
// level waits for this node's fence, and then holds.
func (k *Keeper) movePoints(ctx context.Context, v *schema.View) error {
	now, err := k.env.Clock.Now()
	if err != nil {
		return fmt.Errorf("purge: move purge points: %w", err)
	}
	later := now + hlc.Timestamp(k.cfg.Skew.Microseconds())
	ready := map[message.Target]int64{}
	waiting := record.Never
	for _, t := range share.Targets(v, k.env.Self) {
		aged, err := k.env.Ledger.Aged(ctx, v, t)
		if err != nil {
			return fmt.Errorf("purge: move purge points: %w", err)
		}
		if aged > 0 {
			waiting = min(waiting, aged)
		}
		if p, ok := k.advance(v, t, aged, later); ok {
			ready[t] = p
		}
	}
	k.mu.Lock()
	k.waiting = waiting
	k.mu.Unlock()
	return k.install(v, ready)
}

// advance takes a range one step on; ok means that the point may be used now.
func (k *Keeper) advance(v *schema.View, t message.Target, aged int64, later hlc.Timestamp) (point int64, ok bool) {
	fence, own := k.env.Fences.Fence(), k.own(v, t)
	others := share.Others(v, t, k.env.Self)
	k.mu.Lock()
	defer k.mu.Unlock()
	if p, ok := k.pending[t]; ok {
		if fence < p.fence {
			return 0, false
		}
		delete(k.pending, t)
		return p.point, true
	}
	level := own
	for _, id := range others {
		m := k.members[id]
		if m == nil {
			return 0, false
		}
		level = min(level, m.levels[t])
	}
	before := int64(0)
	if p := k.points[share.Keyspace(v, t.Placement)]; p != nil {
		before = p.at[t.ID]
	}
	// A deletion of the same second as the level may have been born after it.
	point = level.Seconds() - 1
	if point < before+int64(k.cfg.Pace/time.Second) || aged > point {
		return 0, false
	}
	k.pending[t] = pending{point: point, fence: later}
	return 0, false
}

// install persists purge points and then uses them.
func (k *Keeper) install(v *schema.View, ready map[message.Target]int64) error {
	changed := map[string]*points{}
	k.mu.Lock()
	for t, point := range ready {
		name := share.Keyspace(v, t.Placement)
		if changed[name] == nil {
			changed[name] = &points{}
			if p := k.points[name]; p != nil {
				*changed[name] = *p
			}
		}
		changed[name].at[t.ID] = max(changed[name].at[t.ID], point)
	}
	k.mu.Unlock()
	for name, p := range changed {
		if err := k.env.Meta.Set(pointsKey(name), p.encode()); err != nil {
			return fmt.Errorf("purge: persist purge points of %s: %w", name, err)
		}
		k.mu.Lock()
		k.points[name] = p
		k.mu.Unlock()
	}
	k.metrics.moved.Add(float64(len(ready)))
	return nil
}
