package pressure

import (
	"sync/atomic"
	"time"
)

// Writes are refused from shedFrom sublevels of level 0 on, until no more than
// shedUntil are left; Pebble itself would stop all writes at 40, without an answer.
const (
	shedFrom      = 32
	shedUntil     = 24
	pressureEvery = 250 * time.Millisecond
)

// Guard refuses writes before Pebble stops them. It is safe for concurrent use.
type Guard struct {
	// Measure counts the sublevels of level 0. It may take a moment.
	Measure func() (sublevels int)
	// Tell hears when refusing begins and ends.
	Tell func(shedding bool, sublevels int)

	next atomic.Int64 // time of the next measurement, Unix nanoseconds
	high atomic.Bool
}

// Shedding reports whether writes are refused now. While they are, nobody commits,
// so it measures too.
func (g *Guard) Shedding() bool {
	if g.high.Load() {
		g.Look(time.Now())
	}
	return g.high.Load()
}

// Look measures, at most every so often.
func (g *Guard) Look(now time.Time) {
	next := g.next.Load()
	if now.UnixNano() < next || !g.next.CompareAndSwap(next, now.Add(pressureEvery).UnixNano()) {
		return
	}
	before, n := g.high.Load(), g.Measure()
	high := n >= shedFrom || before && n > shedUntil
	if high != before {
		g.high.Store(high)
		g.Tell(high, n)
	}
}
