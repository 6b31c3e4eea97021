package antientropy

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/antientropy/tree"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// everyRange lists them.
func everyRange() (ids []token.RangeID) {
	for id := range token.RangeID(token.Ranges) {
		ids = append(ids, id)
	}
	return ids
}

// long leaves a long test out of the short run, which looks for races: its steps follow
// one another.
func long(t *testing.T) {
	if testing.Short() {
		t.Skip("the short run looks for races; here one step follows another")
	}
}

// stored is what a node has on disk of all tables, by key: of some ranges, or of all.
func (n *node) stored(tb testing.TB, ids ...token.RangeID) map[string][]byte {
	tb.Helper()
	all := map[string][]byte{}
	w := tree.NewWalker(n.engine)
	if len(ids) == 0 {
		ids = everyRange()
	}
	for _, id := range ids {
		leaves, err := n.Leaves(tb.Context(), id)
		if err != nil {
			tb.Fatal(err)
		}
		for _, l := range leaves {
			if _, err := w.Walk(tree.Span{Leaf: l.Leaf}, tree.Form{}, everything, func(key, fragment []byte, _ record.Digest, _ bool) bool {
				all[string(key)] = append([]byte(nil), fragment...)
				return true
			}); err != nil {
				tb.Fatal(err)
			}
		}
	}
	return all
}

// visible is what a reader sees now, by key.
func (n *node) visible(tb testing.TB, ids ...token.RangeID) map[string]string {
	tb.Helper()
	all, seen := n.stored(tb, ids...), map[string]string{}
	for key, fragment := range all {
		k, err := record.ParseKey([]byte(key))
		if err != nil {
			tb.Fatal(err)
		}
		if k.Space == record.SpaceHeads {
			continue
		}
		var h record.Head
		if stored, ok := all[string(record.AppendHeadOf(nil, k.Table, record.PartitionOf([]byte(key), k.Suffix)))]; ok {
			if err := record.DecodeHead(stored, &h); err != nil {
				tb.Fatal(err)
			}
		}
		var r record.Row
		if err := record.DecodeRow(fragment, &r); err != nil {
			tb.Fatal(err)
		}
		if r.Visible(h.ShadowAt(k.Suffix), time.Now().Unix()) {
			seen[key] = fmt.Sprint(r)
		}
	}
	return seen
}

// purgeable counts keys that say something besides what a reader sees.
func (n *node) purgeable(tb testing.TB) (keys int) {
	tb.Helper()
	seen := n.visible(tb)
	for key, fragment := range n.stored(tb) {
		var r record.Row
		if _, live := seen[key]; live && record.DecodeRow(fragment, &r) == nil && fmt.Sprint(r) == seen[key] {
			continue
		}
		keys++
	}
	return keys
}

// history makes a random fragment as a client's write of now.
func history(tb testing.TB, rng *rand.Rand) []byte {
	now := time.Now()
	ts, seconds := now.UnixMicro(), now.Unix()
	partition := fmt.Sprint("p", rng.IntN(8))
	row := record.Row{}
	switch rng.IntN(8) {
	case 0:
		row.Deletion = record.Deletion{Timestamp: ts, Seconds: seconds}
	case 1:
		row.Cells = []record.Cell{{Column: column, Timestamp: ts, Tombstone: true, Expiry: seconds}}
	case 2:
		row.Cells = []record.Cell{{Column: column, Timestamp: ts, TTL: 5, Expiry: seconds + 5, Value: []byte("a value that is longer than its hash")}}
	case 3:
		d := record.Deletion{Timestamp: ts, Seconds: seconds}
		if rng.IntN(2) == 0 {
			return head(&rowsShape, partition, record.Head{Deletion: d})
		}
		from := 1 + rng.IntN(20)
		return head(&daysShape, partition, record.Head{Ranges: []record.RangeTombstone{{
			Start: daySuffix(tb, from), End: daySuffix(tb, from+rng.IntN(5)+1), Deletion: d,
		}}})
	default:
		row.Liveness = record.Liveness{Timestamp: ts}
		row.Cells = []record.Cell{{Column: column, Timestamp: ts, Value: []byte(fmt.Sprint("v", rng.IntN(3)))}}
	}
	if rng.IntN(2) == 0 {
		return record.AppendEntry(nil, key(tb, partition, rng.IntN(20)), row.Append(nil))
	}
	return record.AppendEntry(nil, dayKey(tb, partition, 1+rng.IntN(25)), row.Append(nil))
}

