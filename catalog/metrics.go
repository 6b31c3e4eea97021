package catalog

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the catalog's counters. Labels have few values, all from code.
type metrics struct {
	generation prometheus.Gauge
	version    prometheus.Gauge
	sealed     prometheus.Gauge
	members    prometheus.Gauge
	replacing  prometheus.Gauge
	adoptions  prometheus.Counter
	proposals  *prometheus.CounterVec
	ballots    prometheus.Counter
	retries    prometheus.Counter
	pulls      *prometheus.CounterVec
	refusals   *prometheus.CounterVec
	conflicts  prometheus.Counter
	dropped    prometheus.Counter
	takenBack  prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	with := promauto.With(r)
	gauge := func(name, help string) prometheus.Gauge {
		return with.NewGauge(prometheus.GaugeOpts{Name: "dunlin_catalog_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return with.NewCounter(prometheus.CounterOpts{Name: "dunlin_catalog_" + name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return with.NewCounterVec(prometheus.CounterOpts{Name: "dunlin_catalog_" + name, Help: help}, labels)
	}
	return &metrics{
		generation: gauge("generation", "Generation of the catalog document that this node serves by."),
		version:    gauge("version", "Version of the catalog document that this node serves by; 0: none."),
		sealed:     gauge("sealed", "1 when the catalog is sealed: the cluster takes writes."),
		members:    gauge("members", "Members of the cluster, by this node's document."),
		replacing:  gauge("replacing", "1 when the next node that joins takes the place of a dead one."),
		adoptions:  counter("adoptions_total", "Catalog documents that this node adopted."),
		proposals:  counters("proposals_total", "Proposals made on this node, by outcome.", "outcome"),
		ballots:    counter("ballots_total", "Paxos ballots begun on this node."),
		retries:    counter("retries_total", "Ballots tried again after a refusal, or without a majority."),
		pulls:      counters("pulls_total", "Calls for a newer document, by outcome.", "outcome"),
		refusals:   counters("refusals_total", "Nodes refused under the identity they showed, by reason.", "reason"),
		conflicts:  counter("conflicts_total", "Documents seen that contradict this node's: agreement was broken."),
		dropped:    counter("hints_dropped_total", "Words of newer documents that were not followed up, because enough others wait."),
		takenBack:  counter("replacements_taken_back_total", "Times that this node was to be replaced, and took that back because it is alive."),
	}
}

// serve shows an edition in the gauges.
func (m *metrics) serve(e *edition) {
	m.generation.Set(float64(e.doc.Generation))
	m.version.Set(float64(e.doc.Version))
	m.members.Set(float64(len(e.doc.Layout.Members)))
	if e.doc.Sealed {
		m.sealed.Set(1)
	}
	m.replacing.Set(0)
	if e.doc.Replacing != nil {
		m.replacing.Set(1)
	}
}
