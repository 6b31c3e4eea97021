package sim

import (
	"slices"
	"testing"
	"time"
)

func TestPlanIsAFunctionOfTheSeed(t *testing.T) {
	o := PlanOptions{Nodes: 5, Length: time.Hour, MaxSkew: 5 * time.Second}
	if first, second := FormatPlan(Plan(1, o)), FormatPlan(Plan(1, o)); first != second {
		t.Error("one seed gave two schedules")
	}
	if FormatPlan(Plan(1, o)) == FormatPlan(Plan(2, o)) {
		t.Error("two seeds gave one schedule")
	}
}

func TestPlansAreWholeAndVaried(t *testing.T) {
	o := PlanOptions{Nodes: 5, Length: time.Hour, MaxSkew: 5 * time.Second}
	var count [kinds]int
	for seed := range uint64(20) {
		faults := Plan(seed, o)
		if len(faults) < 100 {
			t.Errorf("seed %d: only %d faults in an hour", seed, len(faults))
		}
		var last time.Duration
		for _, f := range faults {
			count[f.Kind]++
			if f.At < last || f.At+f.Hold > o.Length {
				t.Errorf("seed %d: out of order or too long: %v", seed, f)
			}
			last = f.At
			if len(f.Nodes) == 0 {
				t.Errorf("seed %d: nobody suffers %v", seed, f)
			}
			for _, n := range f.Nodes {
				if slices.Contains(f.Peers, n) {
					t.Errorf("seed %d: a node on both sides: %v", seed, f)
				}
			}
		}
	}
	for k, n := range count {
		if n < 20 {
			t.Errorf("%v came %d times in 20 schedules", Kind(k), n)
		}
	}
}

func TestPlanForOneNode(t *testing.T) {
	for seed := range uint64(50) {
		for _, f := range Plan(seed, PlanOptions{Nodes: 1, Length: 10 * time.Minute, MaxSkew: time.Second}) {
			_ = f.String()
		}
	}
}
