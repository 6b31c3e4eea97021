package storage

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/token"
)

var (
	fillRate   = flag.Int("fill.rate", 10_000, "rows a second that others write during BenchmarkFill")
	fillPages  = flag.Int("fill.pages", 16, "pages of a range of BenchmarkFill")
	fillWindow = flag.Int("fill.window", 1<<20, "rows of a range and window of BenchmarkFill")
)

// fillWays are the ways to store pages that BenchmarkFill compares: each as an item
// of the committer's queue; or as tables of merge records, one for each leaf, which
// are ingested between two batches, page by page or a range at once. The item is what
// replica.Apply does. Tables cost less while they are large and nothing else is
// written to their ranges, and more when either is not so: an ingestion that meets
// rows in the memtable has that flushed, and small leaves become small tables.
var fillWays = []string{"item", "ingest", "ingest-range"}

// BenchmarkFill stores pages of 1 MiB, rows of about 250 bytes in key order, range by
// range, as a node does that becomes a replica, on the real file system. One operation
// is a range. Others write groups of 100 rows meanwhile: none, to other ranges, or to
// the same ones. CPU is measured until everything is flushed and compacted.
func BenchmarkFill(b *testing.B) {
	for _, way := range fillWays {
		for _, others := range []string{"none", "elsewhere", "same"} {
			b.Run(way+"/others="+others, func(b *testing.B) { benchFill(b, way, others) })
		}
	}
}

func benchFill(b *testing.B, way, others string) {
	f := &filler{engine: benchEngine(b)}
	if err := f.engine.env.FS.MkdirAll(f.path(""), 0o755); err != nil {
		b.Fatal(err)
	}
	ranges := make([][][][2][]byte, b.N)
	for i := range ranges {
		ranges[i] = fillRange(token.RangeID(i%(token.Ranges/2)), *fillPages)
	}
	groups := fillOthers(others, ranges)
	stop, stopped := make(chan struct{}), make(chan struct{})
	before := cpuTime(b)
	b.ResetTimer()
	go func() {
		defer close(stopped)
		f.others(stop, groups)
	}()
	var longest time.Duration
	for _, pages := range ranges {
		for n, page := range pages {
			begun := time.Now()
			if err := f.store(way, page, n == len(pages)-1); err != nil {
				b.Fatal(err)
			}
			longest = max(longest, time.Since(begun))
		}
	}
	b.StopTimer()
	close(stop)
	<-stopped
	m := f.settle(b)
	pages := float64(b.N * *fillPages)
	rows := pages*float64(len(ranges[0][0])) + float64(f.written.Load())
	bytes := float64(m.WAL.BytesWritten) + float64(m.Total().TableBytesFlushed+m.Total().TableBytesIngested) + compacted(m)
	b.ReportMetric(pages/b.Elapsed().Seconds(), "MiB/s")
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/rows, "cpu-us/row")
	b.ReportMetric(bytes/(pages*(1<<20)+float64(f.written.Load())*250), "written/byte")
	b.ReportMetric(float64(longest.Milliseconds()), "longest-ms")
	b.ReportMetric(float64(f.refused.Load()), "refused")
	b.ReportMetric(float64(m.Flush.Count), "flushes")
	b.ReportMetric(float64(m.Total().TablesCount), "tables")
}

// fillRange makes the pages of a range.
func fillRange(id token.RangeID, count int) (pages [][][2][]byte) {
	shape := record.Shape{Table: 1, Window: 7 * 24 * time.Hour, Clustering: []record.Component{{Kind: record.Timestamp}}}
	text := fillText()
	for number := 0; len(pages) < count; {
		var page [][2][]byte
		for size := 0; size < 1<<20; number++ {
			place, window := number%*fillWindow, number / *fillWindow
			at := time.UnixMilli(1_700_000_000_000 + int64(place%16)).Add(time.Duration(window) * shape.Window)
			suffix, _ := shape.AppendSuffix(nil, binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli())))
			key, _ := shape.AppendRowKey(nil, id.First()+token.Token(place/16), fmt.Appendf(nil, "stream/%d", place/16), suffix)
			from := (number*7919 + int(id)*104729) % (len(text) - 200)
			row := record.Row{Liveness: record.Liveness{Timestamp: 1}, Cells: []record.Cell{{Column: 2, Timestamp: 1, Value: text[from : from+190]}}}
			page = append(page, [2][]byte{key, row.Append(nil)})
			size += len(key) + len(page[len(page)-1][1])
		}
		pages = append(pages, page)
	}
	return pages
}

