package rebalance

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	duties, done prometheus.Gauge
	pace         prometheus.Gauge
	steps        *prometheus.CounterVec
	aborts       prometheus.Counter
	cleaned      prometheus.Counter

	filled, unfilled prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		duties: f.NewGauge(prometheus.GaugeOpts{Name: "dunlin_rebalance_ranges", Help: "Ranges, by source, that this node has to take over in the change on its way."}),
		done:   f.NewGauge(prometheus.GaugeOpts{Name: "dunlin_rebalance_complete_ranges", Help: "Of these, the ones that are complete here."}),
		pace:   f.NewGauge(prometheus.GaugeOpts{Name: "dunlin_rebalance_pace_ratio", Help: "Which part of its ordinary speed this node's work for a change may have, so that clients' requests keep within rebalance.latency_percent."}),
		steps: f.NewCounterVec(prometheus.CounterOpts{Name: "dunlin_rebalance_steps_total",
			Help: "Phases that this node has taken a change to, as its driver."}, []string{"phase"}),
		aborts:   f.NewCounter(prometheus.CounterOpts{Name: "dunlin_rebalance_aborts_total", Help: "Changes that were aborted because a node that joined did not answer."}),
		filled:   f.NewCounter(prometheus.CounterOpts{Name: "dunlin_rebalance_filled_ranges_total", Help: "Ranges, by keyspace, that were new here and filled in bulk."}),
		unfilled: f.NewCounter(prometheus.CounterOpts{Name: "dunlin_rebalance_unfilled_ranges_total", Help: "Ranges that could not be filled in bulk and were left to anti-entropy."}),
		cleaned:  f.NewCounter(prometheus.CounterOpts{Name: "dunlin_rebalance_removed_ranges_total", Help: "Ranges, by keyspace, that this node does not hold any more and has removed."}),
	}
}
