package sim

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/node"
)

// TestUnsyncedAcknowledgementsAreFound runs the real nodes with a promise that
// is too weak on purpose, durability periodic: the checkers must see the loss.
func TestUnsyncedAcknowledgementsAreFound(t *testing.T) {
	launch := func(e Env) (Node, error) {
		cfg := nodeConfig(e)
		cfg.Storage.Durability, cfg.Storage.SyncInterval = "periodic", 10*time.Second
		return node.Open(cfg, nodeEnv(e))
	}
	var r Report
	synctest.Test(t, func(*testing.T) {
		o := DefaultOptions(1, launch)
		o.Length = 2 * time.Minute
		o.Plan = []Fault{
			{Kind: CrashAll, At: 45 * time.Second, Hold: 5 * time.Second, Nodes: []int{0, 1, 2, 3, 4}},
			{Kind: CrashAll, At: 95 * time.Second, Hold: 5 * time.Second, Nodes: []int{0, 1, 2, 3, 4}},
		}
		r = Run(o)
	})
	if !slices.ContainsFunc(r.Violations, func(v Violation) bool { return v.Promise == NothingLost }) {
		t.Errorf("no loss was found: %v; problems: %v; %v", r.Violations, r.Problems, r)
	}
}

// TestUnrepairedReadsGoBack runs the real nodes with everything off that repairs
// replicas: the checkers must see that reads go back, and that replicas differ.
func TestUnrepairedReadsGoBack(t *testing.T) {
	launch := func(e Env) (Node, error) {
		cfg := nodeConfig(e)
		cfg.Hints.Enabled, cfg.AntiEntropy.Enabled = false, false
		return node.Open(cfg, nodeEnv(e))
	}
	missing := map[string]bool{Monotonic: true, ReplicasEqual: true}
	for seed := uint64(1); seed <= 6 && len(missing) > 0; seed++ {
		synctest.Test(t, func(*testing.T) {
			o := DefaultOptions(seed, launch)
			o.Length, o.Think = 10*time.Minute, 200*time.Millisecond
			o.Prepare = (*Cluster).withoutReadRepair
			for _, v := range Run(o).Violations {
				delete(missing, v.Promise)
			}
		})
	}
	for promise := range missing {
		t.Errorf("no run breaks it: %s", promise)
	}
}
