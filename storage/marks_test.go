package storage

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/storage/limits"
	"github.com/dunlindb/dunlin/token"
)

var (
	marksBytes  = flag.Int64("marks.bytes", 16<<20, "bytes that each side of BenchmarkMarkApply writes in a round")
	marksRate   = flag.Int("marks.rate", 0, "rows a second that each side of BenchmarkMarkApply writes; 0: as many as it can")
	marksRounds = flag.Int("marks.rounds", 1, "rounds of BenchmarkMarkApply")
)

// BenchmarkMarkApply compares the CPU of writing rows through the committers with
// that of the same bytes put raw into Pebble with the same options: both synced,
// 64 writers, groups of 100 rows, on the real file system, flushes and compactions
// to quiescence included. Rounds alternate; it reports µs of CPU a row, and the
// median and range of the rounds' ratios.
func BenchmarkMarkApply(b *testing.B) {
	for b.Loop() {
		var raw, applied, ratios []float64
		for round := range *marksRounds {
			r := markRaw(b, uint64(round))
			a := markEngine(b, uint64(round))
			raw, applied, ratios = append(raw, r), append(applied, a), append(ratios, a/r)
		}
		slices.Sort(ratios)
		b.ReportMetric(median(raw), "raw-cpu-us/row")
		b.ReportMetric(median(applied), "apply-cpu-us/row")
		b.ReportMetric(median(ratios), "ratio")
		b.ReportMetric(ratios[0], "ratio-min")
		b.ReportMetric(ratios[len(ratios)-1], "ratio-max")
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// cpuTime is what this process has used, user and system.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const (
	markWriters = 64
	markGroup   = 100
	markRow     = 320 // bytes of key and fragment, about
)

// markGroups gives each writer its groups of rows: events of 1,000 streams, as
// httpapi writes them, sorted by key.
func markGroups(seed uint64, writer int) func(n int) [][2][]byte {
	shape := record.Shape{Table: 1, Window: 7 * 24 * time.Hour, Clustering: []record.Component{{Kind: record.TimeUUID}}}
	random := rand.New(rand.NewPCG(seed, uint64(writer)))
	data := make([]byte, 256)
	for i := range data {
		data[i] = "abcdefghijklmnopqrstuvwxyz0123456789 /.:-=ABCDEF"[random.IntN(48)]
	}
	clock := uint64(1_760_000_000_000_000_0 + 122192928000000000)
	return func(n int) [][2][]byte {
		group := make([][2][]byte, 0, n)
		pk := fmt.Appendf(nil, "bench/%d", random.IntN(1000))
		for range n {
			clock += uint64(1 + random.IntN(100))
			var id [16]byte
			binary.BigEndian.PutUint32(id[0:], uint32(clock))
			binary.BigEndian.PutUint16(id[4:], uint16(clock>>32))
			binary.BigEndian.PutUint16(id[6:], uint16(clock>>48)&0xfff|0x1000)
			binary.BigEndian.PutUint64(id[8:], random.Uint64()&(1<<62-1)|1<<63)
			suffix, _ := shape.AppendSuffix(nil, id[:])
			key, _ := shape.AppendRowKey(nil, token.Of(pk), pk, suffix)
			ts := int64(clock / 10)
			row := record.Row{Liveness: record.Liveness{Timestamp: ts}, Cells: []record.Cell{{Column: 1, Timestamp: ts}, {Column: 2, Timestamp: ts, Value: data}}}
			group = append(group, [2][]byte{key, row.Append(nil)})
		}
		return group
	}
}

// markRun lets writers write until the volume is reached and the store is idle,
// and returns µs of CPU a row. The pace matters: the slower rows come, the oftener
// Pebble compacts them, so sides are comparable only at the same rate.
func markRun(b *testing.B, seed uint64, db *pebble.DB, write func([][2][]byte)) float64 {
	rows := *marksBytes / markRow
	var left atomic.Int64
	left.Store(rows)
	start, before := time.Now(), cpuTime(b)
	var wg sync.WaitGroup
	for w := range markWriters {
		wg.Go(func() {
			next := markGroups(seed, w)
			for {
				remaining := left.Add(-markGroup)
				if remaining < 0 {
					return
				}
				if *marksRate > 0 {
					due := time.Duration(rows-remaining) * time.Second / time.Duration(*marksRate)
					<-time.After(time.Until(start.Add(due)))
				}
				write(next(markGroup))
			}
		})
	}
	wg.Wait()
	settle(b, db)
	return float64((cpuTime(b) - before).Microseconds()) / float64(rows)
}

// settle flushes and waits until no compaction is left to do.
func settle(b *testing.B, db *pebble.DB) {
	if err := db.Flush(); err != nil {
		b.Fatal(err)
	}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for quiet := 0; quiet < 10; {
		<-ticker.C
		if m := db.Metrics(); m.Compact.NumInProgress == 0 && m.Flush.NumInProgress == 0 {
			quiet++
		} else {
			quiet = 0
		}
	}
}

func markConfig(b *testing.B) Config {
	cfg := DefaultConfig()
	cfg.Dir = filepath.Join(b.TempDir(), "data")
	return cfg
}

func markRaw(b *testing.B, seed uint64) float64 {
	env := testEnv(DefaultFS())
	env.Simulated = false
	cfg := markConfig(b)
	e := newEngine(cfg, env)
	defer e.health.Close()
	cache := pebble.NewCache(e.memory.total)
	defer cache.Unref()
	if err := e.env.FS.MkdirAll(cfg.Dir, 0o755); err != nil {
		b.Fatal(err)
	}
	db, err := pebble.Open(cfg.Dir, e.rowOptions(cache, limits.OpenFiles()))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	return markRun(b, seed, db, func(group [][2][]byte) {
		batch := db.NewBatch()
		for _, kv := range group {
			if err := batch.Merge(kv[0], kv[1], nil); err != nil {
				b.Error(err)
			}
		}
		if err := batch.Commit(pebble.Sync); err != nil {
			b.Error(err)
		}
	})
}

// markGroupItem is a group as a replica submits it.
type markGroupItem struct {
	group [][2][]byte
	done  chan error
}

func (m *markGroupItem) Bytes() int { return markRow * len(m.group) }
func (m *markGroupItem) Stage(batch *Batch) {
	for _, kv := range m.group {
		batch.Merge(kv[0], kv[1])
	}
}
func (m *markGroupItem) Done(err error) { m.done <- err }

func markEngine(b *testing.B, seed uint64) float64 {
	env := testEnv(DefaultFS())
	env.Simulated = false
	e, err := Open(markConfig(b), env)
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	return markRun(b, seed, e.rows, func(group [][2][]byte) {
		item := &markGroupItem{group: group, done: make(chan error, 1)}
		if err := e.Submit(0, item); err != nil {
			b.Error(err)
			return
		}
		if err := <-item.done; err != nil {
			b.Error(err)
		}
	})
}
