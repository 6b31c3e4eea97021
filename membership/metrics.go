package membership

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the package's counters.
type metrics struct {
	alive         prometheus.Gauge
	refused       *prometheus.CounterVec // kind: packet, stream, node; reason
	sentBytes     *prometheus.CounterVec // kind: packet, stream
	receivedBytes *prometheus.CounterVec // kind: packet, stream
	joins         *prometheus.CounterVec // result: ok, failed
	transitions   *prometheus.CounterVec // to: alive, dead
	suppressed    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	var all []prometheus.Collector
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dunlin_membership_" + name, Help: help}, labels)
		all = append(all, c)
		return c
	}
	m := &metrics{
		alive: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dunlin_membership_alive_nodes",
			Help: "Nodes alive as this node's gossip sees it, itself included.",
		}),
		refused: counters("refused_total",
			"Packets, streams and nodes refused: garbage, a wrong key, another cluster, over a bound.", "kind", "reason"),
		sentBytes:     counters("sent_bytes_total", "Gossip bytes sent.", "kind"),
		receivedBytes: counters("received_bytes_total", "Gossip bytes received, refused ones included.", "kind"),
		joins:         counters("joins_total", "Attempts to reach a peer that is not alive.", "result"),
		transitions:   counters("transitions_total", "Nodes that became alive or dead in this node's view.", "to"),
		suppressed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_membership_suppressed_log_lines_total",
			Help: "Log lines about gossip left out to bound their rate.",
		}),
	}
	all = append(all, m.alive, m.suppressed)
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
