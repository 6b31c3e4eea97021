package stream

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkFill fills a range with 16 MiB of rows of about 250 bytes: reading,
// checking and storing the pages, on file systems in memory.
func BenchmarkFill(b *testing.B) {
	p := newPair(b, func(c *Config) { c.BytesPerSecond = 1 << 40 })
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
	sink := p.nodes[1].sink
	for b.Loop() {
		if err := sink.Fill(b.Context(), nodeID(0), target); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(sink.Progress()[0].Bytes))
		if _, err := sink.Forget(target); err != nil {
			b.Fatal(err)
		}
	}
}
