package replica

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
)

// tenure is how this node holds a range of a keyspace: not at all (0), for good
// (settled), since a change that is on its way (its number), or until one is over (its
// number, negated). What was stored in one tenure is removed before another begins: in
// between, deletions that it has missed may have been purged everywhere.
//
// A node that skips catalog versions may miss the end of a tenure, if it was given up:
// otherwise a change that takes a range away finishes only after this node has adopted
// that it flipped. It does not miss the beginning of the next one, in which it is no
// replica of now yet: a change that gives a range flips only when it has it complete.
type tenure int64

const settled tenure = 1 // no change has this id: a cluster's first version announces none

// tenures is the tenures of a keyspace.
type tenures [token.Ranges]tenure

const tenurePrefix = "replica/tenure/"

// generationShift leaves the rest of a change's number for its id.
const generationShift = 40

// numbered is the number of a view's change: ids alone repeat after a recovery, when what
// was decided before it is forgotten. 0: there is none.
func numbered(v *schema.View) tenure {
	c := v.Ring.Change()
	if c == nil {
		return 0
	}
	return tenure(v.Generation<<generationShift | c.ID)
}

// goesOn reports whether a tenure continues in a ring with a member that is one of
// the replicas of now, of the target, or of both.
func (t tenure) goesOn(change tenure, now bool) bool {
	switch {
	case t == 0:
		return false
	case t == settled:
		return now
	case t < 0:
		return change == -t
	}
	return now || change == t
}

// nextTenure is the tenure of a range by a ring with a change in a phase.
func nextTenure(change tenure, phase ring.Phase, now, target bool) tenure {
	switch {
	case !now && !target:
		return 0
	case !now:
		return change
	case !target && phase == ring.Flipped:
		return -change
	}
	return settled
}

// renew finds the tenures of a view, and which ranges have to be emptied before it is
// served by. known: those before are known.
func (t *tenures) renew(v *schema.View, placement int, self ring.NodeID, known bool) (next tenures, empty []token.RangeID) {
	me, member := v.Ring.Index(self)
	change, phase := numbered(v), ring.Phase("")
	if c := v.Ring.Change(); c != nil {
		phase = c.Phase
	}
	for id := range token.RangeID(token.Ranges) {
		now := member && slices.Contains(v.Ring.Now(placement, id), me)
		target := member && slices.Contains(v.Ring.Target(placement, id), me)
		next[id] = nextTenure(change, phase, now, target)
		if next[id] != 0 && known && !t[id].goesOn(change, now) {
			empty = append(empty, id)
		}
	}
	return next, empty
}

func (t *tenures) encode() []byte {
	b := make([]byte, 0, 8*len(t))
	for _, one := range t {
		b = binary.BigEndian.AppendUint64(b, uint64(one))
	}
	return b
}

func decodeTenures(b []byte) (t tenures, err error) {
	if len(b) != 8*len(t) {
		return t, fmt.Errorf("replica: tenures of %d bytes: %w", len(b), storage.ErrCorrupt)
	}
	for i := range t {
		t[i] = tenure(binary.BigEndian.Uint64(b[8*i:]))
	}
	return t, nil
}

// takeOver makes this node ready for what it holds by a view, before it serves by it:
// what is left of earlier tenures is removed, and a node that joins raises its fence.
func (r *Replica) takeOver(ctx context.Context, v *schema.View) error {
	if c := v.Ring.Change(); c != nil && c.Phase != ring.Announced {
		if me, ok := v.Ring.Index(r.env.Self); ok && v.Ring.Member(me).State == ring.Joining {
			if err := r.raiseFence(ctx, c.Fence, true); err != nil {
				return err
			}
		}
	}
	seen := map[string]bool{}
	for _, t := range v.Tables() {
		if seen[t.Keyspace] {
			continue
		}
		seen[t.Keyspace] = true
		if err := r.takeOverKeyspace(ctx, v, t.Keyspace, t.Placement); err != nil {
			return fmt.Errorf("take over ranges of %s: %w", t.Keyspace, err)
		}
	}
	return nil
}

