package hlc

import (
	"sync/atomic"
	"time"
)

// Wall is a physical clock that does not believe jumps: one that is set, forwards or
// backwards, by more than a bound goes on as before, by the monotonic clock, until
// Believe. It is safe for concurrent use and lock-free.
type Wall struct {
	read   func() time.Time
	bound  time.Duration
	anchor atomic.Pointer[anchor]
}

// anchor is a moment by both clocks.
type anchor struct{ wall, monotonic time.Time }

// anchorEvery is how often a clock that does not jump is followed: it may drift.
const anchorEvery = time.Second

// NewWall believes what read shows now.
func NewWall(read func() time.Time, bound time.Duration) *Wall {
	w := &Wall{read: read, bound: bound}
	w.Believe()
	return w
}

// Now is the time that is believed.
func (w *Wall) Now() time.Time {
	at, expected, since := w.look()
	if at.Sub(expected).Abs() > w.bound {
		return expected
	}
	if since.age > anchorEvery {
		w.anchor.CompareAndSwap(since.anchor, &anchor{wall: at, monotonic: time.Now()})
	}
	return at
}

// Jump is how far the clock is ahead of what is believed; 0 if it is believed.
func (w *Wall) Jump() time.Duration {
	at, expected, _ := w.look()
	if jump := at.Sub(expected); jump.Abs() > w.bound {
		return jump
	}
	return 0
}

// Believe takes the clock as it is.
func (w *Wall) Believe() {
	w.anchor.Store(&anchor{wall: w.read().Round(0), monotonic: time.Now()})
}

// Follow goes on as if the clock had shown what it is off by more: it does not believe
// it until Believe, or until the clock shows that itself.
func (w *Wall) Follow(off time.Duration) {
	now := w.Now()
	w.anchor.Store(&anchor{wall: now.Add(off), monotonic: time.Now()})
}

type since struct {
	*anchor
	age time.Duration
}

// look reads the clock, and what it should show.
func (w *Wall) look() (at, expected time.Time, s since) {
	a := w.anchor.Load()
	age := time.Since(a.monotonic)
	return w.read().Round(0), a.wall.Add(age), since{a, age} // Round drops the monotonic reading
}
