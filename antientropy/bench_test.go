package antientropy

import (
	"fmt"
	"testing"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/token"
)

// BenchmarkCleanRound compares the roots of all ranges of two nodes with several
// thousand leaves, all clean and seen before; one operation is one round. No row
// is read.
func BenchmarkCleanRound(b *testing.B) {
	c := newCluster(b, 2, nil)
	n := c.nodes[0]
	for i := range 2000 {
		e := put(b, fmt.Sprint("p", i), 1, 1, "v")
		day := record.AppendEntry(nil, dayKey(b, fmt.Sprint("p", i), 1+i%20), value(1, "v"))
		for _, n := range c.nodes {
			n.apply(b, e, day)
		}
	}
	leaves := 0
	for _, n := range c.nodes {
		for id := range token.RangeID(token.Ranges) {
			states, err := n.Leaves(b.Context(), id)
			if err != nil {
				b.Fatal(err)
			}
			var cuts []record.LeafCut
			for _, l := range states {
				ticket, err := n.CutLeaf(b.Context(), l.Leaf)
				if err != nil {
					b.Fatal(err)
				}
				cuts = append(cuts, record.LeafCut{Leaf: l.Leaf, Ticket: ticket, LeafContent: record.LeafContent{Keys: 1, Bytes: 1}})
			}
			if _, err := n.KeepLeaves(b.Context(), cuts); err != nil {
				b.Fatal(err)
			}
			leaves += len(cuts)
		}
		if err := n.ae.prepare(n.View()); err != nil {
			b.Fatal(err)
		}
	}
	p := n.ae.plan.order[0]
	round := func() {
		if err := n.ae.compareRoots(b.Context(), n.View(), p); err != nil {
			b.Fatal(err)
		}
	}
	round()
	read, sent := n.counter(n.ae.metrics.rowsRead), c.bytes[message.Roots]
	b.ReportAllocs()
	for b.Loop() {
		round()
	}
	if n.counter(n.ae.metrics.rowsRead) != read || len(p.queue) > 0 {
		b.Error("rows were read, or something differs")
	}
	b.ReportMetric(float64(leaves/2), "leaves")
	b.ReportMetric(float64(c.bytes[message.Roots]-sent)/float64(b.N), "bytes/op")
}
