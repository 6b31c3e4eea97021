package sim

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/internal/sim/network"
	"github.com/dunlindb/dunlin/node"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
)

// load is writers, each through one node, that go on until they are stopped, and what
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

// load starts writers at a level, one for each machine: they put a key of their own
// at every beat, and delete every fifth of them afterwards.
func (o *outage) load(level string, beat time.Duration, machines ...int) *load {
	ctx, cancel := context.WithCancel(o.t.Context())
	l := &load{o: o, level: level, stop: cancel, present: map[string]bool{}}
	for _, at := range machines {
		x := newClient(o.c.client(len(o.c.others)), o.client.nodes)
		l.writers = append(l.writers, x)
		l.working.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				l.put(x, at, fmt.Sprintf("load-%s-%d-%d", level, at, n), n%5 == 4)
				select {
				case <-ctx.Done():
				case <-time.After(beat):
				}
			}
		})
	}
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

// slow gives the links from one machine to others a delay of up to so much; 0: none.
func (o *outage) slow(from int, most time.Duration, to ...int) {
	for _, i := range to {
		p := &network.Profile{MinDelay: most / 10, MaxDelay: most}
		if most == 0 {
			p = nil
		}
		o.c.net.SetProfile(o.c.machines[from].address, o.c.machines[i].address, p)
	}
}

// TestWritesInFlight while replicas hand ranges over: the writes reach the sources late,
// so after what a joiner pulls was read there, and what is compared was summed up. As
// soon as reads ask the joiner it has all that was acknowledged at all, and quorums have
// the rest: without hints and read repair nothing else brings it there that soon.
func TestWritesInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutageOf(t, 5, mechanisms{antiEntropy: true, change: func(c *node.Config) { c.Timeouts.Write = 20 * time.Second }})
		defer o.end()
		const joiner = 4
		o.c.Absent(joiner)
		o.begin()
		o.c.withoutReadRepair()
		o.client.nodes = o.c.addresses()
		driver := o.first(0, 1, 2, 3)
		from := (driver + 1) % 4
		var others []int
		for i := range 4 {
			if i != from && i != driver {
				others = append(others, i)
			}
		}
		all, quorum := o.load("all", 40*time.Millisecond, from), o.load("quorum", 40*time.Millisecond, from)
		time.Sleep(5 * time.Second)
		o.slow(from, 1500*time.Millisecond, others...)
		o.c.Enter(joiner)
		o.phase(driver, ring.Flipped, 2*time.Minute)
		o.phase(joiner, ring.Flipped, 5*time.Second)
		flying := all.acknowledged()
		all.check("one", joiner)
		quorum.check("quorum", joiner, driver)
		o.settled(driver, time.Minute)
		time.Sleep(3 * time.Second)
		all.end()
		quorum.end()
		o.slow(from, 0, others...)
		all.check("one", joiner)
		quorum.check("quorum", joiner, driver, from)
		if n := all.acknowledged(); flying < 50 || n == flying || quorum.failed > 0 {
			t.Errorf("%d writes were acknowledged before reads asked the joiner, %d in all; %d failed", flying, n, quorum.failed)
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
