package antientropy

import (
	"context"
	"errors"
	"time"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/antientropy/share"
	"github.com/dunlindb/dunlin/antientropy/tree"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
)

// keepAt is how many hashed leaves are recorded at once: recording waits for the
// disk. keepWithin is how long one may wait for others.
const (
	keepAt     = 64
	keepWithin = time.Second

	looksAtAll = 16   // ranges that are looked at in one step
	corruptMax = 1024 // leaves that are remembered not to be reported twice
)

// hashing finds leaves that were written and have settled, and hashes them.
type hashing struct {
	id      token.RangeID // that comes next
	left    int           // ranges, of this pass
	pass    time.Time     // when the next one may begin
	todo    []record.Leaf
	current *record.LeafCut
	form    tree.Form
	after   []byte
	sweep   sweep            // of the current leaf, if it has heads that may go
	hashed  []record.LeafCut // not recorded
	since   time.Time        // when the first of them was hashed
	corrupt map[record.Leaf]struct{}
	begun   time.Time // the current leaf was
	// hot is when leaves of a range may be read again that do not settle: what may
	// go of them goes all the same.
	hot [token.Ranges]time.Time
}

// hotRest is how much longer a range's hot leaves are left alone than the last of
// them took; plainRest is for how many times Pace if it had nothing that may ever go.
const (
	hotRest   = 20
	plainRest = 5
)

// hash does one piece of hashing; worked is false if there is nothing to do.
func (a *AntiEntropy) hash(ctx context.Context, v *schema.View) (worked bool, err error) {
	h := &a.plan.hash
	if len(h.hashed) >= keepAt || len(h.hashed) > 0 && time.Since(h.since) >= keepWithin {
		return true, a.keep(ctx)
	}
	if h.current == nil && len(h.todo) == 0 {
		looked, err := a.findDirty(ctx, v)
		if err != nil {
			return true, err
		}
		if len(h.todo) == 0 {
			if !looked && len(h.hashed) > 0 {
				return true, a.keep(ctx)
			}
			return looked, nil
		}
	}
	if h.current == nil {
		leaf := h.todo[0]
		h.todo = h.todo[1:]
		if !a.wanted(v, leaf) {
			return true, nil // not any more
		}
		ticket, err := a.env.Marks.CutLeaf(ctx, leaf)
		if err != nil {
			return true, err
		}
		h.current, h.after, h.sweep = &record.LeafCut{Leaf: leaf, Ticket: ticket}, nil, sweep{}
		h.current.Oldest, h.current.Expires, h.begun = record.Never, record.Never, time.Now()
		h.form = tree.Form{PurgeForm: a.purgeForm(v, leaf)}
	}
	if len(h.sweep.heads) > 0 {
		err = a.sweepPiece(ctx)
	} else {
		err = a.hashPiece(ctx)
	}
	return true, a.unreadable(err)
}

// unreadable leaves a leaf that cannot be read or purged as it was; it is tried
// again in the next pass.
func (a *AntiEntropy) unreadable(err error) error {
	h := &a.plan.hash
	if err == nil {
		return nil
	}
	c := h.current
	h.current = nil
	if !errors.Is(err, storage.ErrCorrupt) {
		return err
	}
	if _, told := h.corrupt[c.Leaf]; !told && len(h.corrupt) < corruptMax {
		h.corrupt[c.Leaf] = struct{}{}
		a.env.Logger.Error("anti-entropy: a leaf cannot be read and is not compared", "table", c.Table, "range", c.Range, "error", err)
	}
	return nil
}

// hashPiece reads one piece of the current leaf, and drops what may go of it.
func (a *AntiEntropy) hashPiece(ctx context.Context) error {
	h := &a.plan.hash
	c := h.current
	at, err := a.walk(tree.Span{Leaf: c.Leaf, After: h.after}, h.form, func(key, fragment []byte, sum record.Digest, counts bool) bool {
		c.Bytes += uint64(len(key) + len(fragment))
		if counts {
			c.LeafContent.Add(sum)
		}
		return true
	})
	if err != nil {
		return err
	}
	delete(h.corrupt, c.Leaf)
	c.Oldest, c.Expires = min(c.Oldest, at.Oldest), min(c.Expires, at.Expires)
	h.after = at.Through
	if c.Space == record.SpaceHeads {
		if h.sweep = (sweep{keys: at.Loose, heads: at.Heads}); len(at.Heads) > 0 {
			return nil // first the rows that they hide
		}
	} else if err := a.purgeRows(ctx, c, at.Loose); err != nil {
		return err
	}
	a.hashedPiece()
	return nil
}

// hashedPiece ends a piece, and the leaf if it was the last.
func (a *AntiEntropy) hashedPiece() {
	h := &a.plan.hash
	if h.after != nil {
		return
	}
	if len(h.hashed) == 0 {
		h.since = time.Now()
	}
	if now, id := time.Now(), h.current.Range; now.Before(h.hot[id]) {
		h.hot[id] = h.hot[id].Add(hotRest * now.Sub(h.begun))
		if h.current.Oldest == record.Never {
			h.hot[id] = h.hot[id].Add(plainRest * a.cfg.Purge.Pace)
		}
	}
	h.hashed, h.current = append(h.hashed, *h.current), nil
	a.metrics.leaves.Inc()
}

// keep records what was hashed.
func (a *AntiEntropy) keep(ctx context.Context) error {
	h := &a.plan.hash
	_, err := a.env.Marks.KeepLeaves(ctx, h.hashed)
	if err == nil || len(h.hashed) >= 4*keepAt {
		h.hashed = nil // else once more, when the committers have room
	}
	return err
}

// findDirty looks at some ranges for dirty leaves that have settled, or are
// urgent. looked is false when the pass is over.
func (a *AntiEntropy) findDirty(ctx context.Context, v *schema.View) (looked bool, err error) {
	h := &a.plan.hash
	if h.left == 0 {
		if time.Now().Before(h.pass) {
			return false, nil
		}
		h.left, h.pass = token.Ranges, time.Now().Add(a.cfg.Settle/2)
	}
	for looks := 0; h.left > 0 && looks < looksAtAll && len(h.todo) == 0; h.left-- {
		id := h.id
		h.id = (h.id + 1) % token.Ranges
		if _, dirty := a.env.Marks.LeafRange(id); dirty == 0 {
			if loose, err := a.loose(ctx, v, id); err != nil || !loose {
				if err != nil {
					return true, err
				}
				continue
			}
		}
		looks++
		leaves, err := a.env.Marks.Leaves(ctx, id)
		if err != nil {
			return true, err
		}
		urgent, hot := a.plan.urgent(id), a.hot(v, id)
		for i := range leaves {
			l := &leaves[i]
			due := urgent || hot || !l.Recent
			if l.Clean {
				due = a.looseLeaf(v, l)
			}
			if due && a.wanted(v, l.Leaf) {
				h.todo = append(h.todo, l.Leaf)
			}
		}
	}
	return h.left > 0 || len(h.todo) > 0, nil
}

// wanted reports whether this node compares a leaf with anybody.
func (a *AntiEntropy) wanted(v *schema.View, l record.Leaf) bool {
	table := v.Table(l.Table)
	if table == nil {
		return false
	}
	t := message.Target{Placement: table.Placement, ID: l.Range}
	return share.Covers(v, t, l) && share.Holds(v, t, a.env.Self)
}
