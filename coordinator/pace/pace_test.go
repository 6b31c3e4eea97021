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
	l := &load{New(cfg), 4 * time.Millisecond, 3}
	rests, last := []int{}, -2
	for i := range 2*cfg.Forget + 10 {
		if l.window(true); l.p.Pace() == 0 {
			if rests = append(rests, i); i == last+1 {
				t.Fatalf("work rests for two windows, %d and %d", last, i)
			}
			last = i
		}
		if i == cfg.Forget/2 {
			l.usual = 40 * time.Millisecond // clients ask for more
		}
	}
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
		func(c *Config) { c.Forget = 0 }, func(c *Config) { c.Least = 0 }, func(c *Config) { c.First = 2 }, func(c *Config) { c.First = c.Least / 2 },
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
