package latency

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dunlindb/dunlin/ring"
)

// TestHistogramP99 compares with the exact percentile: the bucket's end is at
// most a quarter above it, and never below.
func TestHistogramP99(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var h histogram
		all := make([]time.Duration, 200+rng.IntN(2000))
		scale := time.Duration(1+rng.IntN(1_000_000)) * time.Microsecond
		for i := range all {
			all[i] = 4*time.Microsecond + time.Duration(rng.Float64()*rng.Float64()*float64(scale))
			h.add(all[i])
		}
		slices.Sort(all)
		exact := all[len(all)-1-len(all)/100]
		if got := h.p99(); got < exact || got > exact*5/4+time.Microsecond {
			t.Fatalf("p99 of %d durations is %s, exactly %s", len(all), got, exact)
		}
	}
}

func TestHistogramForgets(t *testing.T) {
	var h histogram
	for range histogramFull {
		h.add(time.Second)
	}
	for range 20 * histogramFull {
		h.add(time.Millisecond)
	}
	if got := h.p99(); got > 2*time.Millisecond {
		t.Fatalf("p99 %s long after the slow time", got)
	}
	h.add(time.Hour) // beyond the last bucket
	h.add(-1)
}

func TestMemory(t *testing.T) {
	const initial, least = 50 * time.Millisecond, 2 * time.Millisecond
	l := New(initial, least)
	near, far := ring.NodeID{1}, ring.NodeID{2}
	of := Kind{Table: 1}
	now := time.Now()
	if got := l.Hedge(of); got != initial {
		t.Fatalf("hedge delay without observations %s", got)
	}
	for range histogramEnough {
		l.Observe(near, of, time.Millisecond, now)
		l.Observe(far, of, 10*time.Millisecond, now)
	}
	if got := l.Hedge(of); got < 10*time.Millisecond || got > 13*time.Millisecond {
		t.Fatalf("hedge delay %s, p99 is 10 ms", got)
	}
	if l.Replica(near, now) >= l.Replica(far, now) {
		t.Fatal("the near replica is not nearer")
	}
	if got := l.Replica(far, now.Add(averageStale+time.Second)); got != 0 {
		t.Fatalf("an old average of %s still counts", got)
	}
	for range 100 * histogramEnough {
		l.Observe(near, of, time.Microsecond, now)
	}
	if got := l.Hedge(of); got != least {
		t.Fatalf("hedge delay %s, least is %s", got, least)
	}
}

// TestHedgeDelayIsStable: a replica that always hangs, or reads that are hedged now
// and then, neither drive the delay up nor wear it down; real slowness moves it.
func TestHedgeDelayIsStable(t *testing.T) {
	l := New(50*time.Millisecond, 2*time.Millisecond)
	rng := rand.New(rand.NewPCG(3, 4))
	of, id, now := Kind{Table: 1}, ring.NodeID{1}, time.Now()
	round := func(scale time.Duration, hangs bool) {
		delay := l.Hedge(of)
		took := time.Duration(rng.ExpFloat64() * float64(scale))
		spare := time.Duration(rng.ExpFloat64() * float64(scale))
		switch {
		case !hangs && took <= delay+spare:
			l.Observe(id, of, took, now)
			if took > delay {
				l.Lost(id, of, took-delay, delay, now)
			}
		default:
			l.Observe(id, of, spare, now)
			l.Lost(id, of, delay+spare, delay, now)
		}
	}
	phases := []struct {
		scale       time.Duration
		hangs       bool
		least, most time.Duration // of the delay, afterwards
	}{
		{5 * time.Millisecond, false, 15 * time.Millisecond, 35 * time.Millisecond},
		{5 * time.Millisecond, true, 15 * time.Millisecond, 45 * time.Millisecond},
		{20 * time.Millisecond, false, 50 * time.Millisecond, 130 * time.Millisecond},
	}
	for i, phase := range phases {
		for range 100_000 {
			round(phase.scale, phase.hangs)
		}
		if got := l.Hedge(of); got < phase.least || got > phase.most {
			t.Errorf("phase %d: delay %s, want %s to %s", i, got, phase.least, phase.most)
		}
	}
}
