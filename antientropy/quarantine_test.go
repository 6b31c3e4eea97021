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
