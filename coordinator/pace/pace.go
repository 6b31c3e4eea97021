package pace

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what clients' requests may suffer.
type Config struct {
	// Window is how often Turn is to be called.
	Window time.Duration
	// Factor is how many times as long as usual the slowest hundredth of requests may
	// take; 0: work always goes as hard as it can.
	Factor float64
	// Enough is how many requests a window must have to say something.
	Enough int
	// First is the pace that a change begins with, Least the smallest one.
	First, Least float64
	// Forget is after how many windows what is usual is found out anew, Doubt after how
	// many at about the least pace: requests may be slow for another reason.
	Forget, Doubt int
}

// DefaultConfig lets requests take twice as long.
func DefaultConfig() Config {
	return Config{Window: 2 * time.Second, Factor: 2, Enough: 100, First: 0.25, Least: 0.1, Forget: 300, Doubt: 10}
}

// Validate reports the first setting that makes no sense.
func (c Config) Validate() error {
	switch {
	case c.Window <= 0:
		return fmt.Errorf("pace: Window is %s: give more than 0", c.Window)
	case c.Factor != 0 && c.Factor < 1.2:
		return fmt.Errorf("pace: Factor is %g: give 1.2 or more, or 0 to let work go on whatever requests take", c.Factor)
	case c.Enough < 1 || c.Forget < 1 || c.Doubt < 1:
		return fmt.Errorf("pace: Enough is %d, Forget %d and Doubt %d: give at least 1", c.Enough, c.Forget, c.Doubt)
	case c.Least <= 0 || c.First < c.Least || c.First > 1:
		return fmt.Errorf("pace: Least is %g and First %g: give more than 0, in this order, up to 1", c.Least, c.First)
	}
	return nil
}

// Pacer watches requests. It is safe for concurrent use.
type Pacer struct {
	cfg  Config
	seen histogram
	pace atomic.Uint64 // the bits of a float64

	mu    sync.Mutex // guards the fields below
	calm  windows    // the last ones in which nothing moved
	moved windows    // the last ones of this change
	known int        // for how many more windows calm is believed
	low   int        // windows of a pace about the least since work rested
	busy  bool       // something moved in the window before
}

// New makes a Pacer that holds nothing back yet.
func New(cfg Config) *Pacer {
	p := &Pacer{cfg: cfg}
	p.set(1)
	return p
}

// Observe counts a client's request that took so long.
func (p *Pacer) Observe(took time.Duration) { p.seen.add(took) }

// Pace is which part of its ordinary speed background work may have, up to 1; 0: it is
// to rest, and to ask again soon.
func (p *Pacer) Pace() float64 { return math.Float64frombits(p.pace.Load()) }

func (p *Pacer) set(pace float64) { p.pace.Store(math.Float64bits(pace)) }

// Usual is what the slowest hundredth of requests takes at least, in seconds, while
// nothing moves; 0: that is not known.
func (p *Pacer) Usual() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calm.median().Seconds()
}

// Moving is the same while something moves; 0: nothing does, or few requests come.
func (p *Pacer) Moving() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.moved.median().Seconds()
}

// Turn ends a window, in which something moved or not.
func (p *Pacer) Turn(busy bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	requests, slow := p.seen.take()
	enough, pace, began := requests >= p.cfg.Enough, p.Pace(), busy && !p.busy
	p.busy = busy
	p.known--
	switch {
	case p.cfg.Factor == 0:
	case !busy || pace == 0: // nothing moved: this is what is usual
		doubted := pace == 0 && p.known > 0
		if enough {
			p.learn(slow)
		}
		p.moved, p.low = p.moved[:0], 0
		switch {
		case !busy:
			p.set(1)
		case doubted:
			p.set(p.cfg.Least)
		default:
			p.set(p.cfg.First)
		}
	case !enough:
		p.set(min(1, pace*faster))
	case p.known <= 0:
		p.set(0)
	case began:
		p.set(p.cfg.First)
	default:
		p.moved.add(slow, movedKept)
		next := p.next(pace, float64(p.moved.median())/float64(p.calm.median()))
		if p.low++; next > doubtful*p.cfg.Least {
			p.low = 0
		} else if p.low >= p.cfg.Doubt {
			next = 0
		}
		p.set(next)
	}
}

const (
	// faster is how much the pace grows in a window in which requests allow it,
	// slower how much it falls at most in one in which they do not.
	faster, slower = 1.15, 0.7
	// aim is which part of Factor is steered for.
	aim = 0.75
	// doubtful is up to how many times the least pace it is doubted that work is to blame.
	doubtful = 2
	// Single windows differ a lot: of so many the median counts.
	calmKept, movedKept = 9, 5
)

// next is the pace after a window in which requests took so many times as long as usual.
func (p *Pacer) next(pace, ratio float64) float64 {
	return min(1, max(p.cfg.Least, pace*min(faster, max(slower, aim*p.cfg.Factor/ratio))))
}

// learn adds a window in which nothing moved to what is usual.
func (p *Pacer) learn(slow time.Duration) {
	if p.known <= 0 {
		p.calm = p.calm[:0]
	}
	p.calm.add(slow, calmKept)
	p.known = p.cfg.Forget
}

// windows are what the slowest hundredth of requests took in some, the oldest first.
type windows []time.Duration

// add adds one, and keeps the last few.
func (w *windows) add(slow time.Duration, keep int) {
	if len(*w) >= keep {
		*w = slices.Delete(*w, 0, 1)
	}
	*w = append(*w, slow)
}

// median is the middle one; 0: there is none.
func (w windows) median() time.Duration {
	if len(w) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(w))[len(w)/2]
}

// histogram counts durations in buckets of an eighth of a power of two microseconds.
type histogram [8 * 28]atomic.Uint32

func (h *histogram) add(d time.Duration) {
	us := uint64(max(d.Microseconds(), 8))
	exponent := bits.Len64(us) - 1
	h[min(8*exponent+int(us>>(exponent-3))&7, len(h)-1)].Add(1)
}

// take empties the histogram, and returns how many durations it had and the upper end
// of the bucket of the 99th percentile.
func (h *histogram) take() (n int, p99 time.Duration) {
	var counts [len(h)]int
	for i := range h {
		counts[i] = int(h[i].Swap(0))
		n += counts[i]
	}
	for i, over := len(counts)-1, n/100; i >= 0; i-- {
		if over -= counts[i]; over < 0 {
			return n, time.Duration(math.Ldexp(1+float64(i%8+1)/8, i/8)) * time.Microsecond
		}
	}
	return n, 0
}
