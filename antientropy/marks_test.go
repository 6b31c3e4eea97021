package antientropy

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

var marksRows = flag.Int("marks.rows", 20_000, "rows that each node of BenchmarkMarkRepair holds")

const (
	markDiverged  = 1000 // rows that one side lacks
	markPartition = 1000 // rows in a partition
)

// settleUp steps all nodes until every range is verified since a moment.
func (c *cluster) settleUp(tb testing.TB, since time.Time) {
	tb.Helper()
	for range 1_000_000 {
		busy := false
		for _, n := range c.nodes {
			idle, err := n.ae.Step(tb.Context())
			if err != nil {
				tb.Fatal(err)
			}
			busy = busy || !idle
		}
		if busy {
			continue
		}
		done := true
		for _, n := range c.nodes {
			for id := token.RangeID(0); done && id < token.Ranges; id++ {
				at := n.ae.Verified(schema.BuiltinKeyspace, id, nodeID(1-n.number))
				done = at.Time().After(since)
			}
		}
		if done {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	tb.Fatal("some range is never verified")
}

// spent is what was said about differences, in bytes.
func (c *cluster) spent() (bytes int) {
	for kind, n := range c.bytes {
		if kind != message.Roots && kind != message.Purge {
			bytes += n
		}
	}
	return bytes
}

// BenchmarkMarkRepair measures, with two nodes that hold -marks.rows rows of 290
// bytes: hashing all of them, a round in which nothing differs, and a repair of
// 1,000 rows that one side lacks. One operation is all of that; -benchtime 1x.
func BenchmarkMarkRepair(b *testing.B) {
	for range b.N {
		markRepair(b)
	}
}

func markRepair(b *testing.B) {
	c := newCluster(b, 2, func(cfg *Config) { cfg.Settle, cfg.Round = 50*time.Millisecond, 50*time.Millisecond })
	text := fmt.Sprintf("%0256d", 7)
	rng := rand.New(rand.NewPCG(1, 2))
	for from := 0; from < *marksRows; from += 100 {
		var group [][]byte
		for i := from; i < from+100; i++ {
			group = append(group, put(b, fmt.Sprint("p", i/markPartition), i%markPartition, 1, text))
		}
		for _, n := range c.nodes {
			n.apply(b, group...)
		}
	}
	a := c.nodes[0]
	began := time.Now()
	c.settleUp(b, began)
	b.ReportMetric(float64(time.Since(began).Nanoseconds())/float64(2**marksRows), "hash-ns/row")

	time.Sleep(c.cfg.Round)
	read, spent := a.counter(a.ae.metrics.rowsRead), c.spent()
	began = time.Now()
	c.settleUp(b, began)
	b.ReportMetric(float64(time.Since(began).Milliseconds()), "clean-round-ms")
	b.ReportMetric(float64(a.counter(a.ae.metrics.rowsRead)-read), "clean-round-rows")
	if c.spent() > spent {
		b.Error("equal replicas have something to say")
	}

	want := 0
	for i := range markDiverged {
		e := put(b, fmt.Sprint("p", rng.IntN(*marksRows/markPartition)), markPartition+i, 1, text)
		want += len(e)
		c.nodes[rng.IntN(2)].apply(b, e)
	}
	began = time.Now()
	c.settleUp(b, began)
	b.ReportMetric(float64(c.spent()-spent)/float64(want), "sent-bytes/byte")
	b.ReportMetric(float64(time.Since(began).Milliseconds()), "repair-ms")
	if n := a.content(b); len(n) != *marksRows+markDiverged {
		b.Errorf("node 0 holds %d keys", len(n))
	}
}