// TestPurge: after any history, whoever missed what, a reader sees the same for
// ever; and in the end nothing else is stored on any replica, and all is quiet.
func TestPurge(t *testing.T) {
	long(t)
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 2))
				c := newCluster(t, 1+int(seed%3), func(cfg *Config) { cfg.PieceRows = 1 + rng.IntN(50) })
				for range 150 + rng.IntN(150) {
					time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
					fragment, all := history(t, rng), rng.IntN(3) == 0
					for i, n := range c.nodes {
						if all || rng.IntN(4) > 0 || i == 0 {
							n.apply(t, fragment)
						}
					}
				}
				c.run(t, 2*time.Minute)
				c.checkEqual(t)
				seen := c.nodes[0].visible(t)
				c.run(t, 40*time.Minute)
				for _, n := range c.nodes {
					if now := n.visible(t); !maps.Equal(now, seen) {
						t.Errorf("node %d shows other rows: %v, not %v", n.number, now, seen)
					}
					if left := n.purgeable(t); left > 0 {
						t.Errorf("node %d still stores %d keys that nobody sees", n.number, left)
					}
				}
				if len(c.nodes) > 1 {
					c.checkQuiet(t)
				}
			})
		})
	}
}

// TestFirstStage: while a member is away, nothing that others may need is dropped;
// but rows that a deletion hides go, and values that have expired shrink. Then its
// data comes back, hides nothing, and all of it goes.
func TestFirstStage(t *testing.T) {
	long(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		away := true
		c.intercept = func(from, to int, _ string, _ []byte) error {
			if away && (from == 2 || to == 2) {
				return errors.New("it is away")
			}
			return nil
		}
		now := time.Now()
		old := put(t, "p1", 1, now.UnixMicro(), "old")
		c.nodes[2].apply(t, old)
		long := record.Row{Cells: []record.Cell{{Column: column, Timestamp: now.UnixMicro(), TTL: 60, Expiry: now.Unix() + 60, Value: make([]byte, 1000)}}}
		brief := record.AppendEntry(nil, key(t, "p2", 1), long.Append(nil))
		deletion := head(&rowsShape, "p1", record.Head{Deletion: record.Deletion{Timestamp: now.UnixMicro() + 1, Seconds: now.Unix()}})
		for _, n := range c.nodes[:2] {
			n.apply(t, old)
			n.apply(t, deletion)
			n.apply(t, brief)
		}
		c.run(t, 2*time.Hour)
		for _, n := range c.nodes[:2] {
			all := n.stored(t)
			size := len(all[string(key(t, "p2", 1))])
			if _, hidden := all[string(key(t, "p1", 1))]; hidden || len(all) != 2 || size == 0 || size > 100 {
				t.Errorf("node %d stores %d keys, the hidden row %v, the expired one in %d bytes", n.number, len(all), hidden, size)
			}
			s := n.ae.Status().Purge
			if len(s.Blockers) != 1 || s.Blockers[0].Node != nodeID(2) || time.Since(s.Blockers[0].Since) < 119*time.Minute || s.Waiting.Unix() != now.Unix() {
				t.Errorf("node %d: %+v", n.number, s)
			}
		}
		away = false
		c.run(t, 40*time.Minute)
		for _, n := range c.nodes {
			if all := n.stored(t); len(all) > 0 {
				t.Errorf("node %d still stores %d keys", n.number, len(all))
			}
			if s := n.ae.Status().Purge; len(s.Blockers) > 0 || !s.Waiting.IsZero() || s.Fence.IsZero() {
				t.Errorf("node %d: %+v", n.number, s)
			}
		}
	})
}

// send applies a group that was born at some time.
func (n *node) send(tb testing.TB, born time.Time, entries []byte) transport.Code {
	tb.Helper()
	done := make(verdicts, 1)
	n.Apply(nodeID(0), transport.Group{Version: n.View().Version, Born: hlc.FromTime(born), Count: 1, Entries: entries}, time.Time{}, done, 0)
	return (<-done).Code
}

