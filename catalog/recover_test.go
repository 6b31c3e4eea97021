package catalog

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/ring"
)

// nobody is alive whom a recovery gives up.
func nobody(ring.NodeID) bool { return false }

// lost is a sealed cluster of four of which the last two are gone for good.
func lost(t *testing.T, seed uint64) (f *fabric, nodes []*node, survivors []ring.NodeID) {
	t.Helper()
	f = newFabric(t, seed)
	nodes = f.cluster(4)
	if err := nodes[0].catalog.Seal(within(t, time.Hour)); err != nil {
		t.Fatal(err)
	}
	f.settle(nodes)
	for _, n := range nodes[2:] {
		n.crash()
	}
	return f, nodes, []ring.NodeID{nodes[0].catalog.Self(), nodes[1].catalog.Self()}
}

// TestRecoveredAtTheOtherOne: an operator recovers at one survivor, and is told that the
// other has not heard of it. Recovering at that one too must not make a second document
// of the same generation and version: there is no way out of that. When it can hear of the
// first one it is done.
func TestRecoveredAtTheOtherOne(t *testing.T) {
	for _, at := range []string{"the one that decides", "the other one"} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, nodes, survivors := lost(t, 51)
				defer func() { stopAll(nodes) }()
				first, second := nodes[0].catalog, nodes[1].catalog
				if decides := bytes.Compare(survivors[0][:], survivors[1][:]) < 0; decides != (at == "the one that decides") {
					first, second = second, first
				}
				f.set(func() { f.drop = func(_, _, kind string) bool { return kind != "hello" } })
				if err := first.Recover(within(t, time.Minute), survivors, "fire", time.Now(), nobody); err == nil {
					t.Error("nothing is said of the survivor that has not heard of it")
				}
				if err := second.Recover(within(t, time.Minute), survivors, "fire", time.Now(), nobody); err == nil {
					t.Error("a second recovery is begun though a survivor knows of the first")
				}
				if err := second.CheckRecovery(within(t, time.Minute), survivors, "fire", time.Now(), nobody); (err == nil) != (at == "the other one") {
					t.Errorf("what another survivor alone knows of: %v", err)
				}
				f.heal()
				if err := second.CheckRecovery(within(t, time.Minute), survivors, "fire", time.Now(), nobody); err != nil {
					t.Errorf("checked: %v", err)
				}
				for _, c := range []*Catalog{second, first} {
					if err := c.Recover(within(t, time.Minute), survivors, "fire", time.Now(), nobody); err != nil {
						t.Errorf("repeated: %v", err)
					}
				}
				f.settle(nodes[:2])
				if err := second.Confirm(within(t, time.Minute)); err != nil {
					t.Error(err)
				}
				if d := second.Document(); d.Generation != 1 || len(d.Recoveries) != 1 {
					t.Errorf("generation %d, %d recoveries", d.Generation, len(d.Recoveries))
				}
			})
		})
	}
}

// TestRecoveredTwiceAtOnce: of two operators at two survivors one wins, and the other is
// told so, or finds it done. Messages get lost, too: then it is repeated.
func TestRecoveredTwiceAtOnce(t *testing.T) {
	told := 0
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			f, nodes, survivors := lost(t, 100+seed)
			defer func() { stopAll(nodes) }()
			f.set(func() { f.loss = 0.2 * float64(seed%2) })
			recovered := func(n *node) error {
				return n.catalog.Recover(within(t, time.Minute), survivors, "fire", time.Now(), nobody)
			}
			errs := make([]error, 2)
			var both sync.WaitGroup
			for i := range errs {
				both.Go(func() { errs[i] = recovered(nodes[i]) })
			}
			both.Wait()
			f.heal()
			for i, n := range nodes[:2] {
				if err := recovered(n); err != nil {
					t.Errorf("seed %d: repeated: %v", seed, err)
				}
				var conflict *ConflictError
				wins := n.catalog.Document().Recoveries[0].By == survivors[i]
				switch {
				case errs[i] == nil || seed%2 == 1:
				case wins || !errors.As(errs[i], &conflict):
					t.Errorf("seed %d: node %d has won: %v, and is told %v", seed, i, wins, errs[i])
				default:
					told++
				}
			}
			f.settle(nodes[:2])
			if err := nodes[1].catalog.Confirm(within(t, time.Minute)); err != nil {
				t.Error(err)
			}
			if d := nodes[0].catalog.Document(); d.Generation != 1 || len(d.Recoveries) != 1 {
				t.Errorf("seed %d: generation %d, %d recoveries", seed, d.Generation, len(d.Recoveries))
			}
		})
	}
	if told == 0 {
		t.Error("they never met")
	}
	t.Logf("%d were told that another had won", told)
}

