package sim

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/node"
)

// at lists the addresses of machines.
func (o *outage) at(machines ...int) (all []netip.Addr) {
	for _, i := range machines {
		all = append(all, o.c.machines[i].address)
	}
	return all
}

// move gives machines, whose nodes are down, other addresses.
func (o *outage) move(machines []int, to []netip.Addr) {
	for k, i := range machines {
		o.c.machines[i].address = to[k]
	}
	o.client.nodes = o.c.addresses()
}

// agreed waits until every node says of every node where it is.
func (o *outage) agreed(patience time.Duration, machines ...int) {
	o.t.Helper()
	for began := time.Now(); ; time.Sleep(time.Second) {
		missing := 0
		for _, at := range machines {
			n := o.node(at)
			if n == nil || n.View() == nil {
				missing++
				continue
			}
			for _, i := range machines {
				m, ok := n.View().Ring.Index(o.node(i).Self())
				if !ok || n.View().Ring.Member(m).Internode != netip.AddrPortFrom(o.c.machines[i].address, internodePort).String() {
					missing++
				}
			}
		}
		if missing == 0 {
			return
		}
		if time.Since(began) > patience {
			o.t.Fatalf("%d addresses are not known after %s: %v", missing, patience, o.c.Problems())
		}
	}
}

// back checks that nodes which were started anew are one cluster soon.
func (o *outage) back(machines ...int) {
	o.t.Helper()
	if !o.c.awaitReady(o.client) {
		o.t.Fatal(o.c.Problems())
	}
	o.awaitAlive()
	o.agreed(30*time.Second, machines...)
	o.write()
	o.whole()
}

// unseeded is a cluster whose nodes are given no seeds once they are members.
func unseeded(started *bool) mechanisms {
	return everyday.with(func(c *node.Config) {
		if *started {
			c.Join = nil
		}
	})
}

// TestTwoNodesSwapAddresses while the others run: at once, or the second one much later,
// or when the first has taken the address of one that was killed.
func TestTwoNodesSwapAddresses(t *testing.T) {
	for _, pause := range []time.Duration{0, 3 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			started := false
			o := newGrowingOf(t, 4, 4, unseeded(&started))
			defer o.end()
			started = true
			o.write()
			o.c.Stop(1)
			o.c.Kill(2, true, 0)
			o.move([]int{1, 2}, o.at(2, 1))
			o.c.Start(1)
			time.Sleep(pause)
			if pause > 0 {
				o.agreed(time.Second, 0, 1, 3)
			}
			o.c.Start(2)
			o.back(0, 1, 2, 3)
		})
	}
}

// TestAllAddressesRotate: all nodes are stopped, and each is started with the address of
// another. No seed tells them anything.
func TestAllAddressesRotate(t *testing.T) {
	for _, nodes := range []int{2, 3, 5} {
		synctest.Test(t, func(t *testing.T) {
			started := false
			m := unseeded(&started)
			inner := m.change
			m.change = func(c *node.Config) {
				inner(c)
				c.ReplicationFactor = min(nodes, 3)
			}
			o := newGrowingOf(t, nodes, nodes, m)
			defer o.end()
			started = true
			o.write()
			var all, next []int
			for i := range nodes {
				all, next = append(all, i), append(next, (i+1)%nodes)
			}
			for _, i := range all {
				o.c.Stop(i)
			}
			o.move(all, o.at(next...))
			for _, i := range all {
				o.c.Start(i)
			}
			o.back(all...)
		})
	}
}

// TestAllAddressesAreNew: all nodes are stopped, and started at addresses where none was,
// but for one seed, which names one of them.
func TestAllAddressesAreNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := false
		o := newGrowingOf(t, 5, 5, everyday.with(func(c *node.Config) {
			if started {
				c.Join = []string{"10.0.9.3:7481"}
			}
		}))
		defer o.end()
		started = true
		o.write()
		all := []int{0, 1, 2, 3, 4}
		for _, i := range all {
			o.c.Stop(i)
		}
		var to []netip.Addr
		for i := range all {
			to = append(to, netip.AddrFrom4([4]byte{10, 0, 9, byte(i + 1)}))
		}
		o.move(all, to)
		for _, i := range all { // the seed is not the first
			o.c.Start(i)
			time.Sleep(10 * time.Second)
		}
		o.back(all...)
	})
}

// TestRollingRestartWithOtherAddresses: each node in turn is started with the address that
// the one before has left, while clients write at quorum.
func TestRollingRestartWithOtherAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := false
		o := newGrowingOf(t, 4, 4, unseeded(&started))
		defer o.end()
		started = true
		free := netip.MustParseAddr("10.0.9.1")
		for i := range 4 {
			o.write()
			o.c.Stop(i)
			left := o.at(i)[0]
			o.move([]int{i}, []netip.Addr{free})
			free = left
			o.c.Start(i)
			if !o.c.awaitReady(o.client) {
				t.Fatal(o.c.Problems())
			}
			o.awaitAlive()
			o.agreed(10*time.Second, 0, 1, 2, 3)
		}
		o.write()
		o.whole()
	})
}

// TestMinorityMoves: most nodes stay away, and the two that come back have other addresses.
// Nothing can be agreed on, but they find each other, and serve what they can.
func TestMinorityMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := false
		o := newGrowingOf(t, 5, 5, unseeded(&started))
		defer o.end()
		started = true
		o.write()
		all := []int{0, 1, 2, 3, 4}
		for _, i := range all {
			o.c.Stop(i)
		}
		o.move([]int{0, 1}, o.at(1, 0))
		o.c.Start(0)
		o.c.Start(1)
		time.Sleep(20 * time.Second)
		for _, i := range []int{0, 1} {
			if got := o.metric(i, "dunlin_transport_peer_connected"); got != 2 { // one is itself
				t.Errorf("node %d is connected to %v nodes", i, got)
			}
		}
		version := o.node(0).View().Version
		for i := 2; i < 5; i++ {
			o.c.Start(i)
		}
		o.back(all...)
		if o.node(0).View().Version <= version {
			t.Error("nothing was agreed on")
		}
	})
}
