package sim

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/catalog"
	"github.com/dunlindb/dunlin/node"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
)

// whole checks that everything is there, in the right places, and alike.
func (o *outage) whole() {
	o.t.Helper()
	o.readAll()
	o.clean()
	if !o.equal(3 * time.Minute) {
		o.t.Error("replicas differ")
	}
}

// TestJoinerDies for ever, at each step: the others drop it, or can remove it once
// reads ask it, and take writes at quorum all the while.
func TestJoinerDies(t *testing.T) {
	for _, phase := range []ring.Phase{ring.Announced, ring.Streaming, ring.Flipped} {
		t.Run(string(phase), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newGrowing(t, 4, 3)
				defer o.end()
				o.write()
				o.c.Enter(3)
				o.phase(0, phase, time.Minute)
				joiner := o.node(3).Self()
				o.c.Kill(3, true, 0)
				o.c.Absent(3)
				o.client.nodes = o.c.addresses()[:3]
				for began := time.Now(); time.Since(began) < 4*time.Minute; time.Sleep(10 * time.Second) {
					o.write()
				}
				o.settled(0, time.Minute) // given up after two minutes, or finished
				if phase == ring.Flipped {
					if n := o.members(0); n != 4 {
						t.Fatalf("%d members", n)
					}
					if err := o.command(func(ctx context.Context) error { return o.node(1).Remove(ctx, joiner) }); err != nil {
						t.Fatal(err)
					}
					o.settled(1, 5*time.Minute)
				}
				if n := o.members(1); n != 3 {
					t.Errorf("%d members", n)
				}
				o.write()
				o.whole()
			})
		})
	}
}

// TestDisplacedReplicaIsDown when the change would flip: it waits, and says for whom. The
// replica comes back, and dies again when reads ask the others already: then
// it is given up, and back after the end it cleans up and harms nothing.
func TestDisplacedReplicaIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowingOf(t, 4, 3, alike)
		defer o.end()
		o.write()
		away := o.node(2).Self()
		o.c.Kill(2, false, 0)
		o.c.Enter(3)
		o.phase(0, ring.Streaming, time.Minute)
		o.write()
		time.Sleep(3 * time.Minute)
		o.phase(0, ring.Streaming, 0)
		p, err := o.node(1).Progress(t.Context())
		if err != nil || p == nil {
			t.Fatal(p, err)
		}
		said := strings.Join(p.Waiting, "\n")
		if !strings.Contains(said, away.String()) || !strings.Contains(said, "dunlin layout abort") {
			t.Errorf("it waits for:\n%s", said)
		}
		o.c.Start(2)
		o.phase(0, ring.Flipped, 5*time.Minute)
		o.c.Kill(2, false, 100)
		time.Sleep(10 * time.Second)
		if o.node(0).View().Ring.Change() != nil { // else it had agreed to the end before it died
			if err := o.command(func(ctx context.Context) error { return o.node(0).Remove(ctx, away) }); err != nil {
				t.Fatal(err)
			}
		}
		o.settled(0, 5*time.Minute)
		o.write()
		o.c.Start(2)
		if !o.c.awaitReady(o.client) {
			t.Fatal(o.c.Problems())
		}
		o.awaitAlive()
		if n := o.members(2); n != 4 {
			t.Errorf("%d members", n)
		}
		o.write()
		o.whole()
	})
}

// TestJoinerWithAWrongAddress is never a member, and nobody waits for it.
func TestJoinerWithAWrongAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowingOf(t, 4, 3, everyday.at("10.0.0.4", func(c *node.Config) { c.Advertise.Host = "10.0.0.99" }))
		defer o.end()
		o.write()
		version := o.node(0).View().Version
		o.c.Enter(3)
		time.Sleep(5 * time.Minute)
		o.unchanged(version)
		if v := o.node(3).View(); v != nil {
			t.Errorf("it serves by version %d", v.Version)
		}
		o.client.nodes = o.c.addresses()[:3]
		o.write()
	})
}

