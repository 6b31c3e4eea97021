package sim

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/ring"
)

// TestOldMajorityWasOnlyCutOff: an operator recovers on the smaller side of a partition,
// while the larger side runs and takes writes. When both meet again the larger side is
// given up: its nodes end, and take no more writes. What was acknowledged before the
// partition and by the new generation is there; nothing of the old one gets in since.
func TestOldMajorityWasOnlyCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowing(t, 5, 5)
		defer o.end()
		o.client.nodes = o.c.addresses()
		for i := range outageKeys {
			o.must(Op{Kind: Put, Key: registerKey(i), Value: "before", Level: "all", Stamped: true})
		}
		small, large := []int{0, 2}, []int{1, 3, 4} // node 2 is alone in its zone, and has everything
		cut, mend := o.c.blocks(append(o.c.between(small, large), o.c.between(large, small)...))
		cut()
		time.Sleep(30 * time.Second) // until then they may still count as alive, and cannot be given up
		if err := o.command(func(ctx context.Context) error {
			return o.node(0).Recover(ctx, admin.RecoverRequest{ClusterName: "sim", Reason: "believed to be burnt",
				Survivors: []string{o.node(0).Self().String(), o.node(2).Self().String()}})
		}); err != nil {
			t.Fatal(err)
		}
		o.settled(0, 10*time.Minute)
		old, now := o.load("quorum", 200*time.Millisecond, 1, 3), o.load("quorum", 200*time.Millisecond, 0, 2)
		time.Sleep(30 * time.Second)
		if old.acknowledged() == 0 || now.acknowledged() == 0 {
			t.Errorf("%d writes were acknowledged by the old generation, %d by the new", old.acknowledged(), now.acknowledged())
		}
		mend()
		for _, i := range large {
			o.gone(i)
		}
		until := old.acknowledged()
		time.Sleep(10 * time.Second)
		old.end()
		now.end()
		if n := old.acknowledged(); n != until {
			t.Errorf("the old generation has acknowledged %d writes after its end", n-until)
		}
		for _, at := range small {
			if v := o.node(at).View(); v.Generation != 1 || v.Ring.Members() != 2 {
				t.Errorf("node %d: generation %d, %d members", at, v.Generation, v.Ring.Members())
			}
			for i := range outageKeys {
				if op := o.must(Op{Kind: Get, Node: at, Key: registerKey(i), Level: "quorum"}); op.Value != "before" {
					t.Errorf("node %d reads %v", at, op)
				}
			}
		}
		now.check("quorum", small...)
	})
}

// TestRecoveredAgain: one more survivor burns while all fill up what was lost. The status
// says what can be done, and that is done; what one of the last two had is there.
func TestRecoveredAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowing(t, 6, 6)
		defer o.end()
		o.awaitAlive()
		for i := range outageKeys {
			o.must(Op{Kind: Put, Key: registerKey(i), Value: "before", Level: "all", Stamped: true})
		}
		recoverWith := func(machines ...int) {
			t.Helper()
			r := admin.RecoverRequest{ClusterName: "sim", Reason: "burnt"}
			for _, i := range machines {
				r.Survivors = append(r.Survivors, o.node(i).Self().String())
			}
			if err := o.command(func(ctx context.Context) error { return o.node(0).Recover(ctx, r) }); err != nil {
				t.Fatal(err)
			}
		}
		for _, i := range []int{3, 4, 5} {
			o.c.Kill(i, true, 0)
			o.c.Absent(i)
		}
		time.Sleep(30 * time.Second) // until they are known to be away
		recoverWith(0, 1, 2)
		o.phase(0, ring.Streaming, time.Minute)
		o.c.Kill(2, true, 0)
		o.c.Absent(2)
		time.Sleep(time.Minute)
		o.phase(0, ring.Streaming, 0)
		p, err := o.node(1).Progress(t.Context())
		if err != nil || p == nil {
			t.Fatal(p, err)
		}
		if said := strings.Join(p.Waiting, "\n"); !strings.Contains(said, "recover again") || strings.Contains(said, "layout abort") {
			t.Errorf("it waits for:\n%s", said)
		}
		if err := o.command(func(ctx context.Context) error {
			_, err := o.node(0).Abort(ctx)
			return err
		}); err == nil || !strings.Contains(err.Error(), "recover again") {
			t.Errorf("a recovery is aborted: %v", err)
		}
		recoverWith(0, 1)
		o.settled(1, 10*time.Minute)
		if v := o.node(1).View(); v.Generation != 2 || v.Ring.Members() != 2 {
			t.Errorf("generation %d, %d members", v.Generation, v.Ring.Members())
		}
		o.client.nodes = o.c.addresses()[:2]
		there := 0
		for i := range outageKeys {
			op := o.must(Op{Kind: Get, Key: registerKey(i), Level: "quorum"})
			if op.Present {
				there++
			}
		}
		if there < outageKeys/2 || there == outageKeys { // one zone of three is lost, and half of the two others
			t.Errorf("%d of %d keys are there", there, outageKeys)
		}
		o.clean()
	})
}

