package mend

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

func counter(reg prometheus.Registerer, name, help string) prometheus.Counter {
	return promauto.With(reg).NewCounter(prometheus.CounterOpts{Name: "dunlin_mend_" + name, Help: help})
}

// rebuildMetrics are Rebuild's counters.
type rebuildMetrics struct{ rebuilt, lost prometheus.Counter }

func newRebuildMetrics(reg prometheus.Registerer) *rebuildMetrics {
	return &rebuildMetrics{
		rebuilt: counter(reg, "rebuilt_ranges_total", "Ranges that could not be read and were filled again from other replicas."),
		lost:    counter(reg, "lost_ranges_total", "Ranges of which something cannot be read that no other replica has."),
	}
}

// scrubMetrics are Scrub's counters.
type scrubMetrics struct{ read, passes, damaged prometheus.Counter }

func newScrubMetrics(reg prometheus.Registerer) *scrubMetrics {
	return &scrubMetrics{
		read:    counter(reg, "scrubbed_bytes_total", "Bytes of keys and fragments read again to find data that rots."),
		passes:  counter(reg, "scrub_passes_total", "Times that everything was read."),
		damaged: counter(reg, "damaged_leaves_total", "Leaves of which something could not be read by the scrub."),
	}
}
