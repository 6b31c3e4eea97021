package coordinator

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// instant acknowledges at once, so that a benchmark sees the coordinator alone.
type instant struct{ *cluster }

func (instant) Apply(_ ring.NodeID, _ *transport.Group, _ time.Time, sink transport.Sink, tag uint32) {
	sink.Done(tag, transport.Verdict{})
}

// BenchmarkWrite is the coordinator's part of a quorum write of 256-byte rows on
// five nodes, three replicas.
func BenchmarkWrite(b *testing.B) {
	for _, rows := range []int{1, 100} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			cl := newCluster(b, 5, 3, nil)
			c := cl.nodes[0].coordinator
			c.env.Peers = instant{cl}
			table := cl.current().Table(testTable)
			value := make([]byte, 256)
			keys := make([][]byte, 1024)
			tokens := make([]token.Token, len(keys))
			for i := range keys {
				partition := binary.BigEndian.AppendUint64(nil, uint64(i)*0x9e3779b97f4a7c15)
				tokens[i] = token.Of(partition)
				keys[i] = rowKey(b, table, string(partition), i)
			}
			ctx := context.Background()
			b.ReportAllocs()
			next := 0
			for b.Loop() {
				w, err := c.NewWrite(ctx, WriteOptions{})
				if err != nil {
					b.Fatal(err)
				}
				for range rows {
					i := next % len(keys)
					next++
					if _, err := w.Add(table, tokens[i], keys[i], value); err != nil {
						b.Fatal(err)
					}
				}
				res, err := w.Commit(ctx)
				if err != nil || res.Err() != nil {
					b.Fatal(err, res.Err())
				}
				w.Release()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rows), "ns/row")
		})
	}
}

// BenchmarkRead is a read of one 256-byte row from replicas in memory that agree.
func BenchmarkRead(b *testing.B) {
	for _, level := range []Level{One, Quorum} {
		b.Run("level="+level.String(), func(b *testing.B) {
			r := newReplicas(b, 3, 3)
			n := r.nodes[0]
			if _, err := n.write(b, WriteOptions{Level: All}, func(w *Write) { put(b, w, "p", 1, string(make([]byte, 256))) }); err != nil {
				b.Fatal(err)
			}
			req := &ReadRequest{Table: r.current().Table(testTable), Partition: []byte("p"), Options: ReadOptions{Level: level}}
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				if result, err := n.coordinator.Read(ctx, req); err != nil || len(result.Rows) != 1 {
					b.Fatal(err)
				}
			}
		})
	}
}