// TestAddressPassesOn: a node restarts at the address that another one had until now,
// and that one comes back elsewhere later: then both are found.
func TestAddressPassesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowing(t, 4, 4)
		defer o.end()
		o.write()
		o.c.Stop(1)
		o.c.Stop(2)
		o.c.machines[1].address, o.c.machines[2].address = o.c.machines[2].address, netip.MustParseAddr("10.0.9.1")
		o.c.Start(1)
		time.Sleep(time.Minute)
		o.c.Start(2)
		o.client.nodes = o.c.addresses()
		if !o.c.awaitReady(o.client) {
			t.Fatal(o.c.Problems())
		}
		o.awaitAlive()
		time.Sleep(time.Minute)
		r := o.node(0).View().Ring
		for i := range 4 {
			at, _ := r.Index(o.node(i).Self())
			if got := r.Member(at).Internode; got != netip.AddrPortFrom(o.c.machines[i].address, internodePort).String() {
				t.Errorf("node %d is said to be at %s", i, got)
			}
		}
		o.write()
		o.whole()
	})
}

// TestAwayWhileNodesComeAndGo: a node misses dozens of versions in which ranges moved
// between the others, with what was written in and deleted from these. It catches up,
// and has what it should.
func TestAwayWhileNodesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowing(t, 5, 4)
		defer o.end()
		const away, guest = 2, 4 // the only one of its zone: no change waits for it
		o.write()
		o.c.Kill(away, false, 0)
		time.Sleep(5 * time.Second)
		before := o.node(0).View().Version
		for range 3 {
			o.c.Enter(guest)
			o.phase(0, ring.Streaming, time.Minute)
			o.write()
			o.settled(0, 5*time.Minute)
			o.write()
			leaver := o.node(guest).Self()
			if err := o.command(func(ctx context.Context) error { return o.node(0).Decommission(ctx, leaver) }); err != nil {
				t.Fatal(err)
			}
			o.settled(0, 5*time.Minute)
			o.gone(guest)
		}
		after := o.node(0).View().Version
		if after < before+20 {
			t.Fatalf("%d versions are too few", after-before)
		}
		o.client.nodes = o.c.addresses()[:4]
		o.write()
		o.c.Start(away)
		if !o.c.awaitReady(o.client) {
			t.Fatal(o.c.Problems())
		}
		o.awaitAlive()
		if got := o.node(away).View().Version; got < after {
			t.Errorf("it serves by version %d, not %d", got, after)
		}
		for i := range outageKeys {
			op := o.must(Op{Kind: Get, Node: away, Key: registerKey(i), Level: "quorum"})
			if deleted := (i+o.serial)%7 == 0; op.Present == deleted || !deleted && op.Value != fmt.Sprint("value ", o.serial) {
				t.Errorf("after %d writes: %v", o.serial, op)
			}
		}
		o.whole()
	})
}
