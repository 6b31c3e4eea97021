package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dunlindb/dunlin/catalog/document"
	"github.com/dunlindb/dunlin/schema"
)

// Seal marks that data may exist, which the first write of a cluster needs: from
// then on ownership changes only by moving data. It is refused with
// *TooFewMembersError while a keyspace wants more replicas than there are members.
// Several nodes may seal at once.
func (c *Catalog) Seal(ctx context.Context) error {
	if d := c.Document(); d != nil && d.Sealed {
		return nil
	}
	return c.Propose(ctx, func(d Document) (Document, error) {
		if d.Sealed {
			return d, ErrUnchanged
		}
		if err := d.CheckMembers(); err != nil {
			return d, err
		}
		d.Sealed = true
		return d, nil
	})
}

// SetTable changes settings of a table, "keyspace.table". What a retention has
// retired stays so.
func (c *Catalog) SetTable(ctx context.Context, table string, change schema.Settings) error {
	keyspace, name, ok := strings.Cut(table, ".")
	if !ok || keyspace == "" || name == "" {
		return fmt.Errorf("catalog: table is %q: give keyspace.table", table)
	}
	return c.Propose(ctx, func(doc Document) (Document, error) {
		next, changed, err := doc.Schema.WithSettings(keyspace, name, change)
		if err != nil {
			return doc, err
		}
		if !changed {
			return doc, ErrUnchanged
		}
		doc.Schema = next
		return doc, nil
	})
}

// AdvanceFloors retires the windows of all tables whose retention has passed at a
// time. Only voters propose it; the others, and calls with nothing to do, return
// at once.
func (c *Catalog) AdvanceFloors(ctx context.Context, now time.Time) error {
	d := c.Document()
	if d == nil {
		return nil
	}
	if me, ok := d.Member(c.self); !ok || !me.Voter {
		return nil
	}
	if _, due := d.Schema.RaiseFloors(now); !due {
		return nil
	}
	return c.Propose(ctx, func(d Document) (Document, error) {
		next, due := d.Schema.RaiseFloors(now)
		if !due {
			return d, ErrUnchanged
		}
		d.Schema = next
		return d, nil
	})
}

// runReplaced takes orders to replace this node back: it is alive. They were given while it
// was down or cut off.
func (c *Catalog) runReplaced(ctx context.Context) {
	wait := backoff{}
	for {
		for d := c.Document(); d != nil && d.Replaces(c.self); d = c.Document() {
			err := c.takeBack(ctx)
			if err == nil {
				c.metrics.takenBack.Inc()
				c.log.Warn("this node was to be replaced by the next one that joins, but it is alive: the order is taken back")
				break
			}
			c.quiet.warn("replaced", "this node is to be replaced, and that is not taken back yet", "error", err)
			if !c.pause(ctx, &wait) {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-c.adopted:
			wait = backoff{}
		}
	}
}

// takeBack ends an order to replace this node.
func (c *Catalog) takeBack(ctx context.Context) error {
	return c.Propose(ctx, func(d Document) (Document, error) {
		if !d.Replaces(c.self) {
			return d, ErrUnchanged
		}
		d.Replacing = nil
		return d, nil
	})
}

// runAddresses proposes this node's addresses once if they differ from those in
// the document: it was restarted with others. It can be reached meanwhile, since it
// tells everybody that it meets.
func (c *Catalog) runAddresses(ctx context.Context) {
	select {
	case <-c.entered:
	case <-ctx.Done():
	}
	wait := backoff{}
	for ctx.Err() == nil {
		err := c.proposeAddresses(ctx)
		if err == nil {
			return
		}
		c.quiet.warn("addresses", "this node's new addresses are not agreed yet", "error", err)
		if !c.pause(ctx, &wait) {
			return
		}
	}
}

// proposeAddresses makes this node's addresses those in the document. An address
// belongs to the member that answers there, whoever else is recorded with it: that one
// has moved, or is down and cannot come back there. If nobody answers at all, the
// address has to be free.
func (c *Catalog) proposeAddresses(ctx context.Context) error {
	if me, ok := c.current.Load().doc.Member(c.self); ok && me.Addresses == c.cfg.Addresses {
		return nil
	}
	silent := c.identify(ctx, c.member())
	if other := (*RefusedError)(nil); errors.As(silent, &other) {
		return silent
	}
	return c.Propose(ctx, func(d Document) (Document, error) {
		me, ok := d.Member(c.self)
		if !ok || me.Addresses == c.cfg.Addresses {
			return d, ErrUnchanged
		}
		if err := document.CheckFree(&d, c.member()); err != nil && silent != nil {
			return d, errors.Join(err, silent)
		}
		var err error
		d.Layout, err = d.Layout.WithAddresses(c.self, c.cfg.Addresses)
		return d, err
	})
}
