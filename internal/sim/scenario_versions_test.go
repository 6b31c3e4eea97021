package sim

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/ring"
)

// refused is how many groups of mutations a machine's replica has refused, for a reason.
func (o *outage) refused(machine int, reason string) (n float64) {
	families, err := o.registries[machine].Gather()
	if err != nil {
		o.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "dunlin_replica_refused_groups_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetValue() == reason {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}

// TestCoordinatorStaysBehind: what one coordinator says and hears takes long, so that it
// serves by versions of the catalog that the others have left, while a node joins and
// clients write through it. Replicas refuse what it sends by those; what it acknowledges
// is there, for quorums of now.
func TestCoordinatorStaysBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const behind, joiner = 2, 4 // the only node of its zone: no range moves to it or from it
		o := newGrowingOf(t, 5, joiner, mechanisms{seed: 3, hints: true, antiEntropy: true, readRepair: true})
		defer o.end()
		o.write()
		driver := o.first(0, 1, 2, 3)
		if driver == behind {
			t.Fatal("the node that drives must not be behind: take another seed")
		}
		l := o.load("quorum", 20*time.Millisecond, behind, behind, behind, behind, driver)
		slow := func(most time.Duration) {
			for _, i := range []int{0, 1, 3, joiner} {
				o.slow(behind, most, i)
				o.slow(i, most, behind)
			}
		}
		slow(700 * time.Millisecond)
		o.c.Enter(joiner)
		o.phase(driver, ring.Announced, time.Minute)
		most := uint64(0)
		for began := time.Now(); o.node(driver).View().Ring.Change() != nil; time.Sleep(10 * time.Millisecond) {
			if now, late := o.node(driver).View().Version, o.node(behind).View().Version; now > late+most {
				most = now - late
			}
			if time.Since(began) > 5*time.Minute {
				t.Fatal("the change goes on")
			}
		}
		time.Sleep(2 * time.Second)
		l.end()
		slow(0)
		refused := 0.0
		for i := range 5 {
			refused += o.refused(i, "stale_catalog")
		}
		t.Logf("up to %d versions behind; %v groups were refused; %d writes, %d failed", most, refused, l.acknowledged(), l.failed)
		if most < 2 || refused == 0 {
			t.Error("nothing was sent by an old version")
		}
		leaver := o.node(joiner).Self()
		if err := o.command(func(ctx context.Context) error { return o.node(driver).Decommission(ctx, leaver) }); err != nil {
			t.Fatal(err)
		}
		o.settled(driver, 5*time.Minute)
		o.client.nodes = o.c.addresses()[:4]
		l.check("quorum", driver, behind)
		o.whole()
	})
}
