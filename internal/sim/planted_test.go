package sim

import (
	"flag"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/node"
)

var plantedFlag = flag.String("planted", "", "promises, one of which runs must be seen to break: scripts/planted.sh builds nodes with a bug")

var plantedLayoutFlag = flag.Bool("planted-layout", false, "change the layout all the time, to find a planted bug")

// launchWithoutHints opens nodes that keep no hints, which could hide a bug.
func launchWithoutHints(e Env) (Node, error) {
	cfg := nodeConfig(e)
	cfg.Hints.Enabled = false
	return node.Open(cfg, nodeEnv(e))
}

// TestPlanted runs nodes that were built with a bug, until a checker finds it.
func TestPlanted(t *testing.T) {
	if *plantedFlag == "" {
		t.Skip("the nodes have no planted bug: scripts/planted.sh")
	}
	promises := strings.Split(*plantedFlag, "|")
	var found []Violation
	for seed := uint64(1); seed <= 6; seed++ {
		synctest.Test(t, func(*testing.T) {
			o := DefaultOptions(seed, LaunchNode)
			o.Length, o.Think = 15*time.Minute, 300*time.Millisecond
			if *plantedLayoutFlag {
				o.Length, o.Spare, o.Launch, o.Prepare = 5*time.Minute, 2, launchWithoutHints, (*Cluster).withoutReadRepair
			}
			found = append(found, Run(o).Violations...)
		})
		at := slices.IndexFunc(found, func(v Violation) bool { return slices.Contains(promises, v.Promise) })
		if at >= 0 {
			t.Logf("seed %d: %s", seed, found[at])
			return
		}
	}
	t.Errorf("not found: %q; but %v", promises, found)
}
