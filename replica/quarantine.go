package replica

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
)

// Quarantined is a range of which something cannot be read. It takes writes, and
// answers no read.
type Quarantined struct {
	Range  token.RangeID `json:"range"`
	Since  time.Time     `json:"since"`
	Reason string        `json:"reason"`
	// Undecodable: the bytes are as they were written, probably by a newer version.
	// They are kept.
	Undecodable bool `json:"undecodable,omitempty"`
	// Wiped is when what was stored was dropped; 0: it was not yet.
	Wiped hlc.Timestamp `json:"wiped,omitempty"`
}

const quarantineKey = "replica/quarantine"

// quarantine is the ranges that are in it.
type quarantine struct {
	bits [token.Ranges / 64]atomic.Uint64 // what reads look at

	turn   chan struct{} // one slot, held while the set is changed and persisted
	mu     sync.Mutex    // guards ranges
	ranges map[token.RangeID]Quarantined
}

func newQuarantine() *quarantine {
	return &quarantine{turn: make(chan struct{}, 1), ranges: map[token.RangeID]Quarantined{}}
}

func (q *quarantine) has(id token.RangeID) bool {
	return q.bits[id/64].Load()&(1<<(id%64)) != 0
}

// replace publishes a set.
func (q *quarantine) replace(ranges map[token.RangeID]Quarantined) {
	var bits [token.Ranges / 64]uint64
	for id := range ranges {
		bits[id/64] |= 1 << (id % 64)
	}
	for i := range bits {
		q.bits[i].Store(bits[i])
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ranges = ranges
}

// change changes a copy of the set, persists and publishes it.
func (r *Replica) changeQuarantine(change func(map[token.RangeID]Quarantined)) error {
	q := r.quarantine
	q.turn <- struct{}{}
	defer func() { <-q.turn }()
	q.mu.Lock()
	ranges := maps.Clone(q.ranges)
	q.mu.Unlock()
	change(ranges)
	b, err := json.Marshal(slices.Collect(maps.Values(ranges)))
	if err != nil {
		return err
	}
	q.replace(ranges) // even if the disk fails: what is there cannot be read now
	r.metrics.quarantined.Set(float64(len(ranges)))
	return r.engine.Meta().Set(quarantineKey, b)
}

// loadQuarantine finds the ranges that were in it. Those that could not be decoded
// get another try: this may be the version that can.
func (r *Replica) loadQuarantine() error {
	b, ok, err := r.engine.Meta().Get(quarantineKey)
	if err != nil || !ok {
		return err
	}
	var all []Quarantined
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	ranges := map[token.RangeID]Quarantined{}
	for _, q := range all {
		if !q.Undecodable && q.Range < token.Ranges {
			ranges[q.Range] = q
		}
	}
	r.quarantine.replace(ranges)
	r.metrics.quarantined.Set(float64(len(ranges)))
	return nil
}

// Quarantine takes a range out of reading because of an error that was met there.
// Errors other than of damaged data, and ranges that are in it, change nothing.
func (r *Replica) Quarantine(id token.RangeID, cause error) {
	undecodable := errors.Is(cause, record.ErrCorrupt) || errors.Is(cause, record.ErrPoison)
	if !undecodable && !errors.Is(cause, storage.ErrCorrupt) || r.quarantine.has(id) {
		return
	}
	r.env.Logger.Error("a range cannot be read: it is in quarantine until other replicas have filled it again",
		"range", id, "undecodable", undecodable, "error", cause)
	err := r.changeQuarantine(func(ranges map[token.RangeID]Quarantined) {
		if _, in := ranges[id]; !in {
			ranges[id] = Quarantined{Range: id, Since: time.Now().UTC(), Reason: cause.Error(), Undecodable: undecodable}
		}
	})
	if err != nil {
		r.env.Logger.Error("the quarantine could not be persisted", "range", id, "error", err)
	}
}

// InQuarantine reports whether a range must not be read.
func (r *Replica) InQuarantine(id token.RangeID) bool { return r.quarantine.has(id) }

// Quarantined lists the ranges that are in it, in order.
func (r *Replica) Quarantined() []Quarantined {
	r.quarantine.mu.Lock()
	defer r.quarantine.mu.Unlock()
	all := slices.Collect(maps.Values(r.quarantine.ranges))
	slices.SortFunc(all, func(a, b Quarantined) int { return cmp.Compare(a.Range, b.Range) })
	return all
}

// Release lets a range be read again.
func (r *Replica) Release(id token.RangeID) error {
	return r.changeQuarantine(func(ranges map[token.RangeID]Quarantined) { delete(ranges, id) })
}

// wipeTries bounds how many damaged spans are cut out until the leaves of a range can
// be.
const wipeTries = 64

// Wipe drops what is stored of a range that is in quarantine, readable or not, since
// what it has lost may have hidden the rest. Other replicas must have it all. Writes
// go on, before and after. Damaged blocks reach into other ranges; these go into
// quarantine too.
func (r *Replica) Wipe(ctx context.Context, id token.RangeID, now hlc.Timestamp) error {
	states, err := r.Leaves(ctx, id)
	if err != nil {
		return fmt.Errorf("replica: wipe range %d: %w", id, err)
	}
	leaves := make([]record.Leaf, len(states))
	for i := range states {
		leaves[i] = states[i].Leaf
	}
	if _, err := r.removeLeaves(ctx, id, leaves); err != nil {
		return fmt.Errorf("replica: wipe range %d: %w", id, err)
	}
	return r.changeQuarantine(func(ranges map[token.RangeID]Quarantined) {
		q := ranges[id]
		q.Wiped = now
		ranges[id] = q
	})
}

// removeLeaves removes leaves of a range, readable or not. What it returns keeps
// those as empty that are not written meanwhile.
func (r *Replica) removeLeaves(ctx context.Context, id token.RangeID, leaves []record.Leaf) (cuts []record.LeafCut, err error) {
	if cuts, err = r.disownLeaves(ctx, id, leaves, nil); err != nil {
		return nil, err
	}
	for range wipeTries {
		if err = r.cutLeaves(ctx, leaves); !errors.Is(err, storage.ErrCorrupt) {
			return cuts, err
		}
		if damage := r.cutDamage(ctx, id, leaves); damage != nil {
			return nil, damage
		}
	}
	return nil, err
}

// disownLeaves records that what is known of leaves of a range is not right any more,
// and does whatever else is to be in the same batch. What it returns keeps those as
// empty that are not written meanwhile.
func (r *Replica) disownLeaves(ctx context.Context, id token.RangeID, leaves []record.Leaf, also func(*storage.Batch, record.Leaf)) (cuts []record.LeafCut, err error) {
	err = r.stage(ctx, r.engine.CommitterOf(id), func(b *storage.Batch, m *marks) {
		for _, l := range leaves {
			m.touch(b, m.set(leafGroup{l.Table, l.Space, l.Window}), l.Range)
			if also != nil {
				also(b, l)
			}
		}
	})
	for i := 0; i < len(leaves) && err == nil; i++ {
		cut := record.LeafCut{Leaf: leaves[i]}
		cut.Ticket, err = r.CutLeaf(ctx, cut.Leaf)
		cuts = append(cuts, cut)
	}
	return cuts, err
}

// cutLeaves removes leaves, between two batches of every committer.
func (r *Replica) cutLeaves(ctx context.Context, leaves []record.Leaf) error {
	return r.engine.Quiesce(ctx, func() error {
		for _, l := range leaves {
			if err := r.engine.Cut(l.Bounds()); err != nil {
				return err
			}
		}
		return nil
	})
}

// cutDamage removes what cannot be read around the bounds of leaves, where no cut can
// be made. Every range that this concerns is in quarantine before.
func (r *Replica) cutDamage(ctx context.Context, id token.RangeID, leaves []record.Leaf) error {
	for _, l := range leaves {
		lower, upper := l.Bounds()
		for _, bound := range [][]byte{lower, upper} {
			span, found, err := r.engine.DamageAround(bound)
			if err != nil {
				return err
			}
			if !found {
				continue
			}
			if bytes.Compare(span.Lower, firstTable) < 0 {
				return fmt.Errorf("damage reaches into what the node keeps of itself: %w", storage.ErrCorrupt)
			}
			if err := r.quarantineSpan(ctx, id, span); err != nil {
				return err
			}
			if err := r.engine.Quiesce(ctx, func() error { return r.engine.Cut(span.Lower, span.Upper) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// firstTable is below the keys of every table.
var firstTable = record.AppendSpacePrefix(nil, 1, 0)

// quarantineSpan takes every range that has keys in a span into quarantine, because
// of one that is in it. Those that were dropped before have to be again.
func (r *Replica) quarantineSpan(ctx context.Context, id token.RangeID, span storage.Span) error {
	var touched [token.Ranges]bool
	for c := range r.committers {
		err := r.engine.Between(ctx, c, func() error {
			for _, s := range r.committers[c].marks.list {
				for near := range token.RangeID(token.Ranges) {
					lower, upper := s.leaf(near).Bounds()
					inside := bytes.Compare(lower, span.Upper) < 0 && bytes.Compare(span.Lower, upper) < 0
					touched[near] = touched[near] || inside && s.known.has(near)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return r.changeQuarantine(func(ranges map[token.RangeID]Quarantined) {
		q := ranges[id]
		for i := range touched {
			near := token.RangeID(i)
			if n, in := ranges[near]; touched[i] && near != id && (!in || n.Wiped > 0) {
				ranges[near] = Quarantined{Range: near, Since: q.Since, Reason: "next to range " + fmt.Sprint(id) + ": " + q.Reason}
			}
		}
	})
}
