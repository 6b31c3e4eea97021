package sim

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/node"
	"github.com/dunlindb/dunlin/schema"
)

// mechanisms are what makes replicas equal. Each is proven with the others off:
// together they hide each other's absence.
type mechanisms struct {
	hints, antiEntropy, readRepair bool
	change                         func(*node.Config) // nil: nothing else
	seed                           uint64             // 0: 1
}

// outage is a cluster of three in which one node misses writes.
type outage struct {
	t          *testing.T
	c          *Cluster
	client     *client
	registries []*prometheus.Registry // by machine, of the last boot
	serial     int
}

const (
	outageKeys    = 40
	outageStreams = 10
)

// newOutage starts nodes with these mechanisms alone; three replicas of everything.
func newOutage(t *testing.T, nodes int, m mechanisms) *outage {
	o := newOutageOf(t, nodes, m)
	o.begin()
	if !m.readRepair {
		o.c.withoutReadRepair()
	}
	return o
}

// newOutageOf makes machines without starting nodes.
func newOutageOf(t *testing.T, nodes int, m mechanisms) *outage {
	o := &outage{t: t, registries: make([]*prometheus.Registry, nodes)}
	launch := func(e Env) (Node, error) {
		cfg := nodeConfig(e)
		cfg.Hints.Enabled, cfg.AntiEntropy.Enabled = m.hints, m.antiEntropy
		if m.change != nil {
			m.change(&cfg)
		}
		o.registries[e.Index] = e.Registry
		return node.Open(cfg, nodeEnv(e))
	}
	o.c = NewCluster(max(m.seed, 1), nodes, 5*time.Second, launch, nil)
	o.client = newClient(o.c.client(0), o.c.addresses())
	return o
}

// begin starts the nodes.
func (o *outage) begin() {
	o.t.Helper()
	o.c.each(o.c.Start)
	if !o.c.awaitReady(o.client) {
		o.t.Fatal(o.c.Problems())
	}
}

// withoutReadRepair switches read repair off on all tables.
func (c *Cluster) withoutReadRepair() {
	off := schema.RepairOff
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, table := range []string{"dunlin.kv", "dunlin.events"} {
		if err := c.machines[0].boot.node.(*node.Node).SetTable(ctx, table, schema.Settings{ReadRepair: &off}); err != nil {
			c.problem("switch read repair off: %v", err)
		}
	}
}

func (o *outage) end() {
	o.client.close()
	o.c.Close()
	if p := o.c.Problems(); len(p) > 0 {
		o.t.Errorf("problems: %v", p)
	}
}

// write writes every key and stream once, at quorum through the first node: new
// values, and deletes of every seventh key.
func (o *outage) write() {
	o.t.Helper()
	o.serial++
	do := func(op Op) {
		op.Level = "quorum"
		if o.client.write(o.t.Context(), &op); op.Result != OK {
			o.t.Fatalf("%v: %s", op, op.Detail)
		}
	}
	for i := range outageKeys {
		op := Op{Kind: Put, Key: registerKey(i), Value: fmt.Sprint("value ", o.serial), Stamped: true}
		if (i+o.serial)%7 == 0 {
			op = Op{Kind: Delete, Key: registerKey(i), Stamped: true}
		}
		do(op)
	}
	for i := range outageStreams {
		do(Op{Kind: Append, Key: streamName(i, 0), Value: fmt.Sprint("event ", o.serial), Stamped: true})
	}
}

// miss crashes the last node, losing what it had not synced, writes, and starts it
// again; what happens in between is up to the caller.
func (o *outage) miss(between ...func()) {
	o.t.Helper()
	o.write()
	o.c.Kill(2, true, 0)
	time.Sleep(5 * time.Second) // until it is known to be dead
	for range 3 {
		o.write()
	}
	for _, f := range between {
		f()
	}
	o.c.Start(2)
	if !o.c.awaitReady(o.client) {
		o.t.Fatal(o.c.Problems())
	}
	o.awaitAlive()
}

