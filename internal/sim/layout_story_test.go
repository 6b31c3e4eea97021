package sim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/internal/sim/network"
	"github.com/dunlindb/dunlin/node"
	"github.com/dunlindb/dunlin/ring"
)

// phase waits until a change is in a phase, as a node sees it.
func (o *outage) phase(at int, want ring.Phase, patience time.Duration) {
	o.t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if n := o.node(at); n != nil && n.View() != nil {
			if c := n.View().Ring.Change(); c != nil && c.Phase == want {
				return
			}
		}
		if time.Since(began) > patience {
			o.t.Fatalf("no change is %s after %s", want, patience)
		}
	}
}

// gone waits until a machine's node has ended.
func (o *outage) gone(i int) {
	o.t.Helper()
	for began := time.Now(); !o.c.machines[i].absent.Load(); time.Sleep(time.Second) {
		if time.Since(began) > time.Minute {
			o.t.Fatalf("node %d goes on", i)
		}
	}
}

// first is the machine whose node drives.
func (o *outage) first(machines ...int) (driver int) {
	driver = machines[0]
	for _, i := range machines {
		if a, b := o.node(i).Self(), o.node(driver).Self(); bytes.Compare(a[:], b[:]) < 0 {
			driver = i
		}
	}
	return driver
}

// must runs an operation that has to succeed.
func (o *outage) must(op Op) Op {
	o.t.Helper()
	do := o.client.write
	if op.Kind == Get || op.Kind == List {
		do = o.client.read
	}
	if do(o.t.Context(), &op); op.Result != OK {
		o.t.Fatalf("%v: %s", op, op.Detail)
	}
	return op
}

// TestRejoinAfterAbort: a node that was joining, and has data already, is turned away;
// everything is deleted, and purged on all members; then it joins with what it has.
// Nothing comes back.
func TestRejoinAfterAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newGrowing(t, 4, 3)
		defer o.end()
		for i := range outageKeys {
			o.must(Op{Kind: Put, Key: registerKey(i), Value: "old", Level: "all", Stamped: true})
		}
		o.c.Enter(3)
		o.phase(0, ring.Streaming, time.Minute)
		o.c.Kill(2, false, 0) // so that it cannot flip
		pulled := func() float64 {
			return o.metric(3, "dunlin_stream_filled_rows_total") + o.metric(3, "dunlin_antientropy_pulled_rows_total")
		}
		for began := time.Now(); pulled() < 10; time.Sleep(time.Second) {
			if time.Since(began) > time.Minute {
				t.Fatal("the joiner has pulled nothing")
			}
		}
		if a, err := o.node(0).Abort(t.Context()); err != nil || !a.Aborted || a.Kind != admin.KindJoin {
			t.Fatal(a, err)
		}
		if a, err := o.node(0).Abort(t.Context()); err != nil || a.Aborted {
			t.Fatal(a, err)
		}
		o.gone(3)
		o.c.Start(2)
		o.client.nodes = o.c.addresses()[:3]
		time.Sleep(10 * time.Second)
		for i := range outageKeys {
			o.must(Op{Kind: Delete, Key: registerKey(i), Level: "quorum", Stamped: true})
		}
		for began := time.Now(); o.metric(0, "dunlin_replica_purged_keys_total") < outageKeys; time.Sleep(time.Minute) {
			if time.Since(began) > time.Hour {
				t.Fatal("deletions are not purged")
			}
		}
		o.c.Enter(3)
		o.phase(0, ring.Announced, time.Minute)
		o.settled(0, 10*time.Minute)
		if n := o.members(0); n != 4 {
			t.Fatalf("%d members", n)
		}
		o.client.nodes = o.c.addresses()
		for at := range o.client.nodes {
			for i := range outageKeys {
				if op := o.must(Op{Kind: Get, Node: at, Key: registerKey(i), Level: "all"}); op.Present {
					t.Fatalf("a deleted value is back: %v", op)
				}
			}
		}
		o.clean()
	})
}

// slowPut writes through a node, at all replicas, for as long as that takes.
func (o *outage) slowPut(at int, key string) (status int, err error) {
	u := "http://" + netip.AddrPortFrom(o.c.machines[at].address, httpPort).String() + "/v1/kv/sim/" + key + "?w=all"
	req, err := http.NewRequestWithContext(o.t.Context(), http.MethodPut, u, strings.NewReader("late"))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "text/plain")
	resp, err := o.client.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// TestCoordinatorsBehind: writes that were sent before a change was announced, by two
// and more versions of the catalog ago, reach their replicas when the change has gone on.
// What is acknowledged nevertheless is on all replicas of now. The coordinator, and the
// node that drives, hold no replica of some of it, so that nothing else brings it.
func TestCoordinatorsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const driver, from, joiner = 0, 1, 5
		o := newGrowingOf(t, 6, joiner, mechanisms{antiEntropy: true, seed: 8, change: func(c *node.Config) {
			c.Timeouts.Write, c.AntiEntropy.PurgeLag = time.Minute, 3*time.Minute
		}})
		defer o.end()
		o.c.withoutReadRepair()
		o.write()
		if o.first(0, 1, 2, 3, 4) != driver {
			t.Fatal("the node that drives must not wait for slow links: take another seed")
		}
		o.links(from, &network.Profile{MinDelay: 9 * time.Second, MaxDelay: 9 * time.Second}, 2, 3, 4)
		const late = 100
		var writing sync.WaitGroup
		acknowledged := make([]bool, late)
		for i := range late {
			writing.Go(func() {
				status, err := o.slowPut(from, fmt.Sprint("late", i))
				acknowledged[i] = err == nil && status == http.StatusOK
			})
		}
		sent := time.Now()
		time.Sleep(500 * time.Millisecond)
		before := o.node(driver).View().Version
		o.c.Enter(joiner)
		o.phase(driver, ring.Announced, 5*time.Second)
		time.Sleep(8*time.Second - time.Since(sent))
		if after := o.node(driver).View().Version; after < before+2 {
			t.Fatalf("nothing is late: version %d, then %d", before, after)
		}
		o.settled(driver, time.Minute)
		took := time.Since(sent)
		writing.Wait()
		o.links(from, nil, 2, 3, 4)
		n := 0
		for i, ok := range acknowledged {
			if !ok {
				continue
			}
			n++
			if op := o.must(Op{Kind: Get, Node: joiner, Key: fmt.Sprint("late", i), Level: "one"}); !op.Present {
				t.Errorf("a write at all was acknowledged, and is not read at one: %v", op)
			}
		}
		if n == 0 {
			t.Error("nothing was acknowledged")
		}
		t.Logf("%d of %d late writes were acknowledged; the change took %s", n, late, took)
	})
}

// command runs an operator's command.
func (o *outage) command(f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(o.t.Context(), opPatience)
	defer cancel()
	return f(ctx)
}
