package catalog

import (
	"context"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/catalog/document"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
)

// Begin announces a change of the layout, which plan makes of the present document;
// ErrUnchanged: there is nothing to do.
func (c *Catalog) Begin(ctx context.Context, plan func(*Document) (ring.Plan, error)) error {
	return c.Propose(ctx, func(d Document) (Document, error) {
		p, err := plan(&d)
		if err != nil {
			return d, err
		}
		return d.Announce(p)
	})
}

// Remove gives up dead nodes: the others fill up what they held. While a change is on
// its way that cannot be aborted, it only has that change go on without the nodes, and
// has to be called again. alive tells whether a member is.
func (c *Catalog) Remove(ctx context.Context, ids []ring.NodeID, alive func(ring.NodeID) bool) error {
	return c.Propose(ctx, func(d Document) (Document, error) {
		if next, ok, err := d.GiveUp(ids, alive); ok {
			return next, err
		}
		p, err := d.Remove(ids, alive)
		if err != nil {
			return d, err
		}
		return d.Announce(p)
	})
}

// Replace lets the next node that joins take the ranges of a dead one; the zero id
// takes that back.
func (c *Catalog) Replace(ctx context.Context, dead ring.NodeID, check func(*Document) error) error {
	return c.Propose(ctx, func(d Document) (Document, error) {
		if dead == uuid.Nil {
			if d.Replacing == nil {
				return d, ErrUnchanged
			}
			d.Replacing = nil
			return d, nil
		}
		if d.Replaces(dead) {
			return d, ErrUnchanged
		}
		if err := check(&d); err != nil {
			return d, err
		}
		d.Replacing = &dead
		return d, nil
	})
}

// Advance takes a change on to its next phase, from the one it is in as far as the
// caller knows. fence is that of ring.Change.
func (c *Catalog) Advance(ctx context.Context, change uint64, from ring.Phase, fence hlc.Timestamp) error {
	return c.Propose(ctx, func(d Document) (Document, error) {
		if now := d.Layout.Change; now == nil || now.ID != change || now.Phase != from {
			return d, ErrUnchanged
		}
		return d.Advance(fence)
	})
}

// Confirm has a version decided that changes nothing, unless one that was decided
// already comes to light.
func (c *Catalog) Confirm(ctx context.Context) error {
	from := c.Version()
	return c.Propose(ctx, func(d Document) (Document, error) {
		if d.Version != from {
			return d, ErrUnchanged
		}
		return d, nil
	})
}

// Abort drops a change, if it is still on its way.
func (c *Catalog) Abort(ctx context.Context, change uint64) error {
	return c.Propose(ctx, func(d Document) (Document, error) {
		if now := d.Layout.Change; now == nil || now.ID != change {
			return d, ErrUnchanged
		}
		return d.Abort()
	})
}

// AbortAny drops the change on its way, or what Replace prepared if there is none. It
// returns what it dropped: its kind, empty if there was nothing, and its id, 0 if it was
// only prepared.
func (c *Catalog) AbortAny(ctx context.Context) (kind string, id uint64, err error) {
	err = c.Propose(ctx, func(d Document) (Document, error) {
		now := d.Layout.Change
		switch {
		case now != nil:
			kind, id = now.Kind, now.ID
			return d.Abort()
		case d.Replacing != nil:
			kind, id = document.KindReplace, 0
			d.Replacing = nil
			return d, nil
		}
		return d, ErrUnchanged // an earlier try may have been decided: what it dropped is returned
	})
	return kind, id, err
}
