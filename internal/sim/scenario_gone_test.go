package sim

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/ring"
)

// TestDisplacedReplicaMissesTheEnd: a replica has handed ranges over and agreed, and dies
// before it hears that the change has ended. A coordinator cannot reach it all the while,
// and keeps hints for it, also of ranges that it loses. Back again it serves by the
// newest catalog, removes what it has lost, and the hints do not bring that back. Then
// everything is deleted and purged, and it gets its ranges back: nothing of its earlier
// time is there.
func TestDisplacedReplicaMissesTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const from, displaced, joiner = 2, 1, 4 // by zones: the joiner is in that of the displaced
		seeded := everyday
		seeded.seed = 5
		o := newGrowingOf(t, 5, joiner, seeded)
		defer o.end()
		o.write()
		driver := o.first(0, 1, 2, 3)
		if driver == displaced || driver == from {
			t.Fatal("another node has to drive: take another seed")
		}
		cut, mend := o.c.blocks(append(o.c.between([]int{from}, []int{displaced}), o.c.between([]int{displaced}, []int{from})...))
		hint := func() {
			t.Helper()
			for i := range outageKeys {
				o.must(Op{Kind: Put, Node: from, Key: fmt.Sprint("hinted", i), Value: "while it was cut off", Level: "quorum", Stamped: true})
			}
		}
		cut()
		hint()
		time.Sleep(10 * time.Second) // until it is known to be away
		o.c.Enter(joiner)
		o.phase(from, ring.Streaming, time.Minute)
		hint()
		o.slow(0, 500*time.Millisecond, displaced)
		o.slow(3, 500*time.Millisecond, displaced)
		o.phase(displaced, ring.Flipped, 2*time.Minute)
		o.slow(joiner, 500*time.Millisecond, displaced) // not before: they compare ranges
		for began := time.Now(); o.node(driver).View().Ring.Change() != nil; time.Sleep(time.Millisecond) {
			if time.Since(began) > 2*time.Minute { // ranges are compared once more, slowly
				t.Fatal("the change goes on")
			}
		}
		if c := o.node(displaced).View().Ring.Change(); c == nil {
			t.Fatal("the displaced replica has heard of the end")
		}
		o.c.Kill(displaced, false, 100)
		if o.metric(from, "dunlin_hinted_stored_hints") == 0 {
			t.Error("no hints are kept")
		}
		mend()
		for _, i := range []int{0, 3, joiner} {
			o.slow(i, 0, displaced)
		}
		time.Sleep(10 * time.Second)
		o.write()
		o.c.Start(displaced)
		if !o.c.awaitReady(o.client) {
			t.Fatal(o.c.Problems())
		}
		o.awaitAlive()
		if left := o.c.awaitDrained(time.Minute); left != "" {
			t.Error(left)
		}
		o.whole()
		for i := range outageKeys {
			for _, key := range []string{registerKey(i), fmt.Sprint("hinted", i)} {
				o.must(Op{Kind: Delete, Key: key, Level: "all", Stamped: true})
			}
		}
		for began := time.Now(); o.metric(joiner, "dunlin_replica_purged_keys_total") == 0 || o.metric(0, "dunlin_purge_waiting_seconds") > 0; time.Sleep(time.Minute) {
			if time.Since(began) > time.Hour {
				t.Fatal("deletions are not purged")
			}
		}
		leaver := o.node(joiner).Self()
		if err := o.command(func(ctx context.Context) error { return o.node(0).Decommission(ctx, leaver) }); err != nil {
			t.Fatal(err)
		}
		o.settled(0, 5*time.Minute)
		o.client.nodes = o.c.addresses()[:4]
		for i := range outageKeys {
			for _, key := range []string{registerKey(i), fmt.Sprint("hinted", i)} {
				if op := o.must(Op{Kind: Get, Node: displaced, Key: key, Level: "one"}); op.Present {
					t.Errorf("a deleted value is back: %v", op)
				}
			}
		}
	})
}
