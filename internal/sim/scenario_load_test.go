package sim

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/internal/sim/network"
	"github.com/dunlindb/dunlin/node"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
)

// load is writers, each through a node, that go on until they are stopped, and what
// they were acknowledged.
type load struct {
	o       *outage
	level   string
	writers []*client
	stop    context.CancelFunc
	working sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	present map[string]bool
	failed  int
}

// load starts writers at a level, through machines: they put a key of their own
// at every beat, and delete every fifth of them afterwards.
func (o *outage) load(level string, beat time.Duration, machines ...int) *load {
	ctx, cancel := context.WithCancel(o.t.Context())
	l := &load{o: o, level: level, stop: cancel, present: map[string]bool{}}
	for i, at := range machines {
		x := newClient(o.c.client(len(o.c.others)), o.client.nodes)
		l.writers = append(l.writers, x)
		l.working.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				l.put(x, at, fmt.Sprintf("load-%s-%d-%d", level, i, n), n%5 == 4)
				select {
				case <-ctx.Done():
				case <-time.After(beat):
				}
			}
		})
	}
	o.t.Cleanup(l.end)
	return l
}

// put writes a key, and deletes it again if it is to be deleted. A write that is not
// acknowledged may have happened or not: its key is not looked at.
func (l *load) put(x *client, at int, key string, deleted bool) {
	op := Op{Kind: Put, Node: at, Key: key, Value: key, Level: l.level, Stamped: true}
	x.write(context.Background(), &op)
	if op.Result == OK && deleted {
		op = Op{Kind: Delete, Node: at, Key: key, Level: l.level, Stamped: true}
		x.write(context.Background(), &op)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if op.Result != OK {
		l.failed++
		return
	}
	l.present[key] = !deleted
}

// acknowledged is how many keys have a known outcome so far.
func (l *load) acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.present)
}

// end stops the writers.
func (l *load) end() {
	l.stop()
	l.working.Wait()
	for _, x := range l.writers {
		x.close()
	}
	l.writers = nil
}

// check reads everything that was acknowledged so far, through some nodes.
func (l *load) check(level string, machines ...int) {
	l.o.t.Helper()
	l.mu.Lock()
	want := make(map[string]bool, len(l.present))
	for key, present := range l.present {
		want[key] = present
	}
	l.mu.Unlock()
	wrong := 0
	for _, at := range machines {
		for key, present := range want {
			op := l.o.must(Op{Kind: Get, Node: at, Key: key, Level: level})
			if op.Present != present || present && op.Value != key {
				if wrong++; wrong <= 5 {
					l.o.t.Errorf("acknowledged at %s, read at %s by node %d: want it present: %v: %v", l.level, level, at, present, op)
				}
			}
		}
	}
	if wrong > 5 {
		l.o.t.Errorf("and %d more", wrong-5)
	}
}

// slow gives the links from one machine to others a delay of half to all of so much; 0:
// none.
func (o *outage) slow(from int, most time.Duration, to ...int) {
	if most == 0 {
		o.links(from, nil, to...)
		return
	}
	o.links(from, &network.Profile{MinDelay: most / 2, MaxDelay: most}, to...)
}

// links sets what the links from one machine to others are like; nil: as all are.
func (o *outage) links(from int, p *network.Profile, to ...int) {
	for _, i := range to {
		o.c.net.SetProfile(o.c.machines[from].address, o.c.machines[i].address, p)
	}
}

// TestWritesInFlight while a range is handed over: some are sent before the node that
// joins is written to, and some after; they reach the source when that was copied from
// and compared with. What is acknowledged at all replicas is on the node that joins as
// soon as reads ask it.
func TestWritesInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The only node of its zone coordinates: it has everything, and hands nothing over.
		const from, source, joiner, late = 2, 1, 4, 100
		o := newGrowingOf(t, 5, joiner, mechanisms{antiEntropy: true, seed: 3, change: func(c *node.Config) {
			c.Timeouts.Write, c.AntiEntropy.PurgeLag = time.Minute, 3*time.Minute
		}})
		defer o.end()
		o.c.withoutReadRepair()
		o.write()
		driver := o.first(0, 1, 2, 3)
		if driver == from {
			t.Fatal("the node that drives must not wait for slow links: take another seed")
		}
		o.slow(from, 9*time.Second, source)
		o.c.Enter(joiner)
		var writing sync.WaitGroup
		var acknowledged, lost atomic.Int64
		write := func(key string) {
			if status, err := o.slowPut(from, key); err != nil || status != http.StatusOK {
				return
			}
			acknowledged.Add(1)
			if c := o.node(joiner).View().Ring.Change(); c != nil && c.Phase == ring.Streaming {
				o.phase(joiner, ring.Flipped, time.Minute)
			}
			op := Op{Kind: Get, Node: joiner, Key: key, Level: "one"}
			x := &client{nodes: o.client.nodes, http: o.client.http}
			if x.read(t.Context(), &op); op.Result != OK || !op.Present {
				lost.Add(1)
			}
		}
		for _, when := range []ring.Phase{ring.Announced, ring.Streaming} {
			o.phase(from, when, time.Minute)
			for i := range late {
				writing.Go(func() { write(fmt.Sprint(when, i)) })
			}
		}
		o.settled(driver, 2*time.Minute)
		writing.Wait()
		o.slow(from, 0, source)
		t.Logf("%d of %d were acknowledged", acknowledged.Load(), 2*late)
		if lost.Load() > 0 {
			t.Errorf("%d writes were acknowledged at all, and are not read at one", lost.Load())
		}
		if acknowledged.Load() < late*3/4 { // those of before may arrive two versions late
			t.Error("too little was acknowledged")
		}
		o.clean()
	})
}

// TestFactorGrowsWhileWriting: from one replica to three, one at a time, while two
// clients write at quorum.
func TestFactorGrowsWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowing(t, 4, 4)
		defer o.end()
		replicate := func(factor int) {
			t.Helper()
			if err := o.command(func(ctx context.Context) error {
				return o.node(0).Replicate(ctx, schema.BuiltinKeyspace, map[string]int{"dc1": factor})
			}); err != nil {
				t.Fatal(err)
			}
			o.settled(0, 5*time.Minute)
		}
		o.write()
		replicate(2)
		replicate(1)
		l := o.load("quorum", 100*time.Millisecond, 0, 3)
		time.Sleep(2 * time.Second)
		err := o.command(func(ctx context.Context) error {
			return o.node(0).Replicate(ctx, schema.BuiltinKeyspace, map[string]int{"dc1": 3})
		})
		if err == nil {
			t.Error("two more replicas at once are accepted")
		}
		for _, factor := range []int{2, 3} {
			before := l.acknowledged()
			replicate(factor)
			if got := o.node(0).View().Ring.Factor(0); got != factor {
				t.Fatalf("%d replicas, not %d", got, factor)
			}
			if l.acknowledged() == before {
				t.Errorf("nothing was written while %d replicas were made", factor)
			}
			l.check("quorum", 1)
		}
		l.end()
		if l.failed > 0 {
			t.Errorf("%d writes failed, though every node was up", l.failed)
		}
		l.check("quorum", 0, 1, 2, 3)
		l.check("all", 2)
		o.whole()
	})
}
