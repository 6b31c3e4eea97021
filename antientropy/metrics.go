package antientropy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the package's counters.
type metrics struct {
	sessions   *prometheus.CounterVec // by outcome
	compared   prometheus.Counter
	rowsPulled prometheus.Counter
	bytePulled prometheus.Counter
	sent       prometheus.Counter
	received   prometheus.Counter
	leaves     prometheus.Counter
	rowsRead   prometheus.Counter
	refused    *prometheus.CounterVec // by reason
	corrupt    prometheus.Counter
	conflicts  prometheus.Counter
	oldest     prometheus.Gauge
	never      prometheus.Gauge
	dirty      prometheus.Gauge
	clean      prometheus.Gauge
	step       prometheus.Observer
}

func newMetrics(reg prometheus.Registerer) *metrics {
	with := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return with.NewCounter(prometheus.CounterOpts{Name: "dunlin_antientropy_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return with.NewGauge(prometheus.GaugeOpts{Name: "dunlin_antientropy_" + name, Help: help})
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		return with.NewCounterVec(prometheus.CounterOpts{Name: "dunlin_antientropy_" + name, Help: help}, []string{label})
	}
	return &metrics{
		sessions:   vector("sessions_total", "Sessions with peers about one range, by outcome.", "outcome"),
		compared:   counter("equal_ranges_total", "Ranges verified because a peer's root was equal."),
		rowsPulled: counter("pulled_rows_total", "Rows pulled from peers, applied and synced."),
		bytePulled: counter("pulled_bytes_total", "Bytes of keys and fragments pulled from peers, applied and synced."),
		sent:       counter("sent_bytes_total", "Bytes of questions to peers and of answers to them."),
		received:   counter("received_bytes_total", "Bytes of answers from peers and of their questions."),
		leaves:     counter("hashed_leaves_total", "Leaves hashed because they were written."),
		rowsRead:   counter("read_rows_total", "Rows read to hash and to compare leaves, and to answer peers."),
		refused:    vector("refused_requests_total", "Questions of peers that were refused, by reason.", "reason"),
		corrupt:    counter("corrupt_reads_total", "Walks through leaves that met corrupt data and ended."),
		conflicts:  counter("conflicts_total", "Rows of append-only tables that a peer has with another payload for the id."),
		oldest:     gauge("oldest_unverified_seconds", "Age of the oldest verification of any range with any peer; of ranges never verified, the time since that was first wanted."),
		never:      gauge("never_verified_ranges", "Ranges, by keyspace and peer, that were never verified."),
		dirty:      gauge("dirty_leaves", "Leaves that were written since they were hashed."),
		clean:      gauge("clean_leaves", "Leaves whose hash is valid."),
		step: with.NewHistogram(prometheus.HistogramOpts{
			Name: "dunlin_antientropy_step_duration_seconds", Help: "Time that steps took which had something to do.",
			Buckets: prometheus.ExponentialBuckets(100e-6, 4, 9), NativeHistogramBucketFactor: 1.1,
			NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}),
	}
}
