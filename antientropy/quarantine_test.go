package antientropy

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
)

// TestVerifiedWithWhatIsNotWhole: a replica has dropped a range that it could not read,
// and nobody has filled it yet. A comparison with it says nothing: a node that takes the
// range over from it would be called complete without what the replica has acknowledged.
func TestVerifiedWithWhatIsNotWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, nil)
		source, gains := c.nodes[0], c.nodes[1]
		c.intercept = func(from, _ int, _ string, _ []byte) error {
			if from == source.number {
				return errors.New("it has not begun to fill the range again")
			}
			return nil
		}
		id := token.Of([]byte("p1")).Range()
		source.apply(t, put(t, "p1", 1, time.Now().UnixMicro(), "acknowledged"))
		source.Quarantine(id, fmt.Errorf("a block: %w", storage.ErrCorrupt))
		if err := source.Wipe(t.Context(), id, hlc.FromTime(time.Now())); err != nil {
			t.Fatal(err)
		}
		gains.ae.Hurry(Scope{Peer: nodeID(source.number), Ranges: []token.RangeID{id}})
		c.run(t, 5*time.Minute)
		if !source.InQuarantine(id) {
			t.Fatal("the range is not in quarantine any more")
		}
		if gains.ae.VerifiedBy(gains.view, schema.BuiltinKeyspace, id, nodeID(source.number)) {
			t.Error("a range counts as verified with a replica that has dropped it")
		}
	})
}

// TestFilledAgain: replicas that have dropped a range fill it, from each other too. What
// they have taken meanwhile reaches the others; who is whole counts nothing as verified
// with them.
func TestFilledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		whole, dropped := c.nodes[0], c.nodes[1:]
		id := token.Of([]byte("p1")).Range()
		whole.apply(t, put(t, "p1", 1, time.Now().UnixMicro(), "from before"))
		now := hlc.FromTime(time.Now())
		for i, n := range dropped {
			n.Quarantine(id, fmt.Errorf("a block: %w", storage.ErrCorrupt))
			if err := n.Wipe(t.Context(), id, now); err != nil {
				t.Fatal(err)
			}
			n.apply(t, put(t, "p1", 2+i, time.Now().UnixMicro(), "since then"))
			n.ae.Hurry(Scope{Ranges: []token.RangeID{id}})
		}
		whole.ae.Hurry(Scope{})
		c.run(t, 5*time.Minute)
		for _, n := range dropped {
			for _, other := range c.nodes {
				if other != n && n.ae.Verified(schema.BuiltinKeyspace, id, nodeID(other.number)) <= now {
					t.Errorf("node %d is not filled from node %d", n.number, other.number)
				}
			}
			if whole.ae.Verified(schema.BuiltinKeyspace, id, nodeID(n.number)) > 0 {
				t.Errorf("the whole one has verified something with node %d", n.number)
			}
		}
		c.checkEqual(t)
		for _, n := range dropped {
			if err := n.Release(id); err != nil {
				t.Fatal(err)
			}
		}
		c.run(t, 5*time.Minute)
		for _, n := range dropped {
			if whole.ae.Verified(schema.BuiltinKeyspace, id, nodeID(n.number)) == 0 {
				t.Errorf("nothing is verified with node %d, which is whole again", n.number)
			}
		}
	})
}
