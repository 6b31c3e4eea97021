package catalog

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/ring"
)

// TestGoneWithoutTheLastDocument: a node that leaves and misses the document which
// says that it has is told so by a refusal. It knows why, and after a restart too.
func TestGoneWithoutTheLastDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 41)
		nodes := f.cluster(4)
		defer func() { stopAll(nodes) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		stays, leaves := nodes[0], nodes[3]
		if err := stays.catalog.Seal(ctx); err != nil {
			t.Fatal(err)
		}
		id := leaves.catalog.Self()
		if err := stays.catalog.Begin(ctx, func(d *Document) (ring.Plan, error) { return d.Decommission(id) }); err != nil {
			t.Fatal(err)
		}
		change := stays.catalog.Document().Layout.Change.ID
		for _, from := range []ring.Phase{ring.Announced, ring.Streaming, ring.Flipped} {
			if from == ring.Flipped {
				f.settle(nodes)
				f.set(func() { f.drop = func(_, to, _ string) bool { return to == leaves.address } })
			}
			if err := stays.catalog.Advance(ctx, change, from, 1); err != nil {
				t.Fatal(err)
			}
		}
		f.heal()
		m, _ := leaves.catalog.Document().Member(stays.catalog.Self())
		if err := leaves.catalog.pull(ctx, m); err == nil {
			t.Fatalf("a node that has left may pull: %v", err)
		}
		leaves.crash()
		var gone *GoneError
		if _, err := leaves.open(); !errors.As(err, &gone) || !gone.Wanted() {
			t.Errorf("a node that has left starts again: %v", err)
		}
	})
}
