package sim

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/dunlindb/dunlin/internal/sim/network"
)

// step is the beginning or the end of a fault.
type step struct {
	at time.Duration
	do func()
}

// Drive lets the faults of a plan happen, and returns when the last has ended
// and every node that it restarts has been started.
func (c *Cluster) Drive(plan []Fault) {
	var steps []step
	var pending sync.WaitGroup
	for _, f := range plan {
		begin, end := c.effects(f, &pending)
		steps = append(steps, step{f.At, begin}, step{f.At + f.Hold, end})
	}
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	began := time.Now()
	for _, s := range steps {
		time.Sleep(s.at - time.Since(began))
		s.do()
	}
	pending.Wait()
}

// effects returns what a fault's beginning and end do. What waits runs on
// goroutines of pending, so that the schedule keeps its times.
func (c *Cluster) effects(f Fault, pending *sync.WaitGroup) (begin, end func()) {
	start := func() {
		for _, i := range f.Nodes {
			pending.Go(func() { c.Start(i) })
		}
	}
	switch f.Kind {
	case Crash, CrashAll:
		return func() {
			for _, i := range f.Nodes {
				pending.Go(func() { c.Kill(i, f.Power, f.Keep) })
			}
		}, start
	case Restart:
		return func() {
			for _, i := range f.Nodes {
				pending.Go(func() { c.Stop(i) })
			}
		}, start
	case Pause:
		return c.blocks(c.isolating(f.Nodes[0]))
	case Partition:
		return c.blocks(append(c.between(f.Nodes, f.Peers), c.between(f.Peers, f.Nodes)...))
	case OneWay:
		return c.blocks(c.between(f.Nodes, f.Peers))
	case Degrade:
		links := append(c.between(f.Nodes, f.Peers), c.between(f.Peers, f.Nodes)...)
		set := func(p *network.Profile) func() {
			return func() {
				for _, l := range links {
					c.net.SetProfile(l[0], l[1], p)
				}
			}
		}
		return set(&f.Link), set(nil)
	case ClockJump:
		clock := c.machines[f.Nodes[0]].clock
		return func() { clock.Jump(f.Jump) }, func() { clock.Jump(-f.Jump) }
	case DiskFull:
		disk := c.machines[f.Nodes[0]].disk
		return func() { disk.Fill(true) }, func() { disk.Fill(false) }
	case DiskErrors:
		return func() { c.failDisk(f.Nodes[0]) }, c.machines[f.Nodes[0]].disk.Recover
	}
	panic("sim: unknown fault")
}

// direction is a directed link.
type direction [2]netip.Addr

func (c *Cluster) blocks(links []direction) (begin, end func()) {
	each := func(f func(from, to netip.Addr)) func() {
		return func() {
			for _, l := range links {
				f(l[0], l[1])
			}
		}
	}
	return each(c.net.Block), each(c.net.Unblock)
}

// between lists the links from some nodes to others.
func (c *Cluster) between(from, to []int) (links []direction) {
	for _, i := range from {
		for _, j := range to {
			links = append(links, direction{c.machines[i].address, c.machines[j].address})
		}
	}
	return links
}

// isolating lists all links of a node, those to clients and to itself included.
func (c *Cluster) isolating(i int) []direction {
	self := c.machines[i].address
	links := []direction{{self, self}}
	peers := slices.Clone(c.others)
	for j, m := range c.machines {
		if j != i {
			peers = append(peers, m.address)
		}
	}
	for _, p := range peers {
		links = append(links, direction{self, p}, direction{p, self})
	}
	return links
}
