package ingest

import "github.com/prometheus/client_golang/prometheus"

// metrics are ingest's counters.
type metrics struct {
	stored, refused, failed prometheus.Counter // lines
	batches                 prometheus.Histogram
	bodyBytes               prometheus.Counter
	pauses                  prometheus.Counter
	cutOffs                 prometheus.Counter
}

func newMetrics(r prometheus.Registerer, g *Ingester) (*metrics, error) {
	lines := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dunlin_httpapi_bulk_lines_total",
		Help: "Lines of bulk requests: stored; refused, because they are bad; failed, and may be tried again.",
	}, []string{"outcome"})
	m := &metrics{
		stored:  lines.WithLabelValues("stored"),
		refused: lines.WithLabelValues("refused"),
		failed:  lines.WithLabelValues("failed"),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "dunlin_httpapi_bulk_batch_lines",
			Help:    "Lines of the batches that bulk requests are written in.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 8),
		}),
		bodyBytes: counter("body_bytes_total", "Bytes of bulk requests' bodies, decompressed."),
		pauses:    counter("pauses_total", "Times that bulk bodies were not read on because of overload."),
		cutOffs:   counter("cut_offs_total", "Bulk requests cut off because their answers were not read."),
	}
	for _, c := range []prometheus.Collector{
		lines, m.batches, m.bodyBytes, m.pauses, m.cutOffs,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dunlin_httpapi_bulk_batches_in_flight",
			Help: "Batches of bulk requests that are being filled, written or answered.",
		}, func() float64 { return float64(len(g.slots)) }),
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "dunlin_httpapi_bulk_" + name, Help: help})
}
