package hlc

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// wall is a physical clock that tests move as they like.
type wall struct{ now time.Time }

func (w *wall) read() time.Time { return w.now }

func newWall() *wall { return &wall{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func raised(w *wall, maxSkew time.Duration) *Clock {
	c := New(w.read, 0, maxSkew)
	c.Raise(FromTime(w.now.Add(1000 * time.Hour)))
	return c
}

func TestNothingIsIssuedAboveTheCeiling(t *testing.T) {
	w := newWall()
	c := New(w.read, 0, time.Second)
	if _, err := c.Now(); !errors.Is(err, ErrCeiling) {
		t.Fatalf("before the first Raise: %v", err)
	}
	next, due := c.Reserve()
	if !due || next != FromTime(w.now)+Timestamp(c.ReserveAhead().Microseconds()) {
		t.Fatalf("Reserve = %d, %v", next, due)
	}
	c.Raise(next)
	if _, due := c.Reserve(); due {
		t.Error("Reserve is due right after Raise")
	}
	if got, err := c.Now(); err != nil || got != FromTime(w.now) {
		t.Errorf("Now = %d, %v", got, err)
	}
	w.now = w.now.Add(c.ReserveAhead() + time.Microsecond)
	if _, err := c.Now(); !errors.Is(err, ErrCeiling) {
		t.Errorf("above the ceiling: %v", err)
	}
	c.Raise(next - 5)
	if _, err := c.Now(); !errors.Is(err, ErrCeiling) {
		t.Error("a lower ceiling raised the clock")
	}
}

func TestClockSetBackOverARestart(t *testing.T) {
	w := newWall()
	first := raised(w, time.Second)
	before, err := first.Now()
	if err != nil {
		t.Fatal(err)
	}
	ceiling, _ := first.Reserve()
	w.now = w.now.Add(-48 * time.Hour)
	second := New(w.read, ceiling, time.Second)
	next, due := second.Reserve()
	if !due {
		t.Fatal("a fresh clock must reserve")
	}
	second.Raise(next)
	after, err := second.Now()
	if err != nil || after <= before || after <= ceiling {
		t.Errorf("after the restart %d (%v), before it %d, ceiling %d", after, err, before, ceiling)
	}
}

// TestRestartsStayWithinTheSkew: a clock that starts at its ceiling, even after
// many restarts in a row, is one that other clocks accept.
func TestRestartsStayWithinTheSkew(t *testing.T) {
	w := newWall()
	const maxSkew = 5 * time.Second
	peer := raised(w, maxSkew)
	ceiling := Timestamp(0)
	for restart := range 8 {
		c := New(w.read, ceiling, maxSkew)
		next, due := c.Reserve()
		if !due || next <= ceiling {
			t.Fatalf("restart %d: Reserve = %d, %v at ceiling %d", restart, next, due, ceiling)
		}
		c.Raise(next)
		ceiling = next
		ts, err := c.Now()
		if err != nil {
			t.Fatal(err)
		}
		if err := peer.Observe(ts); err != nil {
			t.Fatalf("restart %d: %v", restart, err)
		}
		w.now = w.now.Add(100 * time.Millisecond)
	}
}

func TestSkewIsNeverMerged(t *testing.T) {
	w := newWall()
	c := raised(w, time.Second)
	limit := FromTime(w.now.Add(time.Second))
	for _, ts := range []Timestamp{limit + 1, math.MaxInt64} {
		var skew *SkewError
		if err := c.Observe(ts); !errors.As(err, &skew) || skew.Ahead <= time.Second {
			t.Errorf("Observe(%d) = %v", ts, err)
		}
		if _, err := c.NowAbove(ts); !errors.As(err, &skew) {
			t.Errorf("NowAbove(%d) = %v", ts, err)
		}
		if err := c.CheckClient(ts); !errors.As(err, &skew) {
			t.Errorf("CheckClient(%d) = %v", ts, err)
		}
	}
	if got := c.Last(); got != FromTime(w.now) {
		t.Errorf("a skewed value moved the clock to %d", got)
	}
	if err := c.Observe(limit); err != nil {
		t.Errorf("at the bound: %v", err)
	}
	if got, err := c.Now(); err != nil || got != limit+1 {
		t.Errorf("after Observe(%d): %d, %v", limit, got, err)
	}
	if err := c.CheckClient(math.MinInt64); err != nil {
		t.Errorf("the distant past: %v", err)
	}
}

func TestTimestampsIncreaseWhateverTimeDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWall()
		c := raised(w, time.Hour)
		last := Timestamp(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			jump := rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "jump")
			w.now = w.now.Add(time.Duration(jump))
			session := Timestamp(0)
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				remote := FromTime(w.now.Add(time.Duration(jump)))
				if err := c.Observe(remote); err != nil {
					t.Fatalf("Observe: %v", err)
				}
				session = remote
			case 1:
				session = FromTime(w.now.Add(time.Minute))
			}
			got, err := c.NowAbove(session)
			if err != nil {
				t.Fatalf("NowAbove: %v", err)
			}
			if got <= last || got <= session {
				t.Fatalf("issued %d after %d with session %d", got, last, session)
			}
			if c.Last() < got {
				t.Fatalf("Last %d is below what was issued, %d", c.Last(), got)
			}
			last = got
		}
	})
}