// TestFactorGrowsUnderLoad: from three replicas down to one, and up again.
func TestFactorGrowsUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowing(t, 4, 4)
		defer o.end()
		o.write()
		for _, factor := range []int{2, 1, 2, 3} {
			if err := o.command(func(ctx context.Context) error {
				return o.node(0).Replicate(ctx, schema.BuiltinKeyspace, map[string]int{"dc1": factor})
			}); err != nil {
				t.Fatal(err)
			}
			o.phase(0, ring.Streaming, time.Minute)
			o.write()
			o.settled(0, 5*time.Minute)
			if got := o.node(0).View().Ring.Factor(0); got != factor {
				t.Fatalf("%d replicas, not %d", got, factor)
			}
			o.write()
			o.whole()
		}
		err := o.command(func(ctx context.Context) error {
			return o.node(0).Replicate(ctx, schema.BuiltinKeyspace, map[string]int{"dc1": 5})
		})
		if err == nil {
			t.Error("more replicas than nodes are accepted")
		}
	})
}

// TestTwoOperators propose at once on the two sides of a partition: one wins.
func TestTwoOperators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowing(t, 5, 5)
		defer o.end()
		o.write()
		ids := []ring.NodeID{o.node(0).Self(), o.node(4).Self()}
		cut, mend := o.c.blocks(append(o.c.between([]int{0, 1}, []int{2, 3, 4}), o.c.between([]int{2, 3, 4}, []int{0, 1})...))
		cut()
		time.Sleep(10 * time.Second)
		errs := make([]error, 2)
		var asked sync.WaitGroup
		for side, at := range []int{0, 4} { // each wants the other's side to shrink
			asked.Go(func() {
				errs[side] = o.command(func(ctx context.Context) error { return o.node(at).Decommission(ctx, ids[1-side]) })
			})
		}
		asked.Wait()
		var majority *catalog.NoMajorityError
		if errs[1] != nil || !errors.As(errs[0], &majority) {
			t.Fatalf("the minority is told %v, the majority %v", errs[0], errs[1])
		}
		mend()
		o.phase(0, ring.Streaming, time.Minute)
		err := o.command(func(ctx context.Context) error { return o.node(1).Decommission(ctx, ids[1]) })
		if err == nil || !strings.Contains(err.Error(), "another change") {
			t.Errorf("a second change is told %v", err)
		}
		o.gone(0)
		o.client.nodes = o.c.addresses()[1:]
		o.settled(1, 5*time.Minute)
		o.write()
		o.whole()
	})
}

// TestAwayForManyVersions: a node that has missed dozens of versions catches up.
func TestAwayForManyVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowing(t, 4, 4)
		defer o.end()
		o.write()
		o.c.Kill(2, false, 0)
		before := o.node(0).View().Version
		leaver := o.node(3).Self()
		for range 20 {
			if err := o.command(func(ctx context.Context) error { return o.node(0).Decommission(ctx, leaver) }); err != nil {
				t.Fatal(err)
			}
			if err := o.command(func(ctx context.Context) error {
				_, err := o.node(0).Abort(ctx)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		o.write()
		o.c.Start(2)
		if !o.c.awaitReady(o.client) {
			t.Fatal(o.c.Problems())
		}
		o.awaitAlive()
		if got := o.node(2).View().Version; got < before+40 {
			t.Errorf("version %d, then %d", before, got)
		}
		o.write()
		o.whole()
	})
}

// TestNewAddresses: all nodes restart, one after the other, each at a new address.
func TestNewAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowing(t, 3, 3)
		defer o.end()
		for i := range 3 {
			o.write()
			o.c.Stop(i)
			o.c.machines[i].address = netip.AddrFrom4([4]byte{10, 0, 9, byte(i + 1)})
			o.client.nodes[i] = o.c.machines[i].address
			o.c.Start(i)
			if !o.c.awaitReady(o.client) {
				t.Fatal(o.c.Problems())
			}
			o.awaitAlive()
		}
		time.Sleep(time.Minute)
		r := o.node(0).View().Ring
		for i := range r.Members() {
			if m := r.Member(uint16(i)); !strings.HasPrefix(m.Internode, "10.0.9.") || !strings.HasPrefix(m.Gossip, "10.0.9.") {
				t.Errorf("member %s is at %s", m.ID, m.Internode)
			}
		}
		o.write()
		o.whole()
	})
}

