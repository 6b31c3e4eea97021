package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/catalog/document"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport"
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
		if d.Replacing != nil && *d.Replacing == dead {
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
		now := d.Layout.Change
		if now == nil || now.ID != change || now.Phase != from {
			return d, ErrUnchanged
		}
		placements := d.Schema.Placements()
		var err error
		switch from {
		case ring.Announced:
			d.Layout, err = d.Layout.Assign(d.Version+1, fence, placements)
		case ring.Streaming:
			d.Layout, err = d.Layout.Flip(d.Version+1, placements)
		default:
			err = d.Finish()
		}
		return d, err
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
		return aborted(d)
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
			return aborted(d)
		case d.Replacing != nil:
			kind, id = document.KindReplace, 0
			d.Replacing = nil
			return d, nil
		}
		return d, ErrUnchanged // an earlier try may have been decided: what it dropped is returned
	})
	return kind, id, err
}

func aborted(d Document) (Document, error) {
	next, err := d.Layout.Abort(d.Version+1, d.Schema.Placements())
	if err != nil {
		return d, document.Conflictf("%v", err)
	}
	d.Layout = next
	return d, nil
}

// Recover makes survivors, of which this node is one, the only voters of a cluster
// that has lost its majority for good, and begins to fill up what the others held.
// All survivors have to answer, and none of the others may be alive. A change on its way
// is aborted, or finished if reads ask its target already. Calls may be repeated.
func (c *Catalog) Recover(ctx context.Context, survivors []ring.NodeID, reason string, now time.Time, alive func(ring.NodeID) bool) error {
	cur := c.current.Load()
	if cur == nil {
		return ErrNoCatalog
	}
	d, err := cur.doc.Recovered(document.Recovery{At: now.UTC(), By: c.self, Survivors: survivors, Reason: reason}, alive)
	if errors.Is(err, ErrUnchanged) {
		return nil
	}
	if err != nil {
		return err
	}
	d.Format, d.Version, d.Generation, d.Previous = document.Format, cur.doc.Version+1, cur.doc.Generation+1, cur.hash
	if d.Proposal, err = uuid.NewRandomFromReader(c.env.Entropy); err != nil {
		return fmt.Errorf("catalog: make a proposal id: %w", err)
	}
	raw, err := document.Encode(&d)
	if err != nil {
		return err
	}
	if _, err := decode(raw); err != nil {
		return err
	}
	for _, id := range survivors {
		if id == c.self {
			continue
		}
		m, _ := cur.doc.Member(id)
		at := c.env.Caller.Where(m)
		if h, err := c.env.Caller.Probe(ctx, at); err != nil || h.Node != id {
			return document.Conflictf("survivor %s does not answer at %s: all of them have to (%v)", id, at, err)
		}
	}
	c.log.Warn("RECOVERY: a majority is given up for lost", "generation", d.Generation, "survivors", survivors, "reason", reason)
	if err := c.adopt(context.WithoutCancel(ctx), raw); err != nil {
		return err
	}
	var errs []error
	for _, id := range survivors {
		if m, _ := cur.doc.Member(id); id != c.self {
			if _, err := c.control(ctx, m, callRecover, raw); err != nil {
				errs = append(errs, fmt.Errorf("survivor %s learns of it later: %w", id, err))
			}
		}
	}
	return errors.Join(errs...)
}

// handleRecover adopts a recovery that a survivor was told to begin.
func (c *Catalog) handleRecover(ctx context.Context, from transport.Hello, raw []byte) error {
	cur := c.current.Load()
	if cur == nil {
		return ErrNoCatalog
	}
	next, err := decode(raw)
	if err != nil {
		return err
	}
	if _, ok := cur.doc.Member(from.Node); !ok || next.doc.Cluster != cur.doc.Cluster || next.doc.Generation <= cur.doc.Generation {
		return document.Invalidf("node %s recovers another cluster or generation", from.Node)
	}
	if m, ok := next.doc.Member(c.self); !ok || !m.Voter {
		return &RefusedError{Node: c.self.String(), Reason: "generation", Detail: "it is not among the survivors"}
	}
	return c.adopt(context.WithoutCancel(ctx), raw)
}
