package antientropy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// anything makes a random fragment: of rows with and without windows, with
// deletions of rows, ranges and partitions, and times to live. The values are few,
// so that fragments of one place meet.
func anything(tb testing.TB, rng *rand.Rand) []byte {
	partition := fmt.Sprint("p", rng.IntN(8))
	ts := 1 + rng.Int64N(20)
	row := record.Row{}
	switch rng.IntN(8) {
	case 0:
		row.Deletion = record.Deletion{Timestamp: ts, Seconds: 100 + rng.Int64N(3)}
	case 1:
		row.Cells = []record.Cell{{Column: column, Timestamp: ts, Tombstone: true, Expiry: 100}}
	case 2:
		row.Cells = []record.Cell{{Column: column, Timestamp: ts, TTL: 5, Expiry: 1 + rng.Int64N(3), Value: []byte("brief")}}
	case 3:
		h := record.Head{Deletion: record.Deletion{Timestamp: ts, Seconds: 100}}
		if rng.IntN(2) == 0 {
			from := 1 + rng.IntN(20)
			h = record.Head{Ranges: []record.RangeTombstone{{
				Start: daySuffix(tb, from), End: daySuffix(tb, from+rng.IntN(5)+1), Deletion: record.Deletion{Timestamp: ts, Seconds: 101},
			}}}
		}
		if rng.IntN(2) == 0 {
			return head(&rowsShape, partition, record.Head{Deletion: h.Deletion, Static: record.Row{Cells: []record.Cell{{Column: 9, Timestamp: ts, Value: []byte("s")}}}})
		}
		return head(&daysShape, partition, h)
	default:
		row.Liveness = record.Liveness{Timestamp: ts}
		row.Cells = []record.Cell{{Column: column, Timestamp: ts, Value: []byte(fmt.Sprint("v", rng.IntN(3)))}}
	}
	if rng.IntN(2) == 0 {
		return record.AppendEntry(nil, key(tb, partition, rng.IntN(20)), row.Append(nil))
	}
	return record.AppendEntry(nil, dayKey(tb, partition, 1+rng.IntN(25)), row.Append(nil))
}

// TestConverge: replicas with any histories hold the same after sessions, and
// then every range is verified with every peer; nothing is read any more.
func TestConverge(t *testing.T) {
	long(t)
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 1))
				c := newCluster(t, 2+int(seed%2), func(cfg *Config) { cfg.PieceRows = 1 + rng.IntN(50) })
				for range 150 + rng.IntN(150) {
					fragment := anything(t, rng)
					for i, n := range c.nodes {
						if rng.IntN(4) > 0 || i == 0 && rng.IntN(2) == 0 {
							n.apply(t, fragment)
						}
					}
				}
				c.run(t, 3*time.Minute)
				c.checkEqual(t)
				for _, n := range c.nodes {
					n.checkClean(t)
					for id := range token.RangeID(token.Ranges) {
						for _, other := range c.nodes {
							if n != other && n.ae.Verified(schema.BuiltinKeyspace, id, nodeID(other.number)) == 0 {
								t.Fatalf("node %d has not verified range %d with node %d", n.number, id, other.number)
							}
						}
					}
				}
				c.checkQuiet(t)
			})
		})
	}
}

// checkQuiet: replicas that are equal and have settled compare roots alone.
func (c *cluster) checkQuiet(tb testing.TB) {
	tb.Helper()
	read := make([]int, len(c.nodes))
	for i, n := range c.nodes {
		read[i] = n.counter(n.ae.metrics.rowsRead)
	}
	calls := maps.Clone(c.calls)
	c.run(tb, time.Minute)
	for i, n := range c.nodes {
		if now := n.counter(n.ae.metrics.rowsRead); now != read[i] {
			tb.Errorf("node %d has read %d rows although nothing was written", i, now-read[i])
		}
	}
	for kind, count := range c.calls {
		if kind != message.Roots && kind != message.Purge && count != calls[kind] {
			tb.Errorf("%d calls of %s although nothing was written", count-calls[kind], kind)
		}
	}
	if c.calls[message.Roots] == calls[message.Roots] {
		tb.Error("roots were not compared")
	}
}

// TestOnlyDifferencesTravel: of many rows only the few that differ are pulled, and
// finding them costs at most twice their bytes.
// One row in 5,000 differs; the rows have 290 bytes.
func TestOnlyDifferencesTravel(t *testing.T) {
	long(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, func(cfg *Config) { cfg.Settle, cfg.Round = time.Second, time.Second })
		// Four ranges' worth of one table: 20,000 rows in four partitions.
		const partitions, each, diverged = 4, 5000, 1
		text := fmt.Sprintf("%0256d", 7)
		rng := rand.New(rand.NewPCG(1, 2))
		want := 0
		for p := range partitions {
			name := fmt.Sprint("p", p)
			lost := map[int]bool{}
			for len(lost) < diverged {
				lost[rng.IntN(each)] = true
			}
			for from := 0; from < each; from += 100 {
				var all, some [][]byte
				for i := from; i < from+100; i++ {
					e := put(t, name, i, 5, text)
					all = append(all, e)
					if !lost[i] {
						some = append(some, e)
					} else {
						want += len(e)
					}
				}
				first, second := c.nodes[0], c.nodes[1]
				if p%2 == 0 {
					first, second = second, first
				}
				first.apply(t, all...)
				second.apply(t, some...)
			}
		}
		c.run(t, 5*time.Second) // hash, and compare the equal ranges
		c.run(t, 30*time.Second)
		c.checkEqual(t)
		if c.rows != partitions*diverged {
			t.Errorf("%d rows travelled, %d differed", c.rows, partitions*diverged)
		}
		spent := 0 // the others are spent whether anything differs or not
		for kind, n := range c.bytes {
			if kind != message.Roots && kind != message.Purge {
				spent += n
			}
		}
		if spent > 3*want || spent < want {
			t.Errorf("%d bytes for rows of %d bytes: %v", spent, want, c.bytes)
		}
	})
}
