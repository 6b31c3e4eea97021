package pace

import (
	"testing"
	"time"
)

// load is a machine whose requests take longer the harder background work goes.
type load struct {
	p      *Pacer
	usual  time.Duration
	suffer float64 // how many times as long as usual they take at pace 1
}

// window lets a window pass, and returns how many times as long as usual requests took.
func (l *load) window(busy bool) (ratio float64) {
	ratio = 1
	if busy {
		ratio += (l.suffer - 1) * l.p.Pace()
	}
	for i := range 400 {
		l.p.Observe(time.Duration(float64(l.usual) * ratio * (1 - float64(i%50)/100)))
	}
	l.p.Turn(busy)
	return ratio
}

// TestRequestsKeepWithinTheFactor: whatever work does to requests at full speed, it
// soon goes no harder than these may suffer, and as hard as it can where they do not.
func TestRequestsKeepWithinTheFactor(t *testing.T) {
	for _, suffer := range []float64{1, 1.2, 3, 10, 100} {
		l := &load{New(DefaultConfig()), 4 * time.Millisecond, suffer}
		for range 5 {
			l.window(false)
		}
		if l.p.Pace() != 1 {
			t.Errorf("suffer %g: pace %g with nothing to do", suffer, l.p.Pace())
		}
		for i := range 100 {
			if ratio := l.window(true); i > 25 && ratio > 2 && l.p.Pace() > l.p.cfg.Least {
				t.Errorf("suffer %g: requests took %.2f times as long in window %d, pace %g", suffer, ratio, i, l.p.Pace())
			}
		}
		if suffer <= 1.2 && l.p.Pace() != 1 {
			t.Errorf("suffer %g: pace %g", suffer, l.p.Pace())
		}
		if l.p.Pace() < l.p.cfg.Least {
			t.Errorf("suffer %g: pace %g is below the least", suffer, l.p.Pace())
		}
		if l.window(false); l.p.Pace() != 1 {
			t.Errorf("suffer %g: pace %g afterwards", suffer, l.p.Pace())
		}
	}
}

// TestUnknownIsFoundOut: where it is not known what is usual, work rests for a window,
// also when that was long ago; and never for two.
func TestUnknownIsFoundOut(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Doubt = 3 * cfg.Forget
	l := &load{New(cfg), 4 * time.Millisecond, 3}
	rests := l.rests(t, 2*cfg.Forget+10, func(i int) {
		if i == cfg.Forget/2 {
			l.usual = 40 * time.Millisecond // clients ask for more
		}
	})
	if len(rests) != 3 || rests[0] != 0 {
		t.Errorf("work rested in the windows %v", rests)
	}
	if usual := l.p.Usual(); usual < 0.036 || usual > 0.048 {
		t.Errorf("%g s are taken for usual", usual)
	}
	if l.p.Pace() < 0.2 {
		t.Errorf("pace %g where requests take as long as ever", l.p.Pace())
	}
}

// rests are the windows in which work rests, of so many; two never follow each other.
func (l *load) rests(t *testing.T, windows int, before func(i int)) (rests []int) {
	t.Helper()
	for i := range windows {
		before(i)
		if l.window(true); l.p.Pace() > 0 {
			continue
		}
		if len(rests) > 0 && rests[len(rests)-1] == i-1 {
			t.Fatalf("work rests for two windows, %d and %d", i-1, i)
		}
		rests = append(rests, i)
	}
	return rests
}

// TestWorkIsNotToBlame: where requests are slow whether work goes on or not, it is
// soon not held back by a lucky window that was taken for usual; and where it is to
// blame, finding that out does not let it go harder.
func TestWorkIsNotToBlame(t *testing.T) {
	for _, c := range []struct {
		lucky  int // windows before the change
		suffer float64
		within int     // windows
		pace   float64 // after them, at least
	}{{1, 1, 40, 0.9}, {9, 1, 120, 0.9}, {1, 100, 200, 0}} {
		l := &load{New(DefaultConfig()), 3 * time.Millisecond, c.suffer}
		for range c.lucky {
			l.window(false)
		}
		l.usual = 6 * time.Millisecond
		harder := 0
		rests := l.rests(t, c.within, func(i int) {
			if i > 15 && l.p.Pace() > l.p.cfg.Least {
				harder++
			}
		})
		if len(rests) == 0 || l.p.Pace() < c.pace {
			t.Errorf("%+v: pace %g; work rested in the windows %v", c, l.p.Pace(), rests)
		}
		if c.suffer > 1 && harder > 0 {
			t.Errorf("%+v: work goes on harder in %d windows", c, harder)
		}
	}
}

// TestABurstIsNotUsual: what was asked for a while ago is not what is usual now.
func TestABurstIsNotUsual(t *testing.T) {
	l := &load{New(DefaultConfig()), 100 * time.Millisecond, 1}
	for range 20 {
		l.window(false)
	}
	l.usual = 4 * time.Millisecond
	for range calmKept/2 + 1 {
		l.window(false)
	}
	if usual := l.p.Usual(); usual > 0.005 {
		t.Errorf("%g s are taken for usual", usual)
	}
}

// TestFewRequestsHoldNothingBack, nor does a factor of 0.
func TestFewRequestsHoldNothingBack(t *testing.T) {
	p := New(DefaultConfig())
	for range 30 {
		p.Observe(time.Second)
		p.Turn(true)
	}
	if p.Pace() != 1 {
		t.Errorf("pace %g with one request a window", p.Pace())
	}
	cfg := DefaultConfig()
	cfg.Factor = 0
	l := &load{New(cfg), time.Millisecond, 50}
	for range 30 {
		if l.window(true); l.p.Pace() != 1 {
			t.Fatalf("pace %g", l.p.Pace())
		}
	}
}

// TestPercentile: the slowest hundredth, to an eighth.
func TestPercentile(t *testing.T) {
	for _, c := range []struct{ fast, slow int }{{1000, 0}, {990, 10}, {985, 15}, {0, 200}} {
		var h histogram
		for range c.fast {
			h.add(time.Millisecond)
		}
		for range c.slow {
			h.add(50 * time.Millisecond)
		}
		want := time.Millisecond
		if c.slow > (c.fast+c.slow)/100 {
			want = 50 * time.Millisecond
		}
		n, got := h.take()
		if n != c.fast+c.slow || got < want || got > want*9/8 {
			t.Errorf("%d and %d: %d, %s", c.fast, c.slow, n, got)
		}
		if n, _ := h.take(); n != 0 {
			t.Errorf("%d are left", n)
		}
	}
}

func TestConfig(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for i, change := range []func(*Config){
		func(c *Config) { c.Window = 0 }, func(c *Config) { c.Factor = 1 }, func(c *Config) { c.Factor = -1 }, func(c *Config) { c.Enough = 0 },
		func(c *Config) { c.Forget = 0 }, func(c *Config) { c.Doubt = 0 }, func(c *Config) { c.Least = 0 }, func(c *Config) { c.First = 2 }, func(c *Config) { c.First = c.Least / 2 },
	} {
		c := DefaultConfig()
		if change(&c); c.Validate() == nil {
			t.Errorf("change %d is accepted", i)
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	p := New(DefaultConfig())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p.Observe(3 * time.Millisecond)
		}
	})
}
