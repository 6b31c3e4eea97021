package sim

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seedsFlag   = flag.Int("seeds", 0, "run seeds 1 to this; by default two short ones")
	seedFlag    = flag.Int64("seed", -1, "run this seed alone, and print its schedule")
	virtualFlag = flag.Duration("virtual", 0, "virtual time of faults for each seed; by default an hour when seeds are asked for, else some minutes")
	nodesFlag   = flag.Int("nodes", 5, "nodes of the simulated cluster")
	logFlag     = flag.String("simlog", "", "file for the nodes' logs")
)

// TestSeeds runs whole clusters, one for each seed.
func TestSeeds(t *testing.T) {
	if *seedFlag >= 0 {
		runSeed(t, uint64(*seedFlag), true)
		return
	}
	seeds := *seedsFlag
	if seeds == 0 {
		seeds = 2
	}
	for seed := 1; seed <= seeds; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { runSeed(t, uint64(seed), false) })
	}
}

// TestLayoutSeeds is TestSeeds with an operator who changes the layout all the time.
// In every second run machines burn.
func TestLayoutSeeds(t *testing.T) {
	change := func(o *Options) { o.Spare, o.Losses = 2, o.Seed%2 == 0 }
	if *seedFlag >= 0 {
		runSeedOf(t, uint64(*seedFlag), true, change)
		return
	}
	seeds := *seedsFlag
	if seeds == 0 {
		seeds = 2
	}
	for seed := 1; seed <= seeds; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { runSeedOf(t, uint64(seed), false, change) })
	}
}

func runSeed(t *testing.T, seed uint64, verbose bool) { runSeedOf(t, seed, verbose, func(*Options) {}) }

// TestMain saves CPU in simulations.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // memory is small, collecting it is not
	runtime.GOMAXPROCS(1)   // one thing happens at a time; handing over between cores costs as much again
	os.Exit(m.Run())
}

func runSeedOf(t *testing.T, seed uint64, verbose bool, change func(*Options)) {
	o := DefaultOptions(seed, LaunchNode)
	o.Length, o.Nodes = *virtualFlag, *nodesFlag
	change(&o)
	switch {
	case o.Length > 0:
	case *seedsFlag > 0 || *seedFlag >= 0:
		o.Length = time.Hour
	case o.Spare > 0:
		o.Length = 5 * time.Minute // changes take their time on the CPU
	default:
		o.Length = 10 * time.Minute
	}
	if *logFlag != "" {
		f, err := os.OpenFile(*logFlag, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		o.Log = f
	}
	if verbose {
		t.Logf("schedule of seed %d:\n%s", seed, FormatPlan(Plan(seed, o.plan())))
	}
	stop := watch(&o)
	defer stop()
	before := cpuTime()
	var r Report
	synctest.Test(t, func(*testing.T) { r = Run(o) })
	t.Logf("seed %d, %s of faults, %d nodes: %.1f s of CPU; %v", seed, o.Length, o.Nodes, (cpuTime() - before).Seconds(), r)
	if o.Spare > 0 {
		t.Logf("%d commands, %d changes, %d machines burnt", len(r.Commands), r.Changes, r.Burnt)
	}
	for i, p := range r.Problems {
		if i < 20 {
			t.Errorf("problem: %s", p)
		}
	}
	for i, v := range r.Violations {
		if i < 20 {
			t.Errorf("violation: %s", v)
		}
	}
	least := int(o.Length / time.Second)
	if o.Spare > 0 {
		least /= 2 // there are more nodes to fail, on both sides of a write
	}
	if acked := r.Acknowledged(); acked < least {
		t.Errorf("only %d writes were acknowledged: the cluster hardly served", acked)
	}
	if t.Failed() {
		t.Logf("schedule:\n%s\ncommands:\n%s", FormatPlan(r.Plan), strings.Join(r.Commands, "\n"))
		t.Logf("%d problems, %d violations; run the schedule again: go test ./internal/sim -run %s -seed %d -virtual %s -nodes %d",
			len(r.Problems), len(r.Violations), strings.SplitN(t.Name(), "/", 2)[0], seed, o.Length, o.Nodes)
	}
}

// watch ends the process with all goroutines' stacks when virtual time stands
// still: a goroutine waits with a mutex held, or for something outside.
func watch(o *Options) (stop func()) {
	const patience = 90 * time.Second
	beat := new(atomic.Int64)
	o.Beat = beat
	done := make(chan struct{})
	go func() {
		ticker := time.NewTicker(patience)
		defer ticker.Stop()
		for last := int64(-1); ; {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			now := beat.Load()
			if now == last {
				dumpStacks(os.Stderr)
				panic(fmt.Sprintf("virtual time stands still at %s", time.Duration(now)))
			}
			last = now
		}
	}()
	return func() { close(done) }
}

func dumpStacks(w io.Writer) {
	_ = pprof.Lookup("goroutine").WriteTo(w, 2)
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
