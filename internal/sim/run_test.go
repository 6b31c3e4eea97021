package sim

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// runToy simulates the toy for some virtual minutes.
func runToy(t *testing.T, seed uint64, length time.Duration, bugs toyBugs) (r Report) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		o := DefaultOptions(seed, launchToy(bugs))
		o.Length = length
		o.Think, o.Plain = 300*time.Millisecond, true
		r = Run(o)
	})
	return r
}

func TestSoundToyPasses(t *testing.T) {
	for seed := uint64(1); seed <= 1; seed++ {
		r := runToy(t, seed, 10*time.Minute, toyBugs{})
		t.Logf("seed %d: %v", seed, r)
		for _, p := range r.Problems {
			t.Errorf("problem: %s", p)
		}
		for _, v := range r.Violations {
			if v.Promise != Monotonic { // the toy repairs nothing
				t.Errorf("violation: %s", v)
			}
		}
		if r.Acknowledged() < 2000 || r.Boots < 10 || r.Network.Resets == 0 {
			t.Errorf("not much happened: %v", r)
		}
	}
}

// TestPlantedBugsAreFound runs the toy with one bug at a time.
func TestPlantedBugsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		bugs toyBugs
		want string
	}{
		"no sync":                  {toyBugs{noSync: true}, NothingLost},
		"acknowledged at one":      {toyBugs{ackEarly: true}, NothingLost},
		"reads ask one":            {toyBugs{noQuorum: true}, NothingLost},
		"last to arrive wins":      {toyBugs{byArrival: true}, NothingLost},
		"sessions are ignored":     {toyBugs{noSession: true}, SessionOrder},
		"refused writes are there": {toyBugs{phantom: true}, NothingMadeUp},
	} {
		t.Run(name, func(t *testing.T) {
			r := runToy(t, 1, 5*time.Minute, c.bugs)
			if !slices.ContainsFunc(r.Violations, func(v Violation) bool { return v.Promise == c.want }) {
				t.Errorf("not found: %q; violations: %v; problems: %v\n%v", c.want, r.Violations, r.Problems, r)
			}
		})
	}
}
