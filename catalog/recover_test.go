package catalog

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/ring"
)

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
// of the same generation and version: there is no way out of that.
func TestRecoveredAtTheOtherOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, nodes, survivors := lost(t, 51)
		defer func() { stopAll(nodes) }()
		f.set(func() { f.drop = func(_, _, kind string) bool { return kind != "hello" } })
		if err := nodes[0].catalog.Recover(within(t, time.Minute), survivors, "fire", time.Now(), func(ring.NodeID) bool { return false }); err == nil {
			t.Error("nothing is said of the survivor that has not heard of it")
		}
		if err := nodes[1].catalog.Recover(within(t, time.Minute), survivors, "fire", time.Now(), func(ring.NodeID) bool { return false }); err == nil {
			t.Error("a second recovery is begun though a survivor knows of the first")
		}
		f.heal()
		f.settle(nodes[:2])
		if err := nodes[1].catalog.Confirm(within(t, time.Minute)); err != nil {
			t.Error(err)
		}
	})
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
		for _, i := range []int{2, 3, 4} {
			nodes[i].crash()
		}
		survivors := []ring.NodeID{nodes[0].catalog.Self(), behind.catalog.Self()}
		if err := behind.catalog.Recover(within(t, time.Minute), survivors, "fire", time.Now(), func(ring.NodeID) bool { return false }); err == nil {
			t.Error("a change that has ended is aborted")
		}
		if v := behind.catalog.View(); v.Generation != 0 {
			t.Errorf("generation %d follows version %d, but another survivor has version %d", v.Generation, v.Version-1, nodes[0].catalog.Version())
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
		if err := nodes[0].catalog.Abort(within(t, time.Hour), 0); err != nil {
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
		if err := nodes[0].catalog.Recover(within(t, time.Minute), survivors, "believed to be burnt", time.Now(), func(ring.NodeID) bool { return false }); err != nil {
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
		if err := nodes[0].catalog.Abort(within(t, time.Hour), 0); err != nil {
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
