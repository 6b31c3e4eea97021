package latency

import (
	"math"
	"math/bits"
	"sync"
	"time"

	"github.com/dunlindb/dunlin/ring"
)

// Memory remembers how fast replicas answered. It is safe for concurrent use.
type Memory struct {
	initial, least time.Duration

	mu       sync.Mutex // guards the maps and what they hold
	replicas map[ring.NodeID]average
	kinds    map[Kind]*histogram
}

// Kind is what has a percentile of its own: an operation on a table.
type Kind struct {
	Table uint32
	Op    uint8
}

// New makes an empty memory. Hedge returns initial until enough was observed, and
// never less than least afterwards.
func New(initial, least time.Duration) *Memory {
	return &Memory{
		initial: initial, least: least,
		replicas: map[ring.NodeID]average{},
		kinds:    map[Kind]*histogram{},
	}
}

// average is an exponentially weighted moving average.
type average struct {
	value time.Duration
	at    time.Time
}

// averageWeight is the weight of one observation: the last eight or so count.
const averageWeight = 8

// averageStale is the age from which an average says nothing any more, so that
// a replica that was slow once is tried again.
const averageStale = 10 * time.Second

// Observe records that a replica answered after d.
func (m *Memory) Observe(id ring.NodeID, of Kind, d time.Duration, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.average(id, d, now)
	m.histogram(of).add(d)
}

// Lost records that a replica had not answered after d, when a spare, asked after
// delay, had. For the replica's average d counts: the slow must not look fast. In
// the histogram it counts as just below delay: left out, delay would shrink with
// each hedge, and as what it is, one hanging replica would drive it up for ever.
func (m *Memory) Lost(id ring.NodeID, of Kind, d, delay time.Duration, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.average(id, d, now)
	m.histogram(of).add(min(d, delay-time.Microsecond))
}

// average updates a replica's average; mu is held.
func (m *Memory) average(id ring.NodeID, d time.Duration, now time.Time) {
	a := m.replicas[id]
	if a.at.IsZero() || now.Sub(a.at) > averageStale {
		a.value = d
	} else {
		a.value += (d - a.value) / averageWeight
	}
	a.at = now
	m.replicas[id] = a
}

// histogram returns a kind's histogram; mu is held.
func (m *Memory) histogram(of Kind) *histogram {
	h := m.kinds[of]
	if h == nil {
		h = &histogram{}
		m.kinds[of] = h
	}
	return h
}

// Replica returns a replica's moving average, or 0 if there is no recent one.
func (m *Memory) Replica(id ring.NodeID, now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.replicas[id]; now.Sub(a.at) <= averageStale {
		return a.value
	}
	return 0
}

// Hedge returns how long to wait before a spare replica is asked: about the 99th
// percentile of what was observed.
func (m *Memory) Hedge(of Kind) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.kinds[of]
	if h == nil || h.total < histogramEnough {
		return m.initial
	}
	return max(h.p99(), m.least)
}

// histogram counts durations in buckets of a quarter of a power of two
// microseconds. Counts are halved now and then, so that it follows the load.
type histogram struct {
	counts [histogramBuckets]uint32
	total  uint32
}

const (
	histogramBuckets = 4 * 28 // up to 2^28 µs, four minutes
	histogramEnough  = 128
	histogramFull    = 8192
)

// Step numbers durations in steps of about a quarter: durations of one step are
// equal for the choice of a replica.
func Step(d time.Duration) int { return bucketOf(d) }

// bucketOf returns the bucket of a duration, bucketEnd its upper bound.
func bucketOf(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 1))
	exponent := bits.Len64(us) - 1
	quarter := 0
	if exponent >= 2 {
		quarter = int(us>>(exponent-2)) & 3
	}
	return min(4*exponent+quarter, histogramBuckets-1)
}

func bucketEnd(i int) time.Duration {
	return time.Duration(math.Ldexp(1+float64(i%4+1)/4, i/4)) * time.Microsecond
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.total++
	if h.total < histogramFull {
		return
	}
	h.total = 0
	for i := range h.counts {
		h.counts[i] /= 2
		h.total += h.counts[i]
	}
}

// p99 returns the upper bound of the bucket that holds the 99th percentile.
func (h *histogram) p99() time.Duration {
	over := h.total / 100
	for i := histogramBuckets - 1; i >= 0; i-- {
		if h.counts[i] > over {
			return bucketEnd(i)
		}
		over -= h.counts[i]
	}
	return 0
}
