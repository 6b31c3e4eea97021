package stream

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// sourceMetrics count what is read for others.
type sourceMetrics struct {
	pages, rows, bytes prometheus.Counter
	refused            *prometheus.CounterVec // by reason
}

func newSourceMetrics(r prometheus.Registerer) *sourceMetrics {
	with := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return with.NewCounter(prometheus.CounterOpts{Name: "dunlin_stream_" + name, Help: help})
	}
	return &sourceMetrics{
		pages: counter("served_pages_total", "Pages of ranges read for nodes that become replicas of them."),
		rows:  counter("served_rows_total", "Rows and heads in those pages."),
		bytes: counter("served_bytes_total", "Bytes of keys and fragments in those pages."),
		refused: with.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_stream_refused_pages_total", Help: "Pages that other nodes asked for and were refused, by reason.",
		}, []string{"reason"}),
	}
}

// sinkMetrics count what ranges here are filled with.
type sinkMetrics struct {
	pages, rows, bytes prometheus.Counter
	repeated, waited   prometheus.Counter
	filling            prometheus.Gauge
}

func newSinkMetrics(r prometheus.Registerer) *sinkMetrics {
	with := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return with.NewCounter(prometheus.CounterOpts{Name: "dunlin_stream_" + name, Help: help})
	}
	return &sinkMetrics{
		pages:    counter("filled_pages_total", "Pages of ranges pulled from other replicas and stored."),
		rows:     counter("filled_rows_total", "Rows and heads in those pages."),
		bytes:    counter("filled_bytes_total", "Bytes of keys and fragments in those pages."),
		repeated: counter("repeated_pages_total", "Pages that were damaged on their way, refused for want of room, or too late, and asked for again."),
		waited:   counter("limited_seconds_total", "Time that filling waited because of its limit of bytes per second."),
		filling: with.NewGauge(prometheus.GaugeOpts{
			Name: "dunlin_stream_filling_targets", Help: "Ranges, by keyspace, that are being filled.",
		}),
	}
}
