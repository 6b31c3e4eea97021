package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/node"
	"github.com/dunlindb/dunlin/ring"
)

// TestJoinerWithAWrongSeed finds nobody: it waits, is nobody's member, and joins when it is
// started with the right one.
func TestJoinerWithAWrongSeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seed := "10.0.0.99:7481"
		o := newGrowingOf(t, 4, 3, everyday.at("10.0.0.4", func(c *node.Config) { c.Join = []string{seed} }))
		defer o.end()
		o.write()
		version := o.node(0).View().Version
		o.c.Enter(3)
		time.Sleep(5 * time.Minute)
		o.unchanged(version)
		if n := o.node(3); n.View() != nil || len(n.Unready()) == 0 {
			t.Errorf("a node without a cluster is ready, and serves by %v", n.View())
		}
		o.client.nodes = o.c.addresses()[:3]
		o.write()
		o.c.Stop(3)
		seed = "10.0.0.2:7481"
		o.c.Enter(3)
		o.phase(0, ring.Announced, time.Minute)
		o.settled(0, 5*time.Minute)
		if n := o.members(0); n != 4 {
			t.Errorf("%d members", n)
		}
		o.whole()
	})
}

// TestJoinerWithAnothersAddress advertises where a member is: it is told so.
func TestJoinerWithAnothersAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowingOf(t, 4, 3, everyday.at("10.0.0.4", func(c *node.Config) { c.Advertise.Host = "10.0.0.2" }))
		defer o.end()
		o.write()
		version := o.node(0).View().Version
		o.c.Enter(3)
		o.gone(3)
		o.unchanged(version)
		o.write()
	})
}

// TestJoinerThatOneMemberReaches is let in by that one, and cannot take anything over from
// the others. Whether the node that drives is among these or not, the change is aborted:
// another one drives it as well after a while. Clients write at quorum all the while.
func TestJoinerThatOneMemberReaches(t *testing.T) {
	for _, at := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			o := newGrowingOf(t, 4, 3, everyday.with(func(c *node.Config) {
				c.Zone = "z1" // so that all hand something over
				if c.Listen.Host == "10.0.0.4" {
					c.Join = []string{fmt.Sprintf("10.0.0.%d:7481", at+1)}
				}
			}))
			defer o.end()
			o.write()
			if o.first(0, 1, 2) != 1 {
				t.Fatal("node 1 has to drive: take another seed")
			}
			others := slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return i == at })
			cut, mend := o.c.blocks(append(o.c.between(others, []int{3}), o.c.between([]int{3}, others)...))
			cut()
			o.c.Enter(3)
			o.phase(2, ring.Announced, time.Minute)
			o.client.nodes = o.c.addresses()[:3]
			for range 12 {
				time.Sleep(30 * time.Second)
				o.write()
			}
			o.settled(2, 0)
			mend()
			o.gone(3)
			if n := o.members(0); n != 3 {
				t.Errorf("%d members", n)
			}
			o.write()
			o.whole()
		})
	}
}

// TestAnotherClusterAtAMembersAddress: a member's machine gets a new address, and its old
// one goes to a node of another cluster. Neither cluster takes anything of the other, and
// both go on.
func TestAnotherClusterAtAMembersAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		founder := true
		o := newGrowingOf(t, 4, 4, everyday.with(func(c *node.Config) {
			if c.ClusterName = "one"; c.Listen.Host == "10.0.0.4" && founder {
				c.ClusterName, c.Bootstrap, c.Join = "two", true, nil
			} else if !founder {
				c.Join = nil
			}
		}))
		defer o.end()
		o.write()
		before, other := o.node(0).View(), o.node(3).View()
		if before.Cluster == other.Cluster || before.Ring.Members() != 3 || other.Ring.Members() != 1 {
			t.Fatalf("%d and %d members", before.Ring.Members(), other.Ring.Members())
		}
		founder = false
		o.c.Stop(2)
		o.c.Stop(3)
		old := o.c.machines[2].address
		o.c.machines[2].address, o.c.machines[3].address = netip.MustParseAddr("10.0.9.1"), old
		o.c.Start(3)
		o.client.nodes = o.c.addresses()
		o.write()
		time.Sleep(time.Minute)
		o.unchanged(before.Version)
		o.c.Start(2)
		o.awaitAlive()
		time.Sleep(time.Minute)
		for i := range 3 {
			if v := o.node(i).View(); v.Cluster != before.Cluster || v.Ring.Members() != 3 {
				t.Errorf("node %d is of cluster %s, %d members", i, v.Cluster, v.Ring.Members())
			}
		}
		if n := o.node(3); n == nil || n.View().Cluster != other.Cluster || n.View().Version < other.Version || n.View().Ring.Members() != 1 {
			t.Errorf("the other cluster: %+v", n)
		}
		if o.metric(3, "dunlin_transport_refused_hellos_total") == 0 || o.metric(3, "dunlin_membership_refused_total") == 0 {
			t.Error("the two have never met")
		}
		o.write()
		o.readAll()
	})
}
