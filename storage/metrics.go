package storage

import (
	"strconv"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the package's own counters, and a collector of Pebble's.
type metrics struct {
	overloads      prometheus.Counter
	commitFailures prometheus.Counter
	poison         prometheus.Counter
	stalls         prometheus.Counter
	slow           prometheus.Counter
	background     prometheus.Counter
	corruption     prometheus.Counter
	diskFull       prometheus.Counter
	batchItems     prometheus.Histogram
	batchBytes     prometheus.Histogram
	commitSeconds  prometheus.Histogram
	pebble         *pebbleCollector
}

func newMetrics(reg prometheus.Registerer) *metrics {
	with := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return with.NewCounter(prometheus.CounterOpts{Name: "dunlin_storage_" + name, Help: help})
	}
	m := &metrics{
		overloads:      counter("queue_overloads_total", "Writes refused because a committer's queue was full, or compactions are behind."),
		commitFailures: counter("commit_failures_total", "Batches that could not be committed."),
		poison:         counter("poisoned_merges_total", "Merges that met an operand of an unknown encoding and kept all operands."),
		stalls:         counter("write_stalls_total", "Times that the row store stopped writes because it was behind."),
		slow:           counter("slow_disk_operations_total", "Disk operations that took unusually long."),
		background:     counter("background_errors_total", "Flushes and compactions that failed and will be tried again."),
		corruption:     counter("corrupt_blocks_total", "Damaged blocks that reads or compactions met."),
		diskFull:       counter("disk_full_refusals_total", "Batches of writes refused because less than the reserve was free."),
		batchItems: with.NewHistogram(prometheus.HistogramOpts{
			Name: "dunlin_storage_batch_items", Help: "Items in each drained queue of a committer.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 12), NativeHistogramBucketFactor: 1.1,
		}),
		batchBytes: with.NewHistogram(prometheus.HistogramOpts{
			Name: "dunlin_storage_batch_bytes", Help: "Size of each committed batch.",
			Buckets: prometheus.ExponentialBuckets(256, 4, 8), NativeHistogramBucketFactor: 1.1,
		}),
		commitSeconds: with.NewHistogram(prometheus.HistogramOpts{
			Name: "dunlin_storage_commit_seconds", Help: "Time from a batch's commit until it is as durable as configured: with sync durability, mostly the fsync.",
			Buckets: prometheus.ExponentialBuckets(50e-6, 2, 16), NativeHistogramBucketFactor: 1.1,
		}),
		pebble: newPebbleCollector(),
	}
	reg.MustRegister(m.pebble)
	return m
}

// watch lets the collector read an open engine; unwatch ends that before the
// stores close.
func (m *metrics) watch(e *Engine) {
	m.pebble.mu.Lock()
	defer m.pebble.mu.Unlock()
	m.pebble.engine = e
}

func (m *metrics) unwatch() {
	m.pebble.mu.Lock()
	defer m.pebble.mu.Unlock()
	m.pebble.engine = nil
}

// gauge is one of Pebble's figures.
type gauge struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(*pebble.Metrics) float64
}

// pebbleCollector exports Pebble's own metrics, by store.
type pebbleCollector struct {
	gauges []gauge
	levels *prometheus.Desc
	queued *prometheus.Desc
	mu     sync.Mutex // guards engine
	engine *Engine    // nil while none is open
}

