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

// unchanged checks that the first node serves by a version, without a change.
func (o *outage) unchanged(version uint64) {
	o.t.Helper()
	if v := o.node(0).View(); v.Version != version || v.Ring.Change() != nil {
		o.t.Errorf("version %d became %d; change %v", version, v.Version, v.Ring.Change())
	}
}

// TestJoinerWithAWrongSeed finds nobody: it waits, is nobody's member, and joins when it is
// started with the right one.
func TestJoinerWithAWrongSeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrong := everyday
		seed := "10.0.0.99:7481"
		wrong.change = func(c *node.Config) {
			if c.Listen.Host == "10.0.0.4" {
				c.Join = []string{seed}
			}
		}
		o := newOutageOf(t, 4, wrong)
		defer o.end()
		o.c.Absent(3)
		o.begin()
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
		wrong := everyday
		wrong.change = func(c *node.Config) {
			if c.Listen.Host == "10.0.0.4" {
				c.Advertise.Host = "10.0.0.2"
			}
		}
		o := newOutageOf(t, 4, wrong)
		defer o.end()
		o.c.Absent(3)
		o.begin()
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
			known := everyday
			known.change = func(c *node.Config) {
				c.Zone = "z1" // so that all hand something over
				if c.Listen.Host == "10.0.0.4" {
					c.Join = []string{fmt.Sprintf("10.0.0.%d:7481", at+1)}
				}
			}
			o := newOutageOf(t, 4, known)
			defer o.end()
			o.c.Absent(3)
			o.begin()
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
		two := everyday
		founder := true
		two.change = func(c *node.Config) {
			if c.ClusterName = "one"; c.Listen.Host == "10.0.0.4" && founder {
				c.ClusterName, c.Bootstrap, c.Join = "two", true, nil
			} else if !founder {
				c.Join = nil
			}
		}
		o := newOutageOf(t, 4, two)
		defer o.end()
		o.begin()
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
