package antientropy

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/transport"
)

// only makes a row of these cells.
func only(tb testing.TB, partition string, number int, cells ...record.Cell) []byte {
	r := record.Row{Cells: cells}
	return record.AppendEntry(nil, key(tb, partition, number), r.Append(nil))
}

// deleted is the head of a partition that was deleted now, up to a timestamp.
func deleted(shape *record.Shape, partition string, ts int64) []byte {
	return head(shape, partition, record.Head{Deletion: record.Deletion{Timestamp: ts, Seconds: time.Now().Unix()}})
}

// checkEmpty reports nodes that still store something.
func (c *cluster) checkEmpty(tb testing.TB) {
	tb.Helper()
	for _, n := range c.nodes {
		if left := len(n.stored(tb)); left > 0 {
			tb.Errorf("node %d still stores %d keys", n.number, left)
		}
	}
}

// TestHotRowMissesATombstone: a replica that missed a cell's tombstone gets it though
// the row is written every second, so that its leaf never settles; and when the
// tombstone is purged, the cell that it hid is gone everywhere.
func TestHotRowMissesATombstone(t *testing.T) {
	long(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		ts := time.Now().UnixMicro()
		tombstone := only(t, "p1", 1, record.Cell{Column: column, Timestamp: ts + 1, Tombstone: true, Expiry: time.Now().Unix()})
		for i, n := range c.nodes {
			n.apply(t, only(t, "p1", 1, record.Cell{Column: column, Timestamp: ts, Value: []byte("deleted")}))
			if i < 2 {
				n.apply(t, tombstone)
			}
		}
		for i := range 40 * 60 {
			for _, n := range c.nodes {
				n.apply(t, only(t, "p1", 1, record.Cell{Column: column + 1, Timestamp: time.Now().UnixMicro(), Value: fmt.Append(nil, i)}))
			}
			c.run(t, time.Second)
		}
		for _, n := range c.nodes {
			var r record.Row
			if err := record.DecodeRow(n.stored(t)[string(key(t, "p1", 1))], &r); err != nil {
				t.Fatal(err)
			}
			if len(r.Cells) != 1 || r.Cells[0].Column != column+1 {
				t.Errorf("node %d: %+v", n.number, r)
			}
		}
	})
}

// TestHashedBeforeAndAfterAnExpiry: replicas that hashed a value before and after it
// expired, and one that has shrunk it, agree without a row being sent.
func TestHashedBeforeAndAfterAnExpiry(t *testing.T) {
	long(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		now := time.Now()
		brief := only(t, "p1", 1, record.Cell{
			Column: column, Timestamp: now.UnixMicro(), TTL: 120, Expiry: now.Unix() + 120, Value: make([]byte, 1000),
		})
		for _, n := range c.nodes {
			n.apply(t, brief)
		}
		c.nodes[0].steps(t, 10_000)
		time.Sleep(time.Minute) // settled
		c.nodes[0].steps(t, 10_000)
		time.Sleep(5 * time.Minute)
		c.nodes[1].steps(t, 10_000)
		c.run(t, time.Hour)
		c.checkEmpty(t)
		if n := c.calls[message.Rows] + c.calls[message.Pull]; n > 0 {
			t.Errorf("%d calls for rows although all had the same", n)
		}
	})
}

// TestDeletionReachesClosedWindows: a partition's deletion is carried to a replica
// that missed it, hides what lies in windows that were verified long ago, and in the
// end all of it is gone.
func TestDeletionReachesClosedWindows(t *testing.T) {
	long(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		ts := time.Now().UnixMicro()
		for day := range 20 {
			row := record.AppendEntry(nil, dayKey(t, "p1", 1+day), value(ts, "old"))
			for _, n := range c.nodes {
				n.apply(t, row)
			}
		}
		c.run(t, 5*time.Minute)
		clean := c.nodes[2].checkClean(t)
		deletion := deleted(&daysShape, "p1", ts+1)
		c.nodes[0].apply(t, deletion)
		c.run(t, 2*time.Minute)
		for _, n := range c.nodes {
			if seen := n.visible(t); len(seen) > 0 || clean < 20 {
				t.Errorf("node %d shows %d rows; %d leaves were clean", n.number, len(seen), clean)
			}
		}
		c.run(t, 40*time.Minute)
		c.checkEmpty(t)
	})
}

// TestOldDeletionByHint: a deletion with an old timestamp, accepted by one replica
// and held as a hint for another, is carried by anti-entropy when the hint does not
// come. The hint that comes after the purge is refused, and so is the row's.
func TestOldDeletionByHint(t *testing.T) {
	long(t)
	for _, purged := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 3, nil)
			born := time.Now()
			old := put(t, "p1", 1, 10, "old")
			for _, n := range c.nodes {
				n.apply(t, old)
			}
			deletion := head(&rowsShape, "p1", record.Head{Deletion: record.Deletion{Timestamp: 20, Seconds: born.Unix()}})
			newer := put(t, "p1", 2, 30, "newer")
			for _, n := range c.nodes[:2] {
				n.apply(t, deletion)
				n.apply(t, newer)
			}
			want := transport.OK
			if purged {
				c.run(t, 40*time.Minute)
				want = transport.Fenced
			}
			for _, hint := range [][]byte{old, deletion, newer} {
				if code := c.nodes[2].send(t, born, hint); code != want {
					t.Errorf("purged %v: a hint gets %v", purged, code)
				}
			}
			c.run(t, 40*time.Minute)
			for _, n := range c.nodes {
				if seen := n.visible(t); len(seen) != 1 || len(n.stored(t)) != 1 {
					t.Errorf("purged %v: node %d shows %v and stores %d keys", purged, n.number, seen, len(n.stored(t)))
				}
			}
		})
	}
}

