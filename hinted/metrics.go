package hinted

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the package's counters, and gauges that look at the queues.
type metrics struct {
	kept, replayed [Counted + 1]prometheus.Counter // rows
	replayedBytes  prometheus.Counter
	replayErrors   *prometheus.CounterVec
	refused        *prometheus.CounterVec
	droppedRows    *prometheus.CounterVec
	droppedBytes   *prometheus.CounterVec
	damaged        prometheus.Counter
}

func newMetrics(r prometheus.Registerer, h *Handoff) (*metrics, error) {
	m := &metrics{}
	kept := counters("kept_rows_total", "Rows written to disk as hints, by class.", "class")
	replayed := counters("replayed_rows_total", "Rows of hints that their replicas acknowledged, by class.", "class")
	m.replayedBytes = counter("replayed_bytes_total", "Bytes of hints that their replicas acknowledged.")
	m.replayErrors = counters("replay_errors_total", "Hints that stopped a replay, by the replica's verdict.", "code")
	m.refused = counters("refused_rows_total", "Rows that were not taken as counted hints, by reason.", "reason")
	m.droppedRows = counters("dropped_rows_total", "Rows of hints that were dropped, by reason; anti-entropy repairs them.", "reason")
	m.droppedBytes = counters("dropped_bytes_total", "Bytes of hints that were dropped, by reason.", "reason")
	m.damaged = counter("damaged_segments_total", "Segments of hints that could not be read.")
	collectors := []prometheus.Collector{
		kept, replayed, m.replayedBytes, m.replayErrors, m.refused, m.droppedRows, m.droppedBytes, m.damaged,
	}
	for class := Plain; class <= Counted; class++ {
		m.kept[class], m.replayed[class] = kept.WithLabelValues(class.String()), replayed.WithLabelValues(class.String())
		collectors = append(collectors, h.gauges(class)...)
	}
	for _, c := range collectors {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// gauges are those of one class.
func (h *Handoff) gauges(class Class) []prometheus.Collector {
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dunlin_hinted_" + name, Help: help, ConstLabels: prometheus.Labels{"class": class.String()},
		}, f)
	}
	return []prometheus.Collector{
		gauge("stored_hints", "Hints on disk.", func() float64 { return float64(h.held(class).hints) }),
		gauge("stored_bytes", "Bytes of the hints on disk, before compression.", func() float64 { return float64(h.held(class).bytes) }),
		gauge("disk_bytes", "Bytes that table files take for hints, those deleted but not compacted yet included.", func() float64 {
			size, err := h.store.Size([]byte{byte(class)}, []byte{byte(class) + 1})
			if err != nil {
				return 0 // the store is closed, or reports the damage itself
			}
			return float64(size)
		}),
		gauge("queues", "Targets that hints are kept for.", func() float64 { n, _ := h.oldest(class); return float64(n) }),
		gauge("oldest_age_seconds", "Age of the oldest hint; 0 if there is none.", func() float64 {
			n, at := h.oldest(class)
			if n == 0 || at.IsZero() {
				return 0
			}
			return max(time.Since(at).Seconds(), 0)
		}),
		gauge("buffered_bytes", "Bytes of hints that wait for the disk.", func() float64 { return float64(h.buffer.size(class)) }),
	}
}

// held is what is on disk of a class.
func (h *Handoff) held(class Class) tally {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stored[class]
}

// oldest counts the queues of a class that have hints, and finds when the oldest of
// these was kept.
func (h *Handoff) oldest(class Class) (queues int, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, q := range h.order {
		if q.id.class != class || len(q.segments) == 0 {
			continue
		}
		queues++
		if t, ok := q.oldest(); ok && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	return queues, at
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dunlin_hinted_" + name, Help: help}, labels)
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "dunlin_hinted_" + name, Help: help})
}
