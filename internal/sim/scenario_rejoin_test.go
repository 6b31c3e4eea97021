package sim

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/node"
	"github.com/dunlindb/dunlin/ring"
)

// dropWhileDown writes, and lets the last machine's node join until it has data and is
// killed; then drop has the change end, and everything is deleted and purged.
func (o *outage) dropWhileDown(joiner int, drop func()) {
	o.t.Helper()
	for i := range outageKeys {
		o.must(Op{Kind: Put, Key: registerKey(i), Value: "old", Level: "all", Stamped: true})
	}
	o.c.Enter(joiner)
	o.phase(0, ring.Streaming, time.Minute)
	o.c.Kill(2, false, 0) // so that it cannot flip
	for began := time.Now(); o.metric(joiner, "dunlin_stream_filled_rows_total")+o.metric(joiner, "dunlin_antientropy_pulled_rows_total") < 10; {
		if time.Sleep(time.Second); time.Since(began) > time.Minute {
			o.t.Fatal("the joiner has pulled nothing")
		}
	}
	o.c.Kill(joiner, true, 100)
	time.Sleep(5 * time.Second)
	drop()
	o.settled(0, 5*time.Minute)
}

// forget deletes everything, and waits until that is purged.
func (o *outage) forget() {
	o.t.Helper()
	before := o.metric(0, "dunlin_replica_purged_keys_total")
	for i := range outageKeys {
		o.must(Op{Kind: Delete, Key: registerKey(i), Level: "quorum", Stamped: true})
	}
	for began := time.Now(); o.metric(0, "dunlin_replica_purged_keys_total") < before+outageKeys; time.Sleep(time.Minute) {
		if time.Since(began) > time.Hour {
			o.t.Fatal("deletions are not purged")
		}
	}
}

// rejoined starts a node that was dropped, waits until it is a member, and checks that
// nothing comes back with it.
func (o *outage) rejoined(joiner, members int) {
	o.t.Helper()
	o.c.Start(joiner)
	o.phase(0, ring.Announced, time.Minute)
	o.settled(0, 10*time.Minute)
	if n := o.members(0); n != members {
		o.t.Fatalf("%d members", n)
	}
	o.client.nodes = nil
	for i := range o.c.machines {
		if o.node(i) != nil {
			o.client.nodes = append(o.client.nodes, o.c.machines[i].address)
		}
	}
	for at := range o.client.nodes {
		for i := range outageKeys {
			if op := o.must(Op{Kind: Get, Node: at, Key: registerKey(i), Level: "all"}); op.Present {
				o.t.Fatalf("a deleted value is back: %v", op)
			}
		}
	}
	o.clean()
}

// TestJoinerIsDroppedWhileDown: a node that was joining, and has data already, is down while
// its joining is aborted, by the operator or for having been away; then everything is
// deleted and purged. Started again it joins anew, by itself, and nothing comes back.
func TestJoinerIsDroppedWhileDown(t *testing.T) {
	for name, drop := range map[string]func(o *outage){
		"aborted": func(o *outage) {
			if _, err := o.node(0).Abort(o.t.Context()); err != nil {
				o.t.Fatal(err)
			}
		},
		"given up": func(*outage) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newGrowingOf(t, 4, 3, alike)
				defer o.end()
				o.dropWhileDown(3, func() { drop(o) })
				o.c.Start(2)
				o.client.nodes = o.c.addresses()[:3]
				o.awaitAlive()
				o.forget()
				o.rejoined(3, 4)
			})
		})
	}
}

