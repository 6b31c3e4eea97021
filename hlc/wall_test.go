package hlc

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestJumpsAreNotBelieved until they are confirmed, in either direction; small steps
// and drift are followed, and a jump that is undone leaves no trace.
func TestJumpsAreNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		offset, began := time.Duration(0), time.Now()
		w := NewWall(func() time.Time { return time.Now().Add(offset + time.Since(began)/1000) }, 5*time.Second)
		check := func(what string, want, jump time.Duration) {
			t.Helper()
			if got := time.Until(w.Now()); (got-want).Abs() > 4*time.Second || (w.Jump()-jump).Abs() > 4*time.Second {
				t.Errorf("%s: %s ahead, a jump of %s", what, got, w.Jump())
			}
		}
		check("at first", 0, 0)
		for _, jump := range []time.Duration{4 * time.Minute, -time.Hour} {
			offset = jump
			check("after a jump", 0, jump)
			time.Sleep(30 * time.Second)
			check("half a minute later", 0, jump)
			offset = 0
			check("undone", 0, 0)
		}
		for range 30 {
			time.Sleep(2 * time.Second)
			offset += time.Second
			w.Now()
		}
		check("small steps", 30*time.Second, 0)
		offset += time.Hour
		w.Believe()
		check("confirmed", time.Hour+30*time.Second, 0)
	})
}

// TestWallFollows: told that its clock is off, it goes on by the right time, and with
// its clock once that was set right.
func TestWallFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		off := 3 * time.Minute
		right := time.Now
		w := NewWall(func() time.Time { return right().Add(off) }, 5*time.Second)
		w.Follow(-off)
		time.Sleep(time.Hour)
		if got := w.Now().Sub(right()); got != 0 || w.Jump() != off {
			t.Errorf("off by %s, the clock by %s", got, w.Jump())
		}
		off = time.Second
		if got := w.Now().Sub(right()); got != off || w.Jump() != 0 {
			t.Errorf("off by %s, the clock by %s, after it was set right", got, w.Jump())
		}
	})
}
