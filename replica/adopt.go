package replica

import (
	"context"
	"fmt"

	"github.com/dunlindb/dunlin/schema"
)

// Adopt makes the replica serve by a newer view: each committer switches between
// two batches, then windows that fell below a retention floor are removed. It
// returns when every committer has switched and the windows are gone. An older
// view changes nothing. After an error it may be called again, or with a newer
// view.
func (r *Replica) Adopt(ctx context.Context, v *schema.View) error {
	select {
	case r.adopting <- struct{}{}:
		defer func() { <-r.adopting }()
	case <-ctx.Done():
		return fmt.Errorf("replica: adopt catalog version %d: %w", v.Version, ctx.Err())
	}
	if v.Newer(r.adopted.Load()) {
		if err := r.takeOver(ctx, v); err != nil {
			return fmt.Errorf("replica: adopt catalog version %d: %w", v.Version, err)
		}
		if err := r.switchTo(ctx, v); err != nil {
			return fmt.Errorf("replica: adopt catalog version %d: %w", v.Version, err)
		}
	}
	// Also for a view that was adopted before: its windows may not be gone yet.
	if err := r.removeWindows(ctx, r.adopted.Load()); err != nil {
		return fmt.Errorf("replica: remove windows below the floor: %w", err)
	}
	if err := r.forgetLeaves(ctx, r.adopted.Load()); err != nil {
		// Nobody compares these leaves any more; the next view tries again.
		r.env.Logger.Warn("records of leaves that are gone could not be removed", "error", err)
	}
	return nil
}

// switchTo lets every committer serve by v.
func (r *Replica) switchTo(ctx context.Context, v *schema.View) error {
	floors := false
	for _, t := range v.Tables() {
		floors = floors || t.Floor > 0
	}
	for i := range r.committers {
		err := r.engine.Between(ctx, i, func() error {
			r.committers[i].view, r.committers[i].floors = v, floors
			return nil
		})
		if err != nil {
			return err
		}
	}
	r.adopted.Store(v)
	r.metrics.version.Set(float64(v.Version))
	return nil
}

// removeWindows excises what lies below the floors. Every committer refuses such
// rows by now, so one committer may do it for all: none can write below.
func (r *Replica) removeWindows(ctx context.Context, v *schema.View) error {
	for _, t := range v.Tables() {
		if t.Floor <= r.removed[t.ID] {
			continue
		}
		err := r.engine.Between(ctx, 0, func() error {
			return r.engine.Excise(t.ID, t.Floor)
		})
		if err != nil {
			return fmt.Errorf("table %s: %w", t.FullName(), err)
		}
		r.removed[t.ID] = t.Floor
		r.env.Logger.Info("retention: windows are removed", "table", t.FullName(),
			"before", t.Shape.WindowStart(t.Floor))
	}
	return nil
}
