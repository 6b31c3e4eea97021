package sim

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/ring"
)

// TestHintForAnEarlierTenure: a coordinator keeps hints for a replica that it cannot reach,
// of ranges of which it is no replica itself. Meanwhile these move away from that replica,
// everything is deleted and purged where they are now, and they move back. Then the two
// meet: what the hints have from the earlier time does not come back.
func TestHintForAnEarlierTenure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const from, displaced, joiner, keys = 3, 1, 4, 60 // by zones: the joiner is in that of the displaced
		for seed := uint64(5); ; seed++ {
			seeded := everyday
			seeded.seed = seed
			o := newGrowingOf(t, 5, joiner, seeded)
			if d := o.first(0, 1, 2, 3); d == displaced || d == from {
				o.end()
				continue
			}
			defer o.end()
			o.hintForAnEarlierTenure(from, displaced, joiner, keys)
			return
		}
	})
}

func (o *outage) hintForAnEarlierTenure(from, displaced, joiner, keys int) {
	t := o.t
	cut, mend := o.c.blocks(append(o.c.between([]int{from}, []int{displaced}), o.c.between([]int{displaced}, []int{from})...))
	cut()
	time.Sleep(10 * time.Second) // until it is known to be away
	key := func(i int) string { return fmt.Sprint("hinted", i) }
	for i := range keys {
		o.must(Op{Kind: Put, Node: from, Key: key(i), Value: "while it was cut off", Level: "quorum", Stamped: true})
	}
	time.Sleep(10 * time.Second)
	if o.metric(from, "dunlin_hinted_stored_hints") == 0 {
		t.Error("no hints are kept")
	}
	o.c.Enter(joiner)
	o.phase(0, ring.Announced, time.Minute)
	o.settled(0, 5*time.Minute)
	o.clean()
	for i := range keys {
		o.must(Op{Kind: Delete, Key: key(i), Level: "all", Stamped: true})
	}
	time.Sleep(time.Hour)
	t.Logf("%v keys are purged on the joiner", o.metric(joiner, "dunlin_replica_purged_keys_total"))
	leaver := o.node(joiner).Self()
	if err := o.command(func(ctx context.Context) error { return o.node(0).Decommission(ctx, leaver) }); err != nil {
		t.Fatal(err)
	}
	o.settled(0, 5*time.Minute)
	o.client.nodes = o.c.addresses()[:4]
	mend()
	o.awaitAlive()
	if left := o.c.awaitDrained(time.Minute); left != "" {
		t.Error(left)
	}
	back := 0
	for i := range keys {
		if op := o.must(Op{Kind: Get, Node: displaced, Key: key(i), Level: "one"}); op.Present {
			back++
		}
	}
	if back > 0 {
		t.Errorf("%d of %d deleted values are back", back, keys)
	}
}
