package stream

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// BenchmarkFill fills a range of a node that is new with 16 MiB of rows of about 250
// bytes, without the rests that leave room for clients: reading, checking and storing
// the pages, on file systems in memory.
func BenchmarkFill(b *testing.B) {
	p := newPair(b, func(c *Config) {
		c.BytesPerSecond, c.Rest, c.PersistPages = 1<<40, 0, DefaultConfig().PersistPages
	})
	target := p.target(b)
	text := strings.Repeat("0123456789abcdef", 12)
	for _, name := range partitions(target.Range, 64) {
		for from := 0; from < 1024; from += 128 {
			var entries [][]byte
			for n := range 128 {
				entries = append(entries, put(b, &rowsShape, name, from+n, int64(n+1), fmt.Sprint(text, n)))
			}
			p.nodes[0].apply(b, entries...)
		}
	}
	p.memory = 256 << 20
	for b.Loop() {
		b.StopTimer()
		fresh := p.nodes[1]
		fresh.close(b)
		fresh.fs = vfs.NewMem()
		p.open(b, fresh)
		adopt(b, fresh.view, fresh)
		b.StartTimer()
		if err := fresh.sink.Fill(b.Context(), nodeID(0), target); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(fresh.sink.Progress()[0].Bytes))
	}
}
