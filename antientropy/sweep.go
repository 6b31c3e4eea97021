package antientropy

import (
	"context"
	"time"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/antientropy/share"
	"github.com/dunlindb/dunlin/antientropy/tree"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// looseMax bounds the keys of one piece that are purged.
const looseMax = 512

// sweep drops what heads of partitions hide, and then of the heads what may go.
type sweep struct {
	keys, heads [][]byte      // what is left to do: keys and fragments
	leaves      []record.Leaf // of the first partition, that are left; nil: not looked up
	begun       bool
	after       []byte
}

// purgeForm says what may go of a leaf at present.
func (a *AntiEntropy) purgeForm(v *schema.View, l record.Leaf) record.PurgeForm {
	return record.PurgeForm{Purge: a.purge.Point(v.Table(l.Table).Keyspace, l.Range), Expired: a.purge.Expired()}
}

// loose reports whether clean leaves of a range have something that may go.
func (a *AntiEntropy) loose(ctx context.Context, v *schema.View, id token.RangeID) (bool, error) {
	l, err := a.look(ctx, v, id)
	if err != nil {
		return false, err
	}
	for p := range v.Ring.Placements() {
		if l.loose(p, a.purge.Point(share.Keyspace(v, p), id), a.purge.ExpiredBefore()) {
			return true, nil
		}
	}
	return false, nil
}

// hot reports whether leaves of a range are due that do not settle: there is a purge
// point, and they were left alone for long enough.
func (a *AntiEntropy) hot(v *schema.View, id token.RangeID) bool {
	h := &a.plan.hash
	if now := time.Now(); now.Before(h.hot[id]) {
		return false
	}
	for p := range v.Ring.Placements() {
		if a.purge.Point(share.Keyspace(v, p), id) > 0 {
			h.hot[id] = time.Now().Add(a.cfg.Purge.Pace)
			return true
		}
	}
	return false
}

func (a *AntiEntropy) looseLeaf(v *schema.View, l *record.LeafState) bool {
	t := v.Table(l.Table)
	return t != nil && (l.Oldest <= a.purge.Point(t.Keyspace, l.Range) || l.Expires <= a.purge.ExpiredBefore())
}

// purgeRows drops what may go of rows of the current leaf.
func (a *AntiEntropy) purgeRows(ctx context.Context, c *record.LeafCut, keys [][]byte) error {
	if len(keys) == 0 {
		return nil
	}
	done, err := a.env.Purger.PurgeRows(ctx, c.Range, keys, a.plan.hash.form.PurgeForm)
	c.Bytes -= min(c.Bytes, uint64(done.Bytes))
	return err
}

// sweepPiece drops a piece of what the first head hides; when all of it is gone,
// what may go of the head.
func (a *AntiEntropy) sweepPiece(ctx context.Context) error {
	h := &a.plan.hash
	s, c := &h.sweep, h.current
	if !s.begun {
		leaves, err := a.env.Marks.Leaves(ctx, c.Range)
		if err != nil {
			return err
		}
		s.begun, s.leaves = true, s.leaves[:0]
		for i := range leaves {
			if l := leaves[i].Leaf; l.Table == c.Table && l.Space != record.SpaceHeads {
				s.leaves = append(s.leaves, l)
			}
		}
	}
	if len(s.leaves) == 0 {
		done, err := a.env.Purger.PurgeHead(ctx, c.Range, s.keys[0], s.heads[0], h.form.PurgeForm)
		c.Bytes -= min(c.Bytes, uint64(done.Bytes))
		s.keys, s.heads, s.begun = s.keys[1:], s.heads[1:], false
		if err == nil && len(s.heads) == 0 {
			a.hashedPiece()
		}
		return err
	}
	span := tree.Span{Leaf: s.leaves[0], After: s.after, Partition: record.PartitionOf(s.keys[0], nil)}
	at, err := a.walk(span, h.form, func([]byte, []byte, record.Digest, bool) bool { return true })
	if err != nil {
		return err
	}
	if len(at.Loose) > 0 {
		if _, err := a.env.Purger.PurgeRows(ctx, c.Range, at.Loose, h.form.PurgeForm); err != nil {
			return err
		}
	}
	if s.after = at.Through; s.after == nil {
		s.leaves = s.leaves[1:]
	}
	return nil
}

// Aged returns the smallest deletion or expiry in a range's leaves, in Unix seconds:
// record.Never if there is none, and 0 if that is not known now.
func (a *AntiEntropy) Aged(ctx context.Context, v *schema.View, t message.Target) (int64, error) {
	l, err := a.look(ctx, v, t.ID)
	if err != nil || !l.roots[t.Placement].settled {
		return 0, err
	}
	return l.roots[t.Placement].oldest, nil
}