func (r *Replica) takeOverKeyspace(ctx context.Context, v *schema.View, keyspace string, placement int) error {
	b, known, err := r.engine.Meta().Get(tenurePrefix + keyspace)
	var before tenures
	if err == nil && known {
		before, err = decodeTenures(b)
	}
	if err != nil {
		return err
	}
	next, empty := before.renew(v, placement, r.env.Self, known)
	for _, id := range empty {
		if _, err := r.empty(ctx, v, placement, id); err != nil {
			return err
		}
	}
	if known && next == before {
		return nil
	}
	return r.engine.Meta().Set(tenurePrefix+keyspace, next.encode())
}

// empty removes what is stored of a range of a keyspace, which nobody writes to
// meanwhile, and reports whether there was anything. It stages deletions as any write:
// cutting the range out of the tables would flush what is in memory, with all
// committers at rest, once for each range.
func (r *Replica) empty(ctx context.Context, v *schema.View, placement int, id token.RangeID) (found bool, err error) {
	states, err := r.Leaves(ctx, id)
	if err != nil {
		return false, err
	}
	var leaves []record.Leaf
	for i := range states {
		if t := v.Table(states[i].Table); t != nil && t.Placement == placement {
			leaves = append(leaves, states[i].Leaf)
		}
	}
	if len(leaves) == 0 {
		return false, nil
	}
	cuts, err := r.disownLeaves(ctx, id, leaves, func(b *storage.Batch, l record.Leaf) { b.DeleteRange(l.Bounds()) })
	if err == nil {
		_, err = r.KeepLeaves(ctx, cuts)
	}
	return true, err
}

// CleanUp removes what is stored of ranges that this node does not hold, of one range
// at a time, the first at or after one. It returns where to go on, and whether it has
// removed anything; at token.Ranges it has been through.
func (r *Replica) CleanUp(ctx context.Context, from token.RangeID) (next token.RangeID, removed bool, err error) {
	v := r.adopted.Load()
	if v == nil {
		return token.Ranges, false, nil
	}
	me, member := v.Ring.Index(r.env.Self)
	for id := from; id < token.Ranges; id++ {
		seen := map[int]bool{}
		for _, t := range v.Tables() {
			if seen[t.Placement] || member && v.Ring.Holds(t.Placement, id, me) {
				continue
			}
			seen[t.Placement] = true
			if removed, err = r.emptyUnheld(ctx, t.Placement, id); removed || err != nil {
				return id, removed, err
			}
		}
	}
	return token.Ranges, false, nil
}

// emptyUnheld empties a range unless a view that is being adopted makes this node
// hold it.
func (r *Replica) emptyUnheld(ctx context.Context, placement int, id token.RangeID) (bool, error) {
	select {
	case r.adopting <- struct{}{}:
		defer func() { <-r.adopting }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	v := r.adopted.Load()
	if me, ok := v.Ring.Index(r.env.Self); ok && v.Ring.Holds(placement, id, me) {
		return false, nil
	}
	return r.empty(ctx, v, placement, id)
}

// AllLeaves lists every leaf that has rows.
func (r *Replica) AllLeaves(ctx context.Context) (all []record.Leaf, err error) {
	for c := range r.committers {
		err := r.engine.Between(ctx, c, func() error {
			for _, s := range r.committers[c].marks.list {
				for id := range token.RangeID(token.Ranges) {
					if s.known.has(id) {
						all = append(all, s.leaf(id))
					}
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// FrozenFence is this node's fence once no RaiseFence can raise it any more, because
// it serves by a view with a change on its way.
func (r *Replica) FrozenFence(ctx context.Context) (hlc.Timestamp, error) {
	select {
	case r.raising <- struct{}{}:
		defer func() { <-r.raising }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if v := r.adopted.Load(); v == nil || v.Ring.Change() == nil {
		return 0, fmt.Errorf("replica: there is no change of the layout")
	}
	return r.Fence(), nil
}
