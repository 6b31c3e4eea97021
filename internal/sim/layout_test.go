package sim

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/node"
)

// everyday is a cluster as shipped, alike is one without zones: every member hands
// something over to a node that joins.
var (
	everyday = mechanisms{hints: true, antiEntropy: true, readRepair: true}
	alike    = everyday.with(func(c *node.Config) { c.Zone = "z1" })
)

// with is the same with another configuration.
func (m mechanisms) with(change func(*node.Config)) mechanisms {
	m.change = change
	return m
}

// at is the same with another configuration of the node at an address.
func (m mechanisms) at(host string, change func(*node.Config)) mechanisms {
	return m.with(func(c *node.Config) {
		if c.Listen.Host == host {
			change(c)
		}
	})
}

// newGrowing starts some of the machines, with everything switched on.
func newGrowing(t *testing.T, machines, nodes int) *outage {
	return newGrowingOf(t, machines, nodes, everyday)
}

// newGrowingOf starts some of the machines.
func newGrowingOf(t *testing.T, machines, nodes int, m mechanisms) *outage {
	t.Helper()
	o := newOutageOf(t, machines, m)
	for i := nodes; i < machines; i++ {
		o.c.Absent(i)
	}
	o.begin()
	return o
}

// node is a machine's node; nil if there is none.
func (o *outage) node(i int) *node.Node {
	m := o.c.machines[i]
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	if m.boot == nil || m.absent.Load() {
		return nil
	}
	return m.boot.node.(*node.Node)
}

// settled waits until no change is on its way any more, as a node sees it.
func (o *outage) settled(at int, patience time.Duration) {
	o.t.Helper()
	for began := time.Now(); ; time.Sleep(time.Second) {
		n := o.node(at)
		if n != nil && n.View() != nil && n.View().Ring.Change() == nil {
			return
		}
		if time.Since(began) > patience {
			o.t.Fatalf("the change is still %+v after %s: %s", n.View().Ring.Change().Phase, patience, progressOf(n))
		}
	}
}

// members counts the members, as a node sees them.
func (o *outage) members(at int) int { return o.node(at).View().Ring.Members() }

// unchanged checks that the first node serves by a version, without a change.
func (o *outage) unchanged(version uint64) {
	o.t.Helper()
	if v := o.node(0).View(); v.Version != version || v.Ring.Change() != nil {
		o.t.Errorf("version %d became %d; change %v", version, v.Version, v.Ring.Change())
	}
}

// clean waits until every node has removed what it does not hold.
func (o *outage) clean() {
	o.t.Helper()
	if left := o.c.awaitSettled(5 * time.Minute); left != "" {
		o.t.Error(left)
	}
}

// TestGrowAndShrink: 3 nodes become 4 and 3 again, and everything is there.
func TestGrowAndShrink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowing(t, 4, 3)
		defer o.end()
		o.write()
		o.c.Enter(3)
		time.Sleep(5 * time.Second)
		o.settled(0, 5*time.Minute)
		if n := o.members(0); n != 4 {
			t.Fatalf("%d members", n)
		}
		o.write()
		o.readAll()
		o.clean()
		if !o.equal(2 * time.Minute) {
			t.Error("replicas differ")
		}
		leaver := o.node(0).Self()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for range 2 { // it may be said again
			if err := o.node(1).Decommission(ctx, leaver); err != nil {
				t.Fatal(err)
			}
		}
		o.settled(1, 5*time.Minute)
		if n := o.members(1); n != 3 {
			t.Fatalf("%d members", n)
		}
		time.Sleep(10 * time.Second)
		if !o.c.machines[0].absent.Load() {
			t.Error("a node that was decommissioned goes on")
		}
		o.client.nodes = o.c.addresses()[1:]
		o.write()
		o.readAll()
		o.clean()
		if !o.equal(2 * time.Minute) {
			t.Error("replicas differ")
		}
	})
}
