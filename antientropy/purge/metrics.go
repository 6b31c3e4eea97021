package purge

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the package's counters and gauges.
type metrics struct {
	moved   prometheus.Counter
	waiting prometheus.Gauge
	blocked *prometheus.GaugeVec // by node
}

func newMetrics(reg prometheus.Registerer) *metrics {
	with := promauto.With(reg)
	return &metrics{
		moved: with.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_purge_points_moved_total", Help: "Times that a range's purge point moved on.",
		}),
		waiting: with.NewGauge(prometheus.GaugeOpts{
			Name: "dunlin_purge_waiting_seconds", Help: "Age of the oldest deletion or expired data that is not purged yet; 0 if there is none.",
		}),
		blocked: with.NewGaugeVec(prometheus.GaugeOpts{
			Name: "dunlin_purge_blocked_seconds", Help: "For how long a node has kept deletions and expired data from being purged.",
		}, []string{"node"}),
	}
}
