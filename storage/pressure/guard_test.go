package pressure

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestWritesAreShedBeforePebbleStops: from the upper bound to the lower one, measured
// by commits, and by refused writes when there are no commits.
func TestWritesAreShedBeforePebbleStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sublevels, measured, told := 0, 0, 0
		g := Guard{
			Measure: func() int { measured++; return sublevels },
			Tell:    func(bool, int) { told++ },
		}
		for _, step := range []struct {
			sublevels int
			want      bool
		}{{0, false}, {shedFrom - 1, false}, {shedFrom, true}, {shedUntil + 1, true}, {shedUntil, false}, {shedFrom - 1, false}, {39, true}} {
			sublevels = step.sublevels
			if time.Sleep(pressureEvery); !g.high.Load() {
				g.Look(time.Now()) // a commit
			}
			if got := g.Shedding(); got != step.want {
				t.Errorf("%d sublevels: %v", step.sublevels, got)
			}
		}
		if told != 3 {
			t.Errorf("told %d times", told)
		}
		before := measured
		for range 1000 {
			g.Shedding()
		}
		if measured > before+1 {
			t.Errorf("measured %d times in no time", measured-before)
		}
	})
}
