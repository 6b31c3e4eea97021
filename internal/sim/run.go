package sim

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dunlindb/dunlin/internal/sim/network"
)

// Options are what a run is made of.
type Options struct {
	Seed    uint64
	Nodes   int
	Clients int
	Length  time.Duration // of the fault phase
	Think   time.Duration // mean pause of a client between operations
	MaxSkew time.Duration
	Launch  Launch
	Log     io.Writer // the nodes' logs; nil discards them
	Plan    []Fault   // nil draws one from the seed
	// Prepare, if set, is called when every node serves, before the faults.
	Prepare func(*Cluster)
	// Plain leaves out what not every implementation has: times to live, deletions of
	// streams, sloppy writes.
	Plain bool
	// Spare are machines beyond Nodes that have no node at first. With some, an operator
	// changes the layout all the time; with Losses, machines burn as well, and clients
	// write at levels that survive that.
	Spare  int
	Losses bool
	// Beat, if set, is the virtual time so far, for a watchdog outside the bubble.
	Beat *atomic.Int64
}

func (o Options) plan() PlanOptions {
	return PlanOptions{Nodes: o.Nodes + o.Spare, Length: o.Length, MaxSkew: o.MaxSkew}
}

// DefaultOptions are five nodes, four clients, and one virtual hour.
func DefaultOptions(seed uint64, launch Launch) Options {
	return Options{
		Seed: seed, Nodes: 5, Clients: 4, Length: time.Hour, Think: 1600 * time.Millisecond,
		MaxSkew: 5 * time.Second, Launch: launch,
	}
}

// Report is what came of a run.
type Report struct {
	Plan       []Fault
	Ops        [6][3]int // by OpKind and Result
	Boots      int
	Fatals     int
	Commands   []string      // what the operator did
	Changes    int           // of the layout, that were seen on their way
	Burnt      int           // machines
	Equal      time.Duration // from the last crash until all replicas held the same
	Network    network.Stats
	Problems   []string    // the cluster did not do its part
	Violations []Violation // a promise was broken
}

// Failed reports whether anything is wrong.
func (r Report) Failed() bool { return len(r.Problems) > 0 || len(r.Violations) > 0 }

// Acknowledged counts the acknowledged writes.
func (r Report) Acknowledged() int {
	return r.Ops[Put][OK] + r.Ops[Delete][OK] + r.Ops[Append][OK] + r.Ops[Clear][OK]
}

// String sums the run up in a few lines.
func (r Report) String() string {
	s := fmt.Sprintf("%d faults, %d boots, %d fatal disk errors, equal after %s; %d dials, %d resets, %d datagrams (%d lost, %d doubled), %d KiB of streams\n",
		len(r.Plan), r.Boots, r.Fatals, r.Equal, r.Network.Dials, r.Network.Resets, r.Network.Datagrams, r.Network.Lost, r.Network.Duplicate, r.Network.StreamBytes>>10)
	for k, n := range r.Ops {
		s += fmt.Sprintf("  %-6s %6d ok %6d refused %6d unknown\n", OpKind(k), n[OK], n[Refused], n[Unknown])
	}
	return s
}

// readyPatience is how long a whole cluster may take until every node serves.
const readyPatience = 2 * time.Minute

// equalPatience is how long replicas may take to become equal, after all faults.
const equalPatience = 10 * time.Minute

// settledPatience is how long a change that is on its way may take then.
const settledPatience = 15 * time.Minute

// drainPatience is how long hints may take to be replayed then.
const drainPatience = 5 * time.Minute