// TestOldMajorityIsBack after the survivors have recovered without it: it is refused
// everywhere, and what was acknowledged since is there.
func TestOldMajorityIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowing(t, 5, 5)
		defer o.end()
		o.write()
		for _, i := range []int{2, 3, 4} {
			o.c.Kill(i, false, 100)
		}
		time.Sleep(30 * time.Second) // until they are known to be away
		request := admin.RecoverRequest{ClusterName: "sim", Reason: "three of five burnt",
			Survivors: []string{o.node(0).Self().String(), o.node(1).Self().String()}}
		if err := o.command(func(ctx context.Context) error {
			r := request
			r.ClusterName = "another"
			return o.node(0).Recover(ctx, r)
		}); err == nil {
			t.Error("another cluster is recovered")
		}
		if err := o.command(func(ctx context.Context) error {
			r := request
			r.DryRun = true
			return o.node(0).Recover(ctx, r)
		}); err != nil || o.node(0).View().Generation != 0 {
			t.Errorf("a dry run: %v, generation %d", err, o.node(0).View().Generation)
		}
		if err := o.command(func(ctx context.Context) error { return o.node(0).Recover(ctx, request) }); err != nil {
			t.Fatal(err)
		}
		o.settled(0, 10*time.Minute)
		if v := o.node(1).View(); v.Ring.Members() != 2 || v.Generation != 1 {
			t.Fatalf("generation %d, %d members", v.Generation, v.Ring.Members())
		}
		after := Op{Kind: Put, Key: "after", Value: "recovered", Level: "quorum", Stamped: true}
		o.must(after)
		for _, i := range []int{2, 3, 4} {
			o.c.Start(i)
		}
		for _, i := range []int{2, 3, 4} {
			o.gone(i)
		}
		for at := range 2 {
			if op := o.must(Op{Kind: Get, Node: at, Key: "after", Level: "quorum"}); op.Value != "recovered" {
				t.Errorf("node %d reads %v", at, op)
			}
		}
		if v := o.node(0).View(); v.Ring.Members() != 2 || v.Generation != 1 {
			t.Errorf("generation %d, %d members", v.Generation, v.Ring.Members())
		}
	})
}

// TestTwoNodesDie for good: they are removed in one change, and filled up from the last
// replica; all three of a range are not.
func TestTwoNodesDie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowingOf(t, 5, 5, alike)
		defer o.end()
		for i := range outageKeys {
			o.must(Op{Kind: Put, Key: registerKey(i), Value: "kept", Level: "all", Stamped: true})
		}
		var dead []ring.NodeID
		for i := range 5 {
			dead = append(dead, o.node(i).Self())
		}
		for _, i := range []int{3, 4} {
			o.c.Kill(i, true, 0)
			o.c.Absent(i)
		}
		time.Sleep(30 * time.Second) // until they are known to be away
		remove := func(ids ...ring.NodeID) error {
			return o.command(func(ctx context.Context) error { return o.node(0).Remove(ctx, ids...) })
		}
		if err := remove(dead[2:]...); err == nil || !strings.Contains(err.Error(), "too few") {
			t.Errorf("three of five nodes are removed: %v", err)
		}
		if err := remove(dead[1], dead[3]); err == nil || !strings.Contains(err.Error(), "alive") {
			t.Errorf("a node that is alive is given up: %v", err)
		}
		for range 2 { // it may be said again
			if err := remove(dead[3:]...); err != nil {
				t.Fatal(err)
			}
		}
		o.settled(0, 5*time.Minute)
		if n := o.members(0); n != 3 {
			t.Errorf("%d members", n)
		}
		if err := remove(dead[3:]...); err != nil {
			t.Errorf("what is done already: %v", err)
		}
		o.client.nodes = o.c.addresses()[:3]
		for i := range outageKeys {
			if op := o.must(Op{Kind: Get, Key: registerKey(i), Level: "all"}); op.Value != "kept" {
				t.Errorf("lost: %v", op)
			}
		}
		o.clean()
	})
}