// neighbours are two partitions of one range.
func neighbours() (one, other string) {
	for i := 0; ; i++ {
		if other = fmt.Sprint("q", i); rangeOf(other) == rangeOf("p1") {
			return "p1", other
		}
	}
}

// hot writes to a partition on all nodes, so that the leaf does not settle.
func (c *cluster) hot(tb testing.TB, partition string) {
	for _, n := range c.nodes {
		n.apply(tb, put(tb, partition, 1, time.Now().UnixMicro(), "hot"))
	}
}

// TestHiddenRowsGoFirst: in a leaf that never settles, rows that a deletion hides
// (written later, with an old timestamp) are there when it may go. They go before it.
func TestHiddenRowsGoFirst(t *testing.T) {
	long(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, nil)
		one, other := neighbours()
		ts := time.Now().UnixMicro()
		for _, n := range c.nodes {
			n.apply(t, put(t, one, 1, ts, "old"))
			n.apply(t, deleted(&rowsShape, one, ts+1))
		}
		purged := false
		for range 40 * 60 {
			c.hot(t, other)
			for _, n := range c.nodes {
				if n.ae.PurgePoint(schema.BuiltinKeyspace, rangeOf(one)) < ts/1e6 {
					n.apply(t, put(t, one, 1, ts, "old"))
				}
			}
			c.run(t, time.Second)
			for _, n := range c.nodes {
				if seen := n.visible(t, rangeOf(one)); len(seen) != 1 {
					t.Fatalf("node %d shows %v", n.number, seen)
				}
			}
			purged = len(c.nodes[0].stored(t, rangeOf(one))) == 1 && len(c.nodes[1].stored(t, rangeOf(one))) == 1
			if purged {
				break
			}
		}
		if !purged {
			t.Error("nothing was purged")
		}
	})
}

// TestStrippedRowsTravel: a replica that has purged a deletion pulls a row from one
// that has not, and gets nothing of what the deletion hides.
func TestStrippedRowsTravel(t *testing.T) {
	long(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, nil)
		one, other := neighbours()
		ts := time.Now().UnixMicro()
		a, b := c.nodes[0], c.nodes[1]
		for _, n := range c.nodes {
			n.apply(t, put(t, one, 1, ts, "old"))
			n.apply(t, deleted(&rowsShape, one, ts+1))
		}
		id := rangeOf(one)
		for began := time.Now(); a.ae.PurgePoint(schema.BuiltinKeyspace, id) < ts/1e6; time.Sleep(time.Second) {
			c.hot(t, other)
			b.steps(t, 10_000)
			a.steps(t, 10_000)
			if time.Since(began) > time.Hour {
				t.Fatal("nothing was purged")
			}
		}
		for range 30 {
			time.Sleep(time.Second)
			a.steps(t, 10_000) // b only answers from now on
		}
		if len(a.stored(t, id)) != 1 || len(b.stored(t, id)) < 2 {
			t.Fatalf("%d and %d keys are stored", len(a.stored(t, id)), len(b.stored(t, id)))
		}
		b.apply(t, put(t, one, 1, ts, "old")) // as if it had not been looked for yet
		newer := only(t, one, 1, record.Cell{Column: column + 1, Timestamp: ts + 2, Value: []byte("new")})
		b.apply(t, newer)
		for range 20 {
			time.Sleep(10 * time.Second)
			a.steps(t, 10_000)
		}
		var r record.Row
		if err := record.DecodeRow(a.stored(t, id)[string(key(t, one, 1))], &r); err != nil {
			t.Fatalf("it was not pulled: %v", err)
		}
		if len(r.Cells) != 1 || r.Cells[0].Column != column+1 || !r.Liveness.IsZero() {
			t.Errorf("%+v came back", r)
		}
	})
}

// TestEveryPairCounts: two of three replicas that cannot compare with each other hold
// the purge point back on all three, although the third is equal to both.
func TestEveryPairCounts(t *testing.T) {
	long(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		cut := true
		c.intercept = func(from, to int, kind string, _ []byte) error {
			if cut && from+to == 3 && kind != message.Purge {
				return errors.New("the line is cut")
			}
			return nil
		}
		for _, n := range c.nodes {
			n.apply(t, deleted(&rowsShape, "p1", 1))
		}
		c.run(t, time.Hour)
		for _, n := range c.nodes {
			if point := n.ae.PurgePoint(schema.BuiltinKeyspace, rangeOf("p1")); point > 0 || len(n.stored(t)) != 1 {
				t.Errorf("node %d has purge point %d and stores %d keys", n.number, point, len(n.stored(t)))
			}
		}
		cut = false
		c.run(t, time.Hour)
		c.checkEmpty(t)
	})
}