func newPebbleCollector() *pebbleCollector {
	c := &pebbleCollector{}
	add := func(name, help string, kind prometheus.ValueType, read func(*pebble.Metrics) float64) {
		c.gauges = append(c.gauges, gauge{prometheus.NewDesc("dunlin_storage_pebble_"+name, help, []string{"store"}, nil), kind, read})
	}
	c.levels = prometheus.NewDesc("dunlin_storage_pebble_level_bytes", "Size of each level of the row store.", []string{"level"}, nil)
	c.queued = prometheus.NewDesc("dunlin_storage_queue_bytes", "Bytes of the items that each committer has not answered.", []string{"committer"}, nil)
	const g, n = prometheus.GaugeValue, prometheus.CounterValue
	add("disk_bytes", "Bytes on disk, logs and obsolete files included.", g, func(m *pebble.Metrics) float64 { return float64(m.DiskSpaceUsage()) })
	add("wal_bytes", "Size of the live write-ahead log.", g, func(m *pebble.Metrics) float64 { return float64(m.WAL.Size) })
	add("wal_written_bytes_total", "Bytes written to the write-ahead log.", n, func(m *pebble.Metrics) float64 { return float64(m.WAL.BytesWritten) })
	add("memtable_bytes", "Memory of the memtables.", g, func(m *pebble.Metrics) float64 { return float64(m.MemTable.Size) })
	add("memtables", "Number of memtables.", g, func(m *pebble.Metrics) float64 { return float64(m.MemTable.Count) })
	add("flushes_total", "Memtables flushed.", n, func(m *pebble.Metrics) float64 { return float64(m.Flush.Count) })
	add("compactions_total", "Compactions done.", n, func(m *pebble.Metrics) float64 { return float64(m.Compact.Count) })
	add("compaction_debt_bytes", "Bytes that compactions still have to move.", g, func(m *pebble.Metrics) float64 { return float64(m.Compact.EstimatedDebt) })
	add("compactions_running", "Compactions in progress.", g, func(m *pebble.Metrics) float64 { return float64(m.Compact.NumInProgress) })
	add("read_amplification", "Sorted runs that a read may have to look at.", g, func(m *pebble.Metrics) float64 { return float64(m.ReadAmp()) })
	add("level0_sublevels", "Sublevels of level 0; writes stop at 40.", g, func(m *pebble.Metrics) float64 { return float64(m.Levels[0].Sublevels) })
	add("failed_compactions_total", "Compactions that failed.", n, func(m *pebble.Metrics) float64 { return float64(m.Compact.FailedCount) })
	add("flushed_bytes_total", "Bytes of tables that flushes wrote.", n, func(m *pebble.Metrics) float64 { return float64(m.Levels[0].TableBytesFlushed) })
	add("compacted_bytes_total", "Bytes of tables that compactions wrote.", n, compacted)
	add("tables", "Table files.", g, func(m *pebble.Metrics) float64 { return float64(m.Total().TablesCount) })
	add("obsolete_bytes", "Table files that are no longer needed, or only by open reads.", g, func(m *pebble.Metrics) float64 { return float64(m.Table.ObsoleteSize + m.Table.ZombieSize) })
	add("log_queue", "Mean length of the queue of log blocks to be written.", g, func(m *pebble.Metrics) float64 { return m.LogWriter.PendingBufferLen.Mean() })
	add("block_cache_bytes", "Size of the block cache, which the stores share.", g, func(m *pebble.Metrics) float64 { return float64(m.BlockCache.Size) })
	add("block_cache_hits_total", "Block cache hits.", n, func(m *pebble.Metrics) float64 { return float64(m.BlockCache.Hits) })
	add("block_cache_misses_total", "Block cache misses.", n, func(m *pebble.Metrics) float64 { return float64(m.BlockCache.Misses) })
	add("filter_hits_total", "Reads that a bloom filter spared.", n, func(m *pebble.Metrics) float64 { return float64(m.Filter.Hits) })
	add("filter_misses_total", "Reads that a bloom filter let through.", n, func(m *pebble.Metrics) float64 { return float64(m.Filter.Misses) })
	return c
}

func compacted(m *pebble.Metrics) float64 {
	var total uint64
	for i := range m.Levels {
		total += m.Levels[i].TableBytesCompacted
	}
	return float64(total)
}

// Describe lists the figures.
func (c *pebbleCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, g := range c.gauges {
		ch <- g.desc
	}
	ch <- c.levels
	ch <- c.queued
}

// Collect reads the figures; nothing while no engine is open.
func (c *pebbleCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	e := c.engine
	c.mu.Unlock()
	if e == nil || !e.gate.Enter() {
		return
	}
	defer e.gate.Leave()
	for _, s := range e.stores() {
		m := s.db.Metrics()
		for _, g := range c.gauges {
			ch <- prometheus.MustNewConstMetric(g.desc, g.kind, g.read(m), s.name)
		}
		if s.name != rowsDir {
			continue
		}
		for i := range m.Levels {
			ch <- prometheus.MustNewConstMetric(c.levels, prometheus.GaugeValue, float64(m.Levels[i].TablesSize), strconv.Itoa(i))
		}
	}
	for i, committer := range e.committers {
		_, bytes := committer.load()
		ch <- prometheus.MustNewConstMetric(c.queued, prometheus.GaugeValue, float64(bytes), strconv.Itoa(i))
	}
}