// TestNothingComesBack: a write that was read or accepted before the purge of a
// deletion, as a hint, a delayed frame, a paused node's queue or a read repair hold
// it, finds a fence afterwards. Before, it finds the deletion.
func TestNothingComesBack(t *testing.T) {
	long(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		began := time.Now()
		old := put(t, "p1", 1, began.UnixMicro(), "old")
		deletion := head(&rowsShape, "p1", record.Head{Deletion: record.Deletion{Timestamp: began.UnixMicro() + 1, Seconds: began.Unix()}})
		for _, n := range c.nodes[:2] {
			n.apply(t, old)
		}
		time.Sleep(time.Second)
		read := time.Now() // a repair that would bring node 2 the row
		time.Sleep(time.Second)
		c.nodes[0].apply(t, deletion)
		c.run(t, time.Minute)
		for _, n := range c.nodes {
			for _, born := range []time.Time{began, read} {
				if code := n.send(t, born, old); code != transport.OK {
					t.Errorf("before the purge: %v", code)
				}
			}
		}
		for range 60 {
			c.run(t, time.Minute)
			gone := 0
			for _, n := range c.nodes {
				if len(n.stored(t)) == 0 {
					gone++
				}
			}
			for _, n := range c.nodes {
				if gone > 0 {
					for _, born := range []time.Time{began, read} {
						n.send(t, born, old) // refused where the deletion is gone
					}
				}
				if seen := n.visible(t); len(seen) > 0 {
					t.Fatalf("node %d shows %v, %d nodes have purged", n.number, seen, gone)
				}
			}
		}
		for _, n := range c.nodes {
			if left := len(n.stored(t)); left > 0 {
				t.Errorf("node %d still stores %d keys", n.number, left)
			}
		}
	})
}

// TestLateDeletion: a deletion that was held back for long as a hint reaches one
// replica. A repair that had read a row before then is refused where the deletion
// was purged, however late it comes: the purge waits for fences to pass its arrival.
func TestLateDeletion(t *testing.T) {
	long(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, nil)
		began := time.Now()
		old := put(t, "p1", 1, began.UnixMicro(), "old")
		c.nodes[0].apply(t, old)
		c.nodes[1].hints.floor = hlc.FromTime(began) - 1 // a counted hint somewhere holds all fences back
		c.run(t, time.Hour)
		read := time.Now() // nobody has the deletion yet
		time.Sleep(10 * time.Second)
		deletion := head(&rowsShape, "p1", record.Head{Deletion: record.Deletion{Timestamp: began.UnixMicro() + 1, Seconds: began.Unix()}})
		if code := c.nodes[0].send(t, began, deletion); code != transport.OK {
			t.Fatalf("the hint is refused: %v", code)
		}
		c.nodes[1].hints.floor = 0
		for range 60 {
			c.run(t, 20*time.Second)
			for _, n := range c.nodes {
				if len(n.stored(t)) == 0 && n.send(t, read, old) != transport.Fenced {
					t.Fatalf("node %d has purged and takes what was read before", n.number)
				}
			}
		}
		for _, n := range c.nodes {
			if left := len(n.stored(t)); left > 0 {
				t.Errorf("node %d still stores %d keys", n.number, left)
			}
		}
	})
}

// TestPointsSurviveARestart: what was purged before it is compared as purged after
// it, and brings nothing back.
func TestPointsSurviveARestart(t *testing.T) {
	long(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, nil)
		now := time.Now()
		for _, n := range c.nodes {
			n.apply(t, put(t, "p1", 1, now.UnixMicro(), "old"))
			n.apply(t, head(&rowsShape, "p1", record.Head{Deletion: record.Deletion{Timestamp: now.UnixMicro() + 1, Seconds: now.Unix()}}))
		}
		a := c.nodes[0]
		id := rangeOf("p1")
		for range 180 {
			c.run(t, 10*time.Second)
			if a.ae.purge.Point(schema.BuiltinKeyspace, id) > 0 {
				break
			}
		}
		point, fence := a.ae.purge.Point(schema.BuiltinKeyspace, id), a.Fence()
		if point < now.Unix() || fence == 0 {
			t.Fatalf("purge point %d, fence %d", point, fence)
		}
		a.close(t)
		c.open(t, a)
		a.steps(t, 10_000)
		if got := a.ae.purge.Point(schema.BuiltinKeyspace, id); got != point || a.Fence() < fence {
			t.Errorf("purge point %d, fence %d after the restart", got, a.Fence())
		}
		c.run(t, 20*time.Minute)
		for _, n := range c.nodes {
			if left := len(n.stored(t)); left > 0 {
				t.Errorf("node %d still stores %d keys", n.number, left)
			}
		}
		if c.calls[message.Rows] > 0 {
			t.Errorf("%d calls for rows although both have purged the same", c.calls[message.Rows])
		}
	})
}
