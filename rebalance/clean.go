package rebalance

import (
	"context"
	"fmt"

	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// cleaning is how far what is not held any more was removed, by a view.
type cleaning struct {
	view    *schema.View
	next    token.RangeID
	removed int
}

// cleanUp removes one range that this node does not hold any more.
func (d *Driver) cleanUp(ctx context.Context, v *schema.View) (idle bool, err error) {
	c := &d.clean
	if c.view == nil || c.view.Version != v.Version || c.view.Generation != v.Generation {
		*c = cleaning{view: v}
	}
	if c.next >= token.Ranges {
		return true, nil
	}
	next, removed, err := d.env.Replica.CleanUp(ctx, c.next)
	if err != nil {
		return true, fmt.Errorf("rebalance: remove a range that moved away: %w", err)
	}
	if c.next = next; removed {
		c.removed++
		d.metrics.cleaned.Inc()
		return false, nil
	}
	if c.removed > 0 {
		d.env.Logger.Info("ranges that moved away are removed", "ranges", c.removed)
	}
	return true, nil
}
