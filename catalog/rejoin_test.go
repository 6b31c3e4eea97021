package catalog

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/ring"
)

// joining is a sealed cluster of three nodes, and one that joins it.
func (f *fabric) joining() (nodes []*node, joiner *node) {
	f.t.Helper()
	nodes = f.cluster(3)
	if err := nodes[0].catalog.Seal(within(f.t, time.Minute)); err != nil {
		f.t.Fatal(err)
	}
	f.settle(nodes)
	joiner = f.node(7).start()
	if err := joiner.catalog.Join(within(f.t, time.Minute), []string{nodes[0].address}); err != nil {
		f.t.Fatal(err)
	}
	f.settle(append(nodes, joiner))
	return nodes, joiner
}

// restart starts a joiner and has it join with seeds.
func (n *node) restart(seeds ...string) error {
	n.f.t.Helper()
	n.start()
	if n.catalog.Document() != nil || !n.catalog.Rejoining() {
		n.f.t.Error("a node that was joining serves before anybody has confirmed it")
	}
	return n.catalog.Join(within(n.f.t, time.Minute), seeds)
}

// TestJoinerStartsAgain: it is confirmed, if need be by members that it remembers, and
// says where it is now. A member that is behind does not set it back.
func TestJoinerStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 51)
		nodes, joiner := f.joining()
		defer func() { stopAll(append(nodes, joiner)) }()
		version := joiner.catalog.Version()
		joiner.crash()
		joiner.address = "10.7.7.7:7481"
		f.set(func() { f.nodes[joiner.address] = joiner })
		if err := joiner.restart(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		m, _ := nodes[1].catalog.Document().Member(joiner.catalog.Self())
		if m.Internode != joiner.address || joiner.catalog.Version() != version+1 || m.State != ring.Joining {
			t.Errorf("version %d became %d, %+v", version, joiner.catalog.Version(), m)
		}

		behind := nodes[2]
		f.set(func() {
			f.drop = func(from, to, _ string) bool { return from == behind.address || to == behind.address }
		})
		change := nodes[0].catalog.Document().Layout.Change.ID
		if err := nodes[0].catalog.Advance(within(t, time.Minute), change, ring.Announced, 1); err != nil {
			t.Fatal(err)
		}
		f.settle([]*node{nodes[0], nodes[1], joiner})
		version = joiner.catalog.Version()
		joiner.crash()
		f.set(func() {
			f.drop = func(from, to, _ string) bool {
				return (from == joiner.address || from == behind.address) && to != joiner.address && to != behind.address
			}
		})
		joiner.start()
		if err := joiner.catalog.Join(within(t, 20*time.Second), []string{behind.address}); err == nil || joiner.catalog.Version() != 0 {
			t.Errorf("it went back from version %d to %d: %v", version, joiner.catalog.Version(), err)
		}
		f.heal()
		if err := joiner.catalog.Join(within(t, time.Minute), nil); err != nil || joiner.catalog.Version() < version {
			t.Errorf("version %d became %d: %v", version, joiner.catalog.Version(), err)
		}
	})
}

// TestJoinerStartsTooLate: its joining was aborted while it was down. It joins anew with
// seeds, and without them says how to.
func TestJoinerStartsTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 52)
		nodes, joiner := f.joining()
		defer func() { stopAll(append(nodes, joiner)) }()
		id, change := joiner.catalog.Self(), nodes[0].catalog.Document().Layout.Change.ID
		joiner.crash()
		if err := nodes[0].catalog.Abort(within(t, time.Minute), change); err != nil {
			t.Fatal(err)
		}
		f.settle(nodes)
		if err := joiner.restart(); err == nil || !permanent(err) || !strings.Contains(err.Error(), "--join") {
			t.Errorf("without seeds: %v", err)
		}
		joiner.crash()
		if err := joiner.restart(nodes[1].address); err != nil || joiner.catalog.Self() != id {
			t.Fatal(err)
		}
		if c := joiner.catalog.Document().Layout.Change; c == nil || c.ID == change {
			t.Errorf("it joins by %+v", c)
		}
	})
}

// TestJoinerMissesItsLife: it has become a full member and was removed, all while it was
// down. It may not come back.
func TestJoinerMissesItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 53)
		nodes, joiner := f.joining()
		defer func() { stopAll(append(nodes, joiner)) }()
		id := joiner.catalog.Self()
		joiner.crash()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		carry := func() {
			t.Helper()
			change := nodes[0].catalog.Document().Layout.Change.ID
			for _, from := range []ring.Phase{ring.Announced, ring.Streaming, ring.Flipped} {
				if err := nodes[0].catalog.Advance(ctx, change, from, 1); err != nil {
					t.Fatal(err)
				}
			}
		}
		carry()
		if err := nodes[0].catalog.Remove(ctx, []ring.NodeID{id}, func(ring.NodeID) bool { return false }); err != nil {
			t.Fatal(err)
		}
		carry()
		f.settle(nodes)
		var gone *GoneError
		if err := joiner.restart(nodes[0].address); !errors.As(err, &gone) || gone.Wanted() {
			t.Errorf("a removed node is let in: %v", err)
		}
		joiner.crash()
		if _, err := joiner.open(); !errors.As(err, &gone) {
			t.Errorf("it has forgotten that it was removed: %v", err)
		}
	})
}

// TestForeignSeedsOfAJoiner: what it has belongs to one cluster, its seeds to another.
func TestForeignSeedsOfAJoiner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 54)
		nodes, joiner := f.joining()
		other := f.node(9).start()
		defer func() { stopAll(append(nodes, joiner, other)) }()
		elsewhere := newFabric(t, 55) // which checks another history
		elsewhere.set(func() { other.f = elsewhere })
		if err := other.catalog.Bootstrap(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		joiner.crash()
		var foreign *ForeignError
		if err := joiner.restart(other.address); !errors.As(err, &foreign) {
			t.Errorf("it joins another cluster: %v", err)
		}
	})
}