// TestRecoveredBehind: a survivor that has missed the end of a change cannot take it back
// by a recovery: the replicas that the change has displaced have removed what they had.
func TestRecoveredBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 52)
		nodes := f.cluster(4)
		defer func() { stopAll(nodes) }()
		behind := nodes[1]
		if err := nodes[0].catalog.Seal(within(t, time.Hour)); err != nil {
			t.Fatal(err)
		}
		joiner := f.node(5).start()
		nodes = append(nodes, joiner)
		if err := joiner.catalog.Join(within(t, time.Hour), []string{nodes[0].address}); err != nil {
			t.Fatal(err)
		}
		change := nodes[0].catalog.Document().Layout.Change.ID
		if err := nodes[0].catalog.Advance(within(t, time.Hour), change, ring.Announced, 1); err != nil {
			t.Fatal(err)
		}
		f.settle(nodes)
		f.set(func() {
			f.drop = func(from, to, kind string) bool {
				return kind != "hello" && (from == behind.address || to == behind.address)
			}
		})
		for _, from := range []ring.Phase{ring.Streaming, ring.Flipped} {
			if err := nodes[0].catalog.Advance(within(t, time.Hour), change, from, 1); err != nil {
				t.Fatal(err)
			}
		}
		if nodes[0].catalog.Document().Layout.Change != nil || behind.catalog.Document().Layout.Change == nil {
			t.Fatal("the change has not ended, or the survivor knows of its end")
		}
		id := joiner.catalog.Self()
		for _, i := range []int{2, 3, 4} {
			nodes[i].crash()
		}
		survivors := []ring.NodeID{nodes[0].catalog.Self(), behind.catalog.Self()}
		if err := behind.catalog.Recover(within(t, time.Minute), survivors, "fire", time.Now(), nobody); err == nil {
			t.Error("a change that has ended is aborted")
		}
		if v := behind.catalog.View(); v.Generation != 0 {
			t.Errorf("generation %d follows version %d, but another survivor has version %d", v.Generation, v.Version-1, nodes[0].catalog.Version())
		}
		f.heal()
		if err := behind.catalog.Recover(within(t, time.Minute), survivors, "fire", time.Now(), nobody); err != nil {
			t.Fatal(err)
		}
		if m, ok := nodes[0].catalog.Document().Member(id); !ok || m.State != ring.Dead {
			t.Errorf("the node that had joined is %q", m.State)
		}
	})
}

// TestRecoveredAgain: one more survivor burns before all is filled up. The recovery cannot
// be aborted, but another one does without that survivor too, although most voters live.
func TestRecoveredAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 56)
		nodes := f.cluster(6)
		defer func() { stopAll(nodes) }()
		if err := nodes[0].catalog.Seal(within(t, time.Hour)); err != nil {
			t.Fatal(err)
		}
		f.settle(nodes)
		var survivors []ring.NodeID
		for i, n := range nodes {
			if i < 3 {
				survivors = append(survivors, n.catalog.Self())
			} else {
				n.crash()
			}
		}
		recovered := func(survivors ...ring.NodeID) error {
			return nodes[0].catalog.Recover(within(t, time.Minute), survivors, "fire", time.Now(), nobody)
		}
		if err := recovered(survivors...); err != nil {
			t.Fatal(err)
		}
		f.settle(nodes[:3])
		var conflict *ConflictError
		if _, _, err := nodes[1].catalog.AbortAny(within(t, time.Minute)); !errors.As(err, &conflict) || !strings.Contains(err.Error(), "recover again") {
			t.Errorf("a recovery is aborted: %v", err)
		}
		nodes[2].crash()
		if err := recovered(survivors[:2]...); err != nil {
			t.Fatal(err)
		}
		d := nodes[1].catalog.Document()
		if d.Generation != 2 || len(d.Layout.Voters()) != 2 || len(d.Layout.Members) != 6 {
			t.Errorf("generation %d, %d voters of %d members", d.Generation, len(d.Layout.Voters()), len(d.Layout.Members))
		}
		for _, from := range []ring.Phase{ring.Announced, ring.Streaming, ring.Flipped} {
			if err := nodes[0].catalog.Advance(within(t, time.Minute), d.Layout.Change.ID, from, 1); err != nil {
				t.Fatal(err)
			}
		}
		if d := nodes[0].catalog.Document(); len(d.Layout.Members) != 2 || len(d.Removed) != 4 {
			t.Errorf("%d members, %d removed", len(d.Layout.Members), len(d.Removed))
		}
	})
}