// TestJoinerIsDroppedByARecovery while it is down. It is not among those that were given up.
func TestJoinerIsDroppedByARecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowingOf(t, 5, 4, everyday.with(func(c *node.Config) { c.ReplicationFactor, c.Zone = 2, "z1" }))
		defer o.end()
		o.dropWhileDown(4, func() {
			o.c.Kill(3, true, 0)
			o.c.Absent(2)
			o.c.Absent(3)
			o.client.nodes = o.c.addresses()[:2]
			time.Sleep(10 * time.Second)
			if err := o.command(func(ctx context.Context) error {
				return o.node(0).Recover(ctx, admin.RecoverRequest{ClusterName: "sim", Reason: "two of four are gone",
					Survivors: []string{o.node(0).Self().String(), o.node(1).Self().String()}})
			}); err != nil {
				t.Fatal(err)
			}
		})
		o.awaitAlive()
		o.forget()
		o.rejoined(4, 3)
		o.c.machines[3].absent.Store(false)
		o.c.Start(3) // a full member that was given up stays refused
		o.gone(3)
		if n := o.members(0); n != 3 {
			t.Errorf("%d members", n)
		}
	})
}

// TestJoinerIsCutOffDuringARecovery: it runs all the while, and ends when it hears that it was
// dropped. Started again it joins.
func TestJoinerIsCutOffDuringARecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowingOf(t, 5, 4, everyday.with(func(c *node.Config) { c.ReplicationFactor, c.Zone = 2, "z1" }))
		defer o.end()
		o.write()
		o.c.Enter(4)
		o.phase(0, ring.Streaming, time.Minute)
		cut, mend := o.c.blocks(append(o.c.between([]int{0, 1}, []int{4}), o.c.between([]int{4}, []int{0, 1})...))
		cut()
		for _, i := range []int{2, 3} {
			o.c.Kill(i, true, 0)
			o.c.Absent(i)
		}
		o.client.nodes = o.c.addresses()[:2]
		time.Sleep(30 * time.Second) // until they are known to be away
		if err := o.command(func(ctx context.Context) error {
			return o.node(0).Recover(ctx, admin.RecoverRequest{ClusterName: "sim", Reason: "two of four are gone",
				Survivors: []string{o.node(0).Self().String(), o.node(1).Self().String()}})
		}); err != nil {
			t.Fatal(err)
		}
		o.settled(0, 5*time.Minute)
		mend()
		o.gone(4)
		o.c.Enter(4)
		o.phase(0, ring.Announced, time.Minute)
		o.settled(0, 10*time.Minute)
		if n := o.members(0); n != 3 {
			t.Errorf("%d members", n)
		}
		o.client.nodes = o.c.addresses()[:2]
		o.write()
		o.clean()
	})
}

// TestJoinerRestarts while it joins: it goes on with what it has, also without seeds. If it was
// dropped meanwhile, without seeds it does not join anew but says how to.
func TestJoinerRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seeds := true
		o := newGrowingOf(t, 4, 3, everyday.with(func(c *node.Config) {
			if !seeds {
				c.Join = nil
			}
		}))
		defer o.end()
		o.write()
		o.c.Enter(3)
		o.phase(3, ring.Streaming, time.Minute)
		seeds = false
		o.c.Kill(3, true, 100)
		time.Sleep(time.Second)
		o.c.Start(3)
		o.settled(0, 5*time.Minute)
		if n := o.members(0); n != 4 {
			t.Fatalf("%d members", n)
		}
		o.write()
		o.whole()

		leaver := o.node(3).Self()
		if err := o.command(func(ctx context.Context) error { return o.node(0).Decommission(ctx, leaver) }); err != nil {
			t.Fatal(err)
		}
		o.settled(0, 5*time.Minute)
		o.gone(3)
		o.client.nodes = o.c.addresses()[:3]
		seeds = true
		o.c.Enter(3)
		o.phase(3, ring.Streaming, time.Minute)
		seeds = false
		o.c.Kill(3, true, 100)
		if _, err := o.node(0).Abort(t.Context()); err != nil {
			t.Fatal(err)
		}
		o.settled(0, time.Minute)
		version := o.node(0).View().Version
		o.c.Start(3)
		o.gone(3)
		o.unchanged(version)
		seeds = true
		o.c.Enter(3)
		o.phase(0, ring.Announced, time.Minute)
		o.settled(0, 5*time.Minute)
		o.client.nodes = o.c.addresses()
		o.write()
		o.whole()
		if p := o.c.Problems(); len(p) > 0 {
			t.Error(strings.Join(p, "\n"))
		}
	})
}