// awaitAlive waits until the first node knows that all are alive.
func (o *outage) awaitAlive() {
	o.t.Helper()
	for began := time.Now(); ; time.Sleep(time.Second) {
		op := Op{Kind: Get, Key: "none", Level: "all"}
		if o.client.read(o.t.Context(), &op); op.Result == OK {
			return
		}
		if time.Since(began) > time.Minute {
			o.t.Fatalf("%v: %s", op, op.Detail)
		}
	}
}

// readAll reads everything at all replicas.
func (o *outage) readAll() {
	o.t.Helper()
	for i := range outageKeys {
		op := Op{Kind: Get, Key: registerKey(i), Level: "all"}
		if o.client.read(o.t.Context(), &op); op.Result != OK {
			o.t.Fatalf("%v: %s", op, op.Detail)
		}
	}
	for i := range outageStreams {
		op := Op{Kind: List, Key: streamName(i, 0), Level: "all"}
		if o.client.read(o.t.Context(), &op); op.Result != OK {
			o.t.Fatalf("%v: %s", op, op.Detail)
		}
	}
}

// metric sums a metric of a node's present boot over its labels.
func (o *outage) metric(machine int, name string) (sum float64) {
	families, err := o.registries[machine].Gather()
	if err != nil {
		o.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// equal waits until the replicas are equal, and returns whether they are.
func (o *outage) equal(patience time.Duration) bool {
	took, differing := o.c.awaitEqual(patience)
	o.t.Logf("after %s %d places differ", took, len(differing))
	return len(differing) == 0
}

// TestNothingHeals: with every mechanism off the replica stays behind, and the
// checker sees it.
func TestNothingHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t, 3, mechanisms{})
		defer o.end()
		o.miss()
		o.readAll()
		if o.equal(5 * time.Minute) {
			t.Error("replicas are equal though nothing made them so")
		}
	})
}

// TestAntiEntropyAlone: a replica that was away gets what it missed, and only
// that, without a read or a hint.
func TestAntiEntropyAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t, 3, mechanisms{antiEntropy: true})
		defer o.end()
		o.miss()
		if !o.equal(time.Minute) {
			t.Error("anti-entropy alone does not make replicas equal")
		}
		rows := o.metric(2, "dunlin_antientropy_pulled_rows_total")
		if most := float64(outageKeys + 3*outageStreams); rows < most/2 || rows > 2*most {
			t.Errorf("%v rows were pulled, %v were missed", rows, most)
		}
		for i := range 2 {
			// Which of two versions is newer shows only when they meet: of rows that
			// were overwritten the older ones travel too.
			if n := o.metric(i, "dunlin_antientropy_pulled_rows_total"); n > outageKeys {
				t.Errorf("node %d missed nothing and pulled %v rows", i, n)
			}
		}
	})
}

// TestReadRepairAlone: reading at all makes exactly what was read equal.
func TestReadRepairAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t, 3, mechanisms{readRepair: true})
		defer o.end()
		o.miss()
		if o.equal(time.Minute) {
			t.Fatal("replicas are equal before anything was read")
		}
		o.readAll()
		if !o.equal(time.Second) {
			t.Error("read repair alone does not make replicas equal")
		}
		if n := o.metric(0, "dunlin_coordinator_read_repair_rows_total"); n < outageKeys {
			t.Errorf("%v rows were repaired", n)
		}
	})
}

// TestHintsAlone: a replica that was away gets every write that it missed, once,
// from the nodes that coordinated them; also when these restart in between.
func TestHintsAlone(t *testing.T) {
	for _, restart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			o := newOutage(t, 3, mechanisms{hints: true})
			defer o.end()
			o.miss(func() {
				if restart { // gracefully: hints that help convergence are not synced one by one
					o.c.Stop(0)
					o.c.Start(0)
				}
			})
			if !o.equal(time.Minute) {
				t.Errorf("restart %v: hints alone do not make replicas equal", restart)
			}
			if n, missed := o.metric(0, "dunlin_hinted_replayed_rows_total"), float64(3*(outageKeys+outageStreams)); n != missed {
				t.Errorf("restart %v: %v rows were replayed, %v were missed", restart, n, missed)
			}
			if n := o.metric(0, "dunlin_hinted_stored_bytes"); n != 0 {
				t.Errorf("restart %v: %v bytes of hints are left", restart, n)
			}
		})
	}
}

