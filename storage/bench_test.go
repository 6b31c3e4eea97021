package storage

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/token"
)

// benchEngine is an engine on the real file system.
func benchEngine(b *testing.B) *Engine {
	env := testEnv(DefaultFS())
	env.Simulated = false
	cfg := DefaultConfig()
	cfg.Dir, cfg.DiskReserve = filepath.Join(b.TempDir(), "data"), 0
	e, err := Open(cfg, env)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := e.Close(); err != nil {
			b.Error(err)
		}
	})
	return e
}

// BenchmarkApply writes groups of 100 rows through a committer, 64 in flight;
// one operation is one row. BenchmarkRawPebble is what it costs without us.
func BenchmarkApply(b *testing.B) {
	e := benchEngine(b)
	b.ReportAllocs()
	benchGroups(b, func(group [][2][]byte) error {
		item := &markGroupItem{group: group, done: make(chan error, 1)}
		if err := e.Submit(0, item); err != nil {
			return err
		}
		return <-item.done
	})
}

// BenchmarkRawPebble puts the same groups into the same store by batch.Commit.
func BenchmarkRawPebble(b *testing.B) {
	e := benchEngine(b)
	b.ReportAllocs()
	benchGroups(b, func(group [][2][]byte) error {
		batch := e.rows.NewBatch()
		for _, kv := range group {
			if err := batch.Merge(kv[0], kv[1], nil); err != nil {
				return err
			}
		}
		return batch.Commit(pebble.Sync)
	})
}

// benchGroups gives 64 writers groups made beforehand.
func benchGroups(b *testing.B, write func([][2][]byte) error) {
	groups := make(chan [][2][]byte, b.N/markGroup+1)
	next := markGroups(1, 0)
	for left := b.N; left > 0; left -= markGroup {
		groups <- next(min(left, markGroup))
	}
	close(groups)
	b.ResetTimer()
	var wg sync.WaitGroup
	for range markWriters {
		wg.Go(func() {
			for group := range groups {
				if err := write(group); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkSlice reads the newest 20 and all 100 rows of a stream.
func BenchmarkSlice(b *testing.B) {
	e := benchEngine(b)
	next := markGroups(1, 0)
	var keys [][]byte
	for range 500 {
		group := next(100)
		item := &markGroupItem{group: group, done: make(chan error, 1)}
		if err := e.Submit(0, item); err != nil {
			b.Fatal(err)
		}
		if err := <-item.done; err != nil {
			b.Fatal(err)
		}
		keys = append(keys, group[0][0])
	}
	if err := e.rows.Flush(); err != nil {
		b.Fatal(err)
	}
	shape := record.Shape{Table: 1, Window: 7 * 24 * time.Hour, Clustering: []record.Component{{Kind: record.TimeUUID}}}
	for _, rows := range []int{1, 20, 100} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			b.ReportAllocs()
			var out Slice
			for i := 0; b.Loop(); i++ {
				k, err := record.ParseKey(keys[i%len(keys)])
				if err != nil {
					b.Fatal(err)
				}
				q := SliceRequest{Shape: &shape, Token: token.Of(k.Partition), Partition: k.Partition, Reverse: true, MaxRows: rows, MaxBytes: 1 << 20, Now: 1}
				if err := e.Slice(&q, &out); err != nil || out.Count < 1 {
					b.Fatalf("%d rows: %v", out.Count, err)
				}
			}
		})
	}
}

// BenchmarkScanPage reads pages of 100 rows of a token range.
func BenchmarkScanPage(b *testing.B) {
	e := benchEngine(b)
	next := markGroups(1, 0)
	for range 500 {
		item := &markGroupItem{group: next(100), done: make(chan error, 1)}
		if err := e.Submit(0, item); err != nil {
			b.Fatal(err)
		}
		if err := <-item.done; err != nil {
			b.Fatal(err)
		}
	}
	shape := record.Shape{Table: 1, Window: 7 * 24 * time.Hour, Clustering: []record.Component{{Kind: record.TimeUUID}}}
	b.ReportAllocs()
	var out ScanAnswer
	q := ScanRequest{Shape: &shape, From: token.Min, To: token.Max, MaxRows: 100, MaxBytes: 1 << 20, Now: 1}
	for b.Loop() {
		if err := e.Scan(&q, &out); err != nil || out.Live == 0 {
			b.Fatalf("%d rows: %v", out.Live, err)
		}
		q.After = out.Next
	}
}
