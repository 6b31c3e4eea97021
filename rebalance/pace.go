package rebalance

import (
	"context"
	"math"
	"sync/atomic"

	"github.com/dunlindb/dunlin/ring"
)

// pace is how hard this node may work for a change, by what clients feel here and at
// the nodes that it takes ranges from.
type pace struct {
	bits atomic.Uint64 // of a float64: the smallest of the others'
}

func (p *pace) set(v float64) { p.bits.Store(math.Float64bits(v)) }

// Pace is which part of its ordinary speed this node's work for a change may have, up
// to 1; 0: it is to rest for now.
func (d *Driver) Pace() float64 {
	return min(d.env.Pace(), math.Float64frombits(d.pace.bits.Load()))
}

// heed asks the nodes that this one takes ranges from what their clients bear. Those
// that do not tell hold nothing back.
func (d *Driver) heed(ctx context.Context, sources map[ring.NodeID]bool) {
	least := 1.0
	for id := range sources {
		if s, err := d.ask(ctx, id); err == nil && s.Pace != nil {
			least = min(least, *s.Pace)
		}
	}
	d.pace.set(least)
	d.metrics.pace.Set(d.Pace())
}
