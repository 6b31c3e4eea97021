package sim

import (
	"sync/atomic"
	"time"
)

// Clock is the physical clock of one machine: virtual time, off by a constant,
// a drift, and jumps.
type Clock struct {
	start  time.Time
	drift  float64 // seconds gained per second
	offset atomic.Int64
}

// NewClock makes a clock that is off by an offset now.
func NewClock(offset time.Duration, drift float64) *Clock {
	c := &Clock{start: time.Now(), drift: drift}
	c.offset.Store(int64(offset))
	return c
}

// Now reads the clock.
func (c *Clock) Now() time.Time {
	t := time.Now()
	drifted := time.Duration(float64(t.Sub(c.start)) * c.drift)
	return t.Round(0).Add(time.Duration(c.offset.Load()) + drifted)
}

// Jump moves the clock, as a wrong time server or an operator does.
func (c *Clock) Jump(by time.Duration) { c.offset.Add(int64(by)) }
