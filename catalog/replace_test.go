package catalog

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestReplacedNodeIsBack: a node that was to be replaced while it was down, or cut off,
// takes that back when it is there again; then a node that joins takes nobody's place.
func TestReplacedNodeIsBack(t *testing.T) {
	for _, away := range []string{"down", "cut off"} {
		t.Run(away, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFabric(t, 61)
				nodes := f.cluster(4)
				defer func() { stopAll(nodes) }()
				stays, back := nodes[0].catalog, nodes[3]
				if err := stays.Seal(within(t, time.Hour)); err != nil {
					t.Fatal(err)
				}
				f.settle(nodes)
				id := back.catalog.Self()
				if away == "down" {
					back.crash()
				} else {
					f.cut(nodes[:3])
				}
				if err := stays.Replace(within(t, time.Hour), id, func(*Document) error { return nil }); err != nil {
					t.Fatal(err)
				}
				f.settle(nodes[:3])
				if !stays.Document().Replaces(id) || testutil.ToFloat64(stays.metrics.replacing) != 1 {
					t.Error("it is not to be replaced")
				}
				f.set(func() { // it is back, but cannot take part in decisions yet
					f.drop = func(from, _, kind string) bool {
						return from == back.address && (kind == callPrepare || kind == callAccept)
					}
				})
				if away == "down" {
					back.start()
				}
				time.Sleep(time.Minute)
				joiner := f.node(5).start()
				nodes = append(nodes, joiner)
				err := joiner.catalog.Join(within(t, 20*time.Second), []string{nodes[0].address})
				if err == nil || permanent(err) || stays.Document().Layout.Change != nil {
					t.Errorf("joined in the place of a live node: %v", err)
				}
				f.heal()
				time.Sleep(time.Minute)
				f.settle(nodes[:4])
				if stays.Document().Replacing != nil || testutil.ToFloat64(stays.metrics.replacing) != 0 {
					t.Error("it is to be replaced although it is back")
				}
				if n := testutil.ToFloat64(back.catalog.metrics.takenBack); n != 1 {
					t.Errorf("taken back %v times", n)
				}
				if err := joiner.catalog.Join(within(t, time.Hour), []string{nodes[0].address}); err != nil {
					t.Fatal(err)
				}
				if c := joiner.catalog.Document().Layout.Change; len(c.Replaces) > 0 {
					t.Errorf("%v is replaced", c.Replaces)
				}
			})
		})
	}
}
