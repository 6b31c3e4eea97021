package hlc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// Timestamp is a time in microseconds since the Unix epoch.
type Timestamp int64

// FromTime truncates a time to a timestamp.
func FromTime(t time.Time) Timestamp { return Timestamp(t.UnixMicro()) }

// Time returns the timestamp as a time in UTC.
func (ts Timestamp) Time() time.Time { return time.UnixMicro(int64(ts)).UTC() }

// Seconds returns the timestamp in whole Unix seconds, rounded down.
func (ts Timestamp) Seconds() int64 {
	s := int64(ts) / 1e6
	if int64(ts) < 0 && int64(ts)%1e6 != 0 {
		s--
	}
	return s
}

// The reserve is how far ahead of physical time the ceiling is raised. A node that
// restarts at once starts that far ahead, so it is half of the maximum skew: what
// such a node stamps is accepted by peers whose clocks differ by the other half.
const (
	reserveMax = 10 * time.Second
	reserveMin = 250 * time.Millisecond
)

// ErrCeiling means that the clock has reached its persisted ceiling: the disk
// that should raise it is not keeping up. Nothing may be stamped until it has.
var ErrCeiling = errors.New("hlc: the persisted clock ceiling is used up; waiting for the disk")

// SkewError is a timestamp too far ahead of this node's physical clock.
type SkewError struct {
	Ahead time.Duration // how far ahead it is
	Max   time.Duration // how far it may be
}

// Error says how far ahead the timestamp was.
func (e *SkewError) Error() string {
	return fmt.Sprintf("hlc: timestamp is %s ahead of this node's clock, at most %s is accepted", e.Ahead, e.Max)
}

// Clock is a hybrid logical clock. Make it with New.
type Clock struct {
	physical func() time.Time
	maxSkew  time.Duration
	last     atomic.Int64                  // largest timestamp issued or merged
	ceiling  atomic.Int64                  // largest timestamp that may be issued
	wanted   atomic.Int64                  // largest timestamp that the ceiling did not allow
	needed   chan struct{}                 // one slot: wanted has risen
	raised   atomic.Pointer[chan struct{}] // closed, and replaced, when the ceiling rises
}

// New makes a clock that issues only timestamps above ceiling, the value found
// on disk (0 at the very first start). It issues none until Raise was called.
func New(physical func() time.Time, ceiling Timestamp, maxSkew time.Duration) *Clock {
	c := &Clock{physical: physical, maxSkew: maxSkew, needed: make(chan struct{}, 1)}
	c.last.Store(int64(ceiling))
	c.ceiling.Store(int64(ceiling))
	raised := make(chan struct{})
	c.raised.Store(&raised)
	return c
}

// Physical reads this node's physical clock.
func (c *Clock) Physical() time.Time { return c.physical() }

// Now issues a timestamp above every one issued or merged before. The error is
// ErrCeiling.
func (c *Clock) Now() (Timestamp, error) { return c.issue(0) }

// NowAbove issues a timestamp above session too: the last clock value that a
// client saw. The error is ErrCeiling, or *SkewError when session is further
// ahead than the maximum skew; then nothing is merged.
func (c *Clock) NowAbove(session Timestamp) (Timestamp, error) {
	if err := c.check(session); err != nil {
		return 0, err
	}
	return c.issue(session)
}

// Stamp is NowAbove for callers that can wait: at the ceiling it asks for a higher
// one and waits until it is raised. When ctx ends first the error is ErrCeiling.
func (c *Clock) Stamp(ctx context.Context, session Timestamp) (Timestamp, error) {
	for {
		raised := *c.raised.Load() // before the attempt, so that no Raise is missed
		ts, err := c.NowAbove(session)
		if !errors.Is(err, ErrCeiling) {
			return ts, err
		}
		select {
		case <-raised:
		case <-ctx.Done():
			return 0, err
		}
	}
}

// Needed receives when a timestamp was wanted above the ceiling: Reserve is due.
func (c *Clock) Needed() <-chan struct{} { return c.needed }

func (c *Clock) issue(above Timestamp) (Timestamp, error) {
	physical := int64(FromTime(c.physical()))
	for {
		last := c.last.Load()
		next := max(physical, last+1, int64(above)+1)
		if next > c.ceiling.Load() {
			c.need(next)
			return 0, ErrCeiling
		}
		if c.last.CompareAndSwap(last, next) {
			return Timestamp(next), nil
		}
	}
}

// need notes a timestamp that the ceiling does not allow yet.
func (c *Clock) need(ts int64) {
	for {
		old := c.wanted.Load()
		if ts <= old || c.wanted.CompareAndSwap(old, ts) {
			break
		}
	}
	select {
	case c.needed <- struct{}{}:
	default:
	}
}

// Last returns the clock's present value and issues nothing: the larger of
// physical time and what was issued or merged. Every frame and answer carries it.
func (c *Clock) Last() Timestamp {
	return max(FromTime(c.physical()), Timestamp(c.last.Load()))
}

// Observe merges a remote clock's value, so that later timestamps lie above it.
// A value further ahead than the maximum skew is not merged: *SkewError.
func (c *Clock) Observe(remote Timestamp) error {
	if err := c.check(remote); err != nil {
		return err
	}
	for {
		last := c.last.Load()
		if int64(remote) <= last || c.last.CompareAndSwap(last, int64(remote)) {
			return nil
		}
	}
}

// CheckClient checks a write timestamp that a client chose: *SkewError when it
// is further ahead than the maximum skew. It never moves the clock.
func (c *Clock) CheckClient(ts Timestamp) error { return c.check(ts) }

func (c *Clock) check(ts Timestamp) error {
	if ts <= 0 {
		return nil
	}
	ahead := int64(ts - FromTime(c.physical())) // microseconds
	if ahead <= c.maxSkew.Microseconds() {
		return nil
	}
	ahead = min(ahead, math.MaxInt64/int64(time.Microsecond))
	return &SkewError{Ahead: time.Duration(ahead) * time.Microsecond, Max: c.maxSkew}
}

// ReserveAhead is how far ahead of physical time the ceiling is raised. Reserve
// should be asked several times in such a span.
func (c *Clock) ReserveAhead() time.Duration {
	return min(max(c.maxSkew/2, reserveMin), reserveMax)
}

// Reserve says which ceiling should be persisted, and then raised, and whether
// that is due: less than half of what would then be left is left. A clock that is
// ahead of physical time gets a small reserve only, so that a node that restarts
// again and again does not walk into the future.
func (c *Clock) Reserve() (next Timestamp, due bool) {
	ahead := Timestamp(c.ReserveAhead().Microseconds())
	last := max(c.Last(), Timestamp(c.wanted.Load()))
	next = max(FromTime(c.physical())+ahead, last+ahead/8)
	left := Timestamp(c.ceiling.Load()) - last
	return next, left < (next-last)/2
}

// Raise allows timestamps up to a ceiling that has been persisted. A lower one
// than before changes nothing.
func (c *Clock) Raise(ceiling Timestamp) {
	for {
		old := c.ceiling.Load()
		if int64(ceiling) <= old {
			return
		}
		if c.ceiling.CompareAndSwap(old, int64(ceiling)) {
			break
		}
	}
	fresh := make(chan struct{})
	close(*c.raised.Swap(&fresh))
}