// Run simulates a cluster's life and judges it. It must be called in a synctest
// bubble; it returns when everything that it started has ended.
func Run(o Options) Report {
	r := Report{Plan: o.Plan}
	if r.Plan == nil {
		r.Plan = Plan(o.Seed, o.plan())
	}
	c := NewCluster(o.Seed, o.Nodes+o.Spare, o.MaxSkew, o.Launch, o.Log)
	w := newWorkload(c, o.Seed, o.Think)
	w.plain, w.losses = o.Plain, o.Losses
	for i := range o.Spare {
		c.Absent(o.Nodes + i)
	}
	operator := &mover{c: c, rand: rand.New(rand.NewPCG(o.Seed, 0x0b5e55ed)), losses: o.Losses}
	clients := make([]*client, o.Clients+1) // the last one is the run's own
	for i := range clients {
		clients[i] = newClient(c.client(i), c.addresses())
	}
	own := clients[o.Clients]
	beating := c.heartbeat(o.Beat)

	c.each(c.Start)
	if c.awaitReady(own) {
		if o.Prepare != nil {
			o.Prepare(c)
		}
		c.load(w, clients[:o.Clients], r.Plan, func(ctx context.Context) {
			if o.Spare > 0 {
				operator.run(ctx)
			}
		})
		c.heal()
		if c.awaitReady(own) {
			if left := c.awaitSettled(settledPatience); left != "" {
				r.Violations = append(r.Violations, Violation{LayoutSettles, "layout", left})
			}
			var differing []string
			if r.Equal, differing = c.awaitEqual(equalPatience); len(differing) > 0 {
				r.Violations = append(r.Violations, Violation{ReplicasEqual, fmt.Sprint(len(differing), " ranges"), differing[0]})
			}
			if left := c.awaitDrained(drainPatience); left != "" {
				r.Violations = append(r.Violations, Violation{HintsDrained, "hints", left})
			}
			w.finish(context.Background(), o.Clients, own)
		}
	}
	for _, x := range clients {
		x.close()
	}
	beating()
	c.Close()
	r.Network, r.Problems, r.Fatals = c.net.Stats(), c.Problems(), c.fatals
	r.Commands, r.Changes, r.Burnt = operator.log, operator.seen.Changes(), operator.burnt
	for _, fault := range operator.seen.Faults() {
		r.Violations = append(r.Violations, Violation{LayoutsAgree, "layout", fault})
	}
	for _, m := range c.machines {
		r.Boots += m.boots
	}
	ops := w.history.Ops()
	for _, op := range ops {
		r.Ops[op.Kind][op.Result]++
	}
	r.Violations = append(r.Violations, Check(ops)...)
	return r
}

// heartbeat writes virtual time to beat every second, until it is stopped.
func (c *Cluster) heartbeat(beat *atomic.Int64) (stop func()) {
	if beat == nil {
		return func() {}
	}
	done := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				beat.Store(int64(c.Elapsed()))
			}
		}
	})
	return func() {
		close(done)
		beating.Wait()
	}
}

// load lets clients work while the faults happen.
func (c *Cluster) load(w *workload, clients []*client, plan []Fault, operate func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	for i, x := range clients {
		working.Go(func() { w.run(ctx, i, x) })
	}
	working.Go(func() { operate(ctx) })
	c.Drive(plan)
	time.Sleep(10 * time.Second)
	cancel()
	working.Wait()
}

// heal crashes every node once more, losing all that was not synced, and starts
// them again: nothing that was acknowledged may depend on memory.
func (c *Cluster) heal() {
	c.each(func(i int) {
		if !c.isMember(i) {
			c.Stop(i) // whoever could not join so far need not any more
			c.Absent(i)
		}
		c.Kill(i, false, 0)
	})
	time.Sleep(time.Second)
	c.each(c.Start)
}

// isMember reports whether a machine's node is a member, or is down.
func (c *Cluster) isMember(i int) bool {
	m := c.machines[i]
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	if m.boot == nil {
		return true
	}
	h, ok := m.boot.node.(holder)
	return !ok || h.View() != nil
}

// awaitReady waits until every node serves.
func (c *Cluster) awaitReady(x *client) bool {
	deadline := time.Now().Add(readyPatience)
	for i, m := range c.machines {
		for !m.absent.Load() && !x.ready(context.Background(), i) {
			if time.Now().After(deadline) {
				c.problem("node %d is not ready after %s", i, readyPatience)
				return false
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	c.founded.Store(true)
	return true
}
