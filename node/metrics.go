package node

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the counters of the wiring itself.
type metrics struct {
	jobSteps    *prometheus.CounterVec
	jobFailures *prometheus.CounterVec
	ready       prometheus.Gauge
	skewed      prometheus.Gauge
	clockJump   prometheus.Gauge
	info        *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	with := promauto.With(reg)
	return &metrics{
		jobSteps: with.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_node_job_steps_total",
			Help: "Background steps that succeeded, by job.",
		}, []string{"job"}),
		jobFailures: with.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_node_job_failures_total",
			Help: "Background steps that failed, by job.",
		}, []string{"job"}),
		ready: with.NewGauge(prometheus.GaugeOpts{
			Name: "dunlin_node_ready",
			Help: "1 when the node serves clients.",
		}),
		skewed: with.NewGauge(prometheus.GaugeOpts{
			Name: "dunlin_node_clock_skewed",
			Help: "1 while this node's clock is off from most peers and it coordinates no writes.",
		}),
		clockJump: with.NewGauge(prometheus.GaugeOpts{
			Name: "dunlin_node_clock_jump_seconds",
			Help: "How far this node's clock was set, as long as that is not believed; else 0.",
		}),
		info: with.NewGaugeVec(prometheus.GaugeOpts{
			Name: "dunlin_node_info",
			Help: "Always 1; the labels say which node of which cluster runs which version.",
		}, []string{"node", "cluster", "version"}),
	}
}

func (m *metrics) setSkewed(is bool) {
	value := 0.0
	if is {
		value = 1
	}
	m.skewed.Set(value)
}