// fillText is what values are cut from.
func fillText() []byte {
	var text []byte
	for writer := 0; len(text) < 1<<18; writer++ {
		text = append(text, markGroups(1, writer)(1)[0][1]...)
	}
	return text
}

// fillOthers makes groups of 100 rows of other ranges, or of those that are filled.
func fillOthers(which string, ranges [][][][2][]byte) (groups [][][2][]byte) {
	for i := range 200 {
		switch which {
		case "elsewhere":
			groups = append(groups, fillRange(token.RangeID(token.Ranges/2+i), 1)[0][:100])
		case "same":
			var group [][2][]byte
			for k := range 100 {
				pages := ranges[(i*7+k)%len(ranges)]
				page := pages[(i+k*3)%len(pages)]
				group = append(group, page[(i*31+k*17)%len(page)])
			}
			groups = append(groups, group)
		}
	}
	return groups
}

// filler stores pages.
type filler struct {
	engine  *Engine
	waiting []string // tables
	tables  int

	written, refused atomic.Int64 // rows, groups of others
}

func (f *filler) path(name string) string { return filepath.Join(f.engine.cfg.Dir, "fill", name) }

// others writes groups in turn, at fillRate.
func (f *filler) others(stop <-chan struct{}, groups [][][2][]byte) {
	begun := time.Now()
	for i := 0; len(groups) > 0; i++ {
		due := begun.Add(time.Duration(i) * 100 * time.Second / time.Duration(*fillRate))
		select {
		case <-stop:
			return
		case <-time.After(time.Until(due)):
		}
		if err := f.item(groups[i%len(groups)]); err != nil {
			f.refused.Add(1)
			continue
		}
		f.written.Add(100)
	}
}

func (f *filler) item(rows [][2][]byte) error {
	item := &markGroupItem{group: rows, done: make(chan error, 1)}
	if err := f.engine.Submit(0, item); err != nil {
		return err
	}
	return <-item.done
}

// store stores a page, which may be the last of its range.
func (f *filler) store(way string, page [][2][]byte, last bool) error {
	if way == "item" {
		return f.item(page)
	}
	for len(page) > 0 {
		leaf, _ := record.LeafOf(page[0][0])
		n := slices.IndexFunc(page, func(row [2][]byte) bool {
			l, _ := record.LeafOf(row[0])
			return l != leaf
		})
		if n < 0 {
			n = len(page)
		}
		if err := f.table(page[:n]); err != nil {
			return err
		}
		page = page[n:]
	}
	if strings.HasSuffix(way, "range") && !last {
		return nil
	}
	tables := f.waiting
	f.waiting = nil
	return f.engine.Between(context.Background(), 0, func() error { return f.engine.rows.Ingest(context.Background(), tables) })
}

// table writes a table of merge records.
func (f *filler) table(rows [][2][]byte) error {
	f.tables++
	path := f.path(fmt.Sprint(f.tables, ".sst"))
	file, err := f.engine.env.FS.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(file), sstable.WriterOptions{
		TableFormat: f.engine.rows.TableFormat(), MergerName: mergerName, BlockSize: 16 << 10, Compression: sstable.MinLZCompression,
	})
	for _, row := range rows {
		if err := w.Merge(row[0], row[1]); err != nil {
			return err
		}
	}
	f.waiting = append(f.waiting, path)
	return w.Close()
}

// settle waits until everything is flushed and compacted.
func (f *filler) settle(b *testing.B) *pebble.Metrics {
	if err := f.engine.rows.Flush(); err != nil {
		b.Fatal(err)
	}
	for {
		if m := f.engine.rows.Metrics(); m.Compact.NumInProgress == 0 && m.Levels[0].Sublevels < 8 {
			return m
		}
		time.Sleep(10 * time.Millisecond)
	}
}