func TestConcurrentStampsAreUnique(t *testing.T) {
	w := newWall()
	c := raised(w, time.Second)
	const workers, each = 8, 2000
	stamps := make([][]Timestamp, workers)
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for range each {
				ts, err := c.Now()
				if err != nil {
					t.Error(err)
					return
				}
				stamps[i] = append(stamps[i], ts)
			}
		})
	}
	wg.Wait()
	seen := map[Timestamp]bool{}
	for _, own := range stamps {
		for i, ts := range own {
			if seen[ts] || (i > 0 && ts <= own[i-1]) {
				t.Fatalf("timestamp %d was issued twice or out of order", ts)
			}
			seen[ts] = true
		}
	}
}

func TestSecondsRoundDown(t *testing.T) {
	for ts, want := range map[Timestamp]int64{0: 0, 999_999: 0, 1_000_000: 1, -1: -1, -1_000_000: -1, -1_000_001: -2} {
		if got := ts.Seconds(); got != want {
			t.Errorf("Seconds(%d) = %d, want %d", ts, got, want)
		}
	}
}

func BenchmarkNow(b *testing.B) {
	c := New(time.Now, 0, time.Second)
	c.Raise(FromTime(time.Now().Add(time.Hour)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Now(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestStampWaitsForTheCeiling: a session ahead of the ceiling, but within the
// skew, asks for a higher one, waits for it, and is served.
func TestStampWaitsForTheCeiling(t *testing.T) {
	w := newWall()
	c := New(w.read, 0, 5*time.Second)
	next, _ := c.Reserve()
	c.Raise(next)
	session := FromTime(w.now.Add(5*time.Second - time.Microsecond))
	if _, err := c.NowAbove(session); !errors.Is(err, ErrCeiling) {
		t.Fatalf("above the ceiling: %v", err)
	}
	select {
	case <-c.Needed():
	default:
		t.Fatal("nobody was told that a higher ceiling is needed")
	}
	gaveUp, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Stamp(gaveUp, session); !errors.Is(err, ErrCeiling) {
		t.Errorf("given up: %v", err)
	}
	go func() {
		<-c.Needed()
		next, due := c.Reserve()
		if !due || next <= session {
			t.Errorf("Reserve = %d, %v; a session at %d waits", next, due, session)
		}
		c.Raise(next)
	}()
	got, err := c.Stamp(t.Context(), session)
	if err != nil || got != session+1 {
		t.Errorf("Stamp = %d, %v; want %d", got, err, session+1)
	}
}
