package replica

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/transport"
)

// metrics are the replica's counters; what every request touches is looked up once.
type metrics struct {
	appliedRows   prometheus.Counter
	appliedBytes  prometheus.Counter
	retiredRows   prometheus.Counter
	lateRows      prometheus.Counter
	purgedKeys    prometheus.Counter
	purgedBytes   prometheus.Counter
	fence         prometheus.Gauge
	quarantined   prometheus.Gauge
	refusedGroups [transport.Unreachable + 1]prometheus.Counter // by code
	refusedReads  *prometheus.CounterVec
	catchUps      prometheus.Counter
	corrupt       prometheus.Counter
	version       prometheus.Gauge
	read          prometheus.Observer
	digest        prometheus.Observer
	scan          prometheus.Observer
	readRows      prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "dunlin_replica_" + name, Help: help})
	}
	m := &metrics{
		appliedRows:  counter("applied_rows_total", "Rows applied and synced, repeated ones included."),
		appliedBytes: counter("applied_bytes_total", "Bytes of keys and fragments applied and synced."),
		retiredRows:  counter("retired_rows_total", "Rows dropped because they lie below their table's retention floor."),
		lateRows:     counter("late_rows_total", "Rows refused because they were born at or below the fence; anti-entropy has carried them."),
		purgedKeys:   counter("purged_keys_total", "Rows and heads of which deletions, deleted or expired data were dropped."),
		purgedBytes:  counter("purged_bytes_total", "Bytes of keys and fragments that purging has dropped."),
		catchUps:     counter("catalog_waits_total", "Requests that waited for this node's catalog to catch up."),
		corrupt:      counter("corrupt_reads_total", "Reads and scans that met corrupt data and were refused."),
		readRows:     counter("read_rows_total", "Visible rows found by reads and scans."),
	}
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dunlin_replica_refused_groups_total", Help: "Mutation groups refused, by reason.",
	}, []string{"reason"})
	m.refusedReads = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dunlin_replica_refused_reads_total", Help: "Reads and scans refused, by reason.",
	}, []string{"reason"})
	m.version = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "dunlin_replica_catalog_version", Help: "Catalog version that the replica serves by.",
	})
	m.fence = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "dunlin_replica_fence_seconds", Help: "The fence, in Unix seconds: groups born at or before it are refused.",
	})
	m.quarantined = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "dunlin_replica_quarantined_ranges", Help: "Ranges of which something cannot be read: they take writes and answer no reads.",
	})
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:                            "dunlin_replica_request_duration_seconds",
		Help:                            "Time that reads, digests and scans took on this replica, waiting for the catalog included.",
		Buckets:                         []float64{.00002, .00005, .0001, .0002, .0005, .001, .002, .005, .01, .05, .1, .5, 1, 5},
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}, []string{"op"})
	for _, c := range []prometheus.Collector{
		m.appliedRows, m.appliedBytes, m.retiredRows, m.lateRows, m.purgedKeys, m.purgedBytes, m.fence, m.quarantined, m.catchUps, m.corrupt, m.readRows, refused, m.refusedReads, m.version, duration,
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	for code := range m.refusedGroups {
		m.refusedGroups[code] = refused.WithLabelValues(transport.Code(code).String())
	}
	m.read, m.digest, m.scan = duration.WithLabelValues("read"), duration.WithLabelValues("digest"), duration.WithLabelValues("scan")
	return m, nil
}