// TestCountedHintsSurviveACrash: three of five nodes are down; any and sloppy
// writes are acknowledged on hints where too few replicas are left. Then the other
// two lose what they had not synced. Nothing that was acknowledged is lost, and
// the hints reach the replicas.
func TestCountedHintsSurviveACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t, 5, mechanisms{hints: true})
		defer o.end()
		o.write()
		for i := 2; i < 5; i++ {
			o.c.Kill(i, false, 0) // connections break: they are known to be dead
		}
		time.Sleep(5 * time.Second)
		const keys = 30
		held := func(i int) Op {
			op := Op{Kind: Put, Key: fmt.Sprint("held", i), Value: fmt.Sprint("value ", i), Level: "any", Stamped: true}
			if i%2 == 0 {
				op.Level, op.Sloppy = "two", true
			}
			return op
		}
		for i := range keys {
			op := held(i)
			if o.client.write(t.Context(), &op); op.Result != OK {
				t.Fatalf("%v: %s", op, op.Detail)
			}
		}
		if n := o.metric(0, "dunlin_hinted_kept_rows_total") + o.metric(1, "dunlin_hinted_kept_rows_total"); n < keys {
			t.Errorf("%v rows are kept for others", n)
		}
		o.c.Kill(0, true, 0)
		o.c.Kill(1, true, 0)
		time.Sleep(time.Second)
		o.c.each(o.c.Start)
		if !o.c.awaitReady(o.client) {
			t.Fatal(o.c.Problems())
		}
		o.awaitAlive()
		time.Sleep(time.Minute)
		for i := range keys {
			op := Op{Kind: Get, Key: held(i).Key, Level: "all"}
			if o.client.read(t.Context(), &op); op.Result != OK || op.Value != held(i).Value {
				t.Errorf("%v: %s", op, op.Detail)
			}
		}
		for i := range 5 {
			if n := o.metric(i, "dunlin_hinted_stored_hints"); n != 0 {
				t.Errorf("node %d still keeps %v hints", i, n)
			}
		}
	})
}

// TestPurgeWaitsForAll: while a node is away deletions stay, and what it missed is
// deleted when it is back; then they go, everywhere, and nothing comes back.
func TestPurgeWaitsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t, 3, mechanisms{hints: true, antiEntropy: true, readRepair: true})
		defer o.end()
		purged := func() (keys float64) {
			for i := range o.registries {
				keys += o.metric(i, "dunlin_replica_purged_keys_total")
			}
			return keys
		}
		gone := func() {
			t.Helper()
			for i := range outageKeys {
				op := Op{Kind: Get, Key: registerKey(i), Level: "quorum"}
				if o.client.read(t.Context(), &op); op.Result != OK || op.Present {
					t.Errorf("%v: %s", op, op.Detail)
				}
			}
		}
		o.write()
		o.c.Kill(2, true, 0)
		time.Sleep(5 * time.Second)
		for i := range outageKeys {
			op := Op{Kind: Delete, Key: registerKey(i), Level: "quorum", Stamped: true}
			if o.client.write(t.Context(), &op); op.Result != OK {
				t.Fatalf("%v: %s", op, op.Detail)
			}
		}
		time.Sleep(4 * time.Hour) // longer than hints are kept
		before := o.metric(0, "dunlin_purge_blocked_seconds")
		if before < 3*3600 {
			t.Errorf("purging is blocked for %v seconds", before)
		}
		gone()
		hidden := purged()
		o.c.Start(2)
		if !o.c.awaitReady(o.client) {
			t.Fatal(o.c.Problems())
		}
		o.awaitAlive()
		gone()
		time.Sleep(20 * time.Minute)
		gone()
		if n := purged() - hidden; n < outageKeys*2 || o.metric(0, "dunlin_purge_waiting_seconds") != 0 || o.metric(0, "dunlin_purge_blocked_seconds") != 0 {
			t.Errorf("%v keys were purged, %v before; still waiting", n, hidden)
		}
		if !o.equal(time.Second) {
			t.Error("replicas differ")
		}
	})
}