// TestAbortedWhileDown: a node's joining is aborted while it is down. It is told so when it
// is back, and that it may start again to join again: then it does.
func TestAbortedWhileDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 53)
		nodes := f.cluster(3)
		defer func() { stopAll(nodes) }()
		if err := nodes[0].catalog.Seal(within(t, time.Hour)); err != nil {
			t.Fatal(err)
		}
		joiner := f.node(4).start()
		seeds := []string{nodes[0].address}
		if err := joiner.catalog.Join(within(t, time.Hour), seeds); err != nil {
			t.Fatal(err)
		}
		joiner.crash()
		if _, _, err := nodes[0].catalog.AbortAny(within(t, time.Hour)); err != nil {
			t.Fatal(err)
		}
		f.settle(nodes)
		joiner.start()
		time.Sleep(time.Minute) // it hears of it, and ends
		joiner.crash()
		joiner.start()
		nodes = append(nodes, joiner)
		if err := joiner.catalog.Join(within(t, time.Hour), seeds); err != nil {
			t.Fatal(err)
		}
		if _, ok := nodes[0].catalog.Document().Member(joiner.catalog.Self()); !ok {
			t.Errorf("a node whose joining was aborted does not join again; it serves by version %d, the others by %d",
				joiner.catalog.Version(), nodes[0].catalog.Version())
		}
	})
}

// TestGivenUpInTheMiddle: nodes that a recovery has given up, and that were only cut off,
// meet the survivors while these still fill up what they held. They are of an older
// generation: they must not take up the new one, and serve by it.
func TestGivenUpInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 54)
		nodes := f.cluster(4)
		defer func() { stopAll(nodes) }()
		if err := nodes[0].catalog.Seal(within(t, time.Hour)); err != nil {
			t.Fatal(err)
		}
		f.settle(nodes)
		f.cut(nodes[:2], nodes[2:])
		survivors := []ring.NodeID{nodes[0].catalog.Self(), nodes[1].catalog.Self()}
		if err := nodes[0].catalog.Recover(within(t, time.Minute), survivors, "believed to be burnt", time.Now(), nobody); err != nil {
			t.Fatal(err)
		}
		f.heal()
		change := nodes[0].catalog.Document().Layout.Change
		if err := nodes[0].catalog.Advance(within(t, time.Minute), change.ID, ring.Announced, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		for _, n := range nodes[2:] {
			if v := n.catalog.View(); v.Generation > 0 {
				t.Errorf("node %s, which was given up, serves by generation %d", n.address, v.Generation)
			}
			n.crash()
			var gone *GoneError
			if _, err := n.open(); !errors.As(err, &gone) || gone.Wanted() {
				t.Errorf("a node that was given up starts again: %v", err)
			}
		}
	})
}

// TestAbortedBetweenTwoWrites: a node whose joining is aborted dies when half of what it
// notes of that is on disk. It can be started again all the same.
func TestAbortedBetweenTwoWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 55)
		nodes := f.cluster(3)
		defer func() { stopAll(nodes) }()
		if err := nodes[0].catalog.Seal(within(t, time.Hour)); err != nil {
			t.Fatal(err)
		}
		joiner := f.node(4).start()
		if err := joiner.catalog.Join(within(t, time.Hour), []string{nodes[0].address}); err != nil {
			t.Fatal(err)
		}
		joiner.meta.breaks(abortedKey, errors.New("it dies here"))
		if _, _, err := nodes[0].catalog.AbortAny(within(t, time.Hour)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		joiner.crash()
		joiner.meta.breaks(abortedKey, nil)
		if _, err := joiner.open(); err != nil {
			t.Error(err)
		}
	})
}
