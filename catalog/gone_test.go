package catalog

import (
	"context"
	"errors"
	"strings"
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

// TestReplacedNodeIsBack: as long as it is alive, no joiner takes its ranges.
func TestReplacedNodeIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 42)
		nodes := f.cluster(4)
		defer func() { stopAll(nodes) }()
		if err := nodes[0].catalog.Seal(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		back := nodes[3].catalog.Self()
		if err := nodes[0].catalog.Replace(within(t, time.Minute), back, func(*Document) error { return nil }); err != nil {
			t.Fatal(err)
		}
		joiner := f.node(10).start()
		defer joiner.crash()
		err := joiner.catalog.Join(within(t, 20*time.Second), []string{nodes[0].address})
		if err == nil || permanent(err) || !strings.Contains(err.Error(), "it is alive") {
			t.Errorf("joined in the place of a live node: %v", err)
		}
		nodes[3].crash()
		if err := joiner.catalog.Join(within(t, time.Minute), []string{nodes[0].address}); err != nil {
			t.Fatal(err)
		}
		if c := joiner.catalog.Document().Layout.Change; c.Replaces[joiner.catalog.Self()] != back {
			t.Errorf("%+v", c)
		}
	})
}
