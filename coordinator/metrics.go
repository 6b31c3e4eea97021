package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/coordinator/admission"
	"github.com/dunlindb/dunlin/coordinator/pace"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/transport"
)

// op is an operation in metrics.
type op uint8

const (
	opWrite op = iota
	opRead
	opScan
	ops
)

var opNames = [ops]string{"write", "read", "scan"}

// levels are the metric labels of levels: names, and numbers up to MaxCount.
const levels = MaxCount + 3

// metrics are the coordinator's counters. What the hot path counts is looked up
// once.
type metrics struct {
	duration    [ops][levels]prometheus.Observer
	pacer       *pace.Pacer
	errors      *prometheus.CounterVec
	retries     *prometheus.CounterVec
	hedges      *prometheus.CounterVec
	missedCodes []prometheus.Counter // by transport.Code
	dead        prometheus.Counter
	rowsWritten prometheus.Counter
	rowsRead    prometheus.Counter
	mismatches  prometheus.Counter
	shortReads  prometheus.Counter
	conflicts   prometheus.Counter

	repairs        *prometheus.CounterVec
	repairFailures *prometheus.CounterVec
	repairedRows   prometheus.Counter
	repairsShed    prometheus.Counter
}

func newMetrics(r prometheus.Registerer, a *admission.Admission, p *pace.Pacer) (*metrics, error) {
	m := &metrics{pacer: p}
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:                            "dunlin_coordinator_request_duration_seconds",
		Help:                            "Time from accepting a request to answering it, by operation and level.",
		Buckets:                         []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}, []string{"op", "level"})
	m.errors = counters("request_errors_total", "Requests, or groups of writes, that failed, by operation and kind of error.", "op", "kind")
	m.retries = counters("catalog_retries_total", "Requests tried again with a newer catalog.", "op")
	m.hedges = counters("hedges_total", "Spare replicas asked because another was slow or failed.", "op", "reason")
	missed := counters("replica_writes_missed_total", "Rows that a replica did not acknowledge, by reason; it is behind until repaired.", "reason")
	m.rowsWritten = counter("rows_written_total", "Rows of writes that were sent.")
	m.rowsRead = counter("rows_read_total", "Rows returned by reads.")
	m.mismatches = counter("digest_mismatches_total", "Reads whose replicas disagreed.")
	m.shortReads = counter("short_read_requests_total", "Further requests to replicas whose rows did not fill a merged page.")
	m.conflicts = counter("conflicts_total", "Rows read of append-only tables that have two payloads for one id.")
	m.repairs = counters("read_repairs_total", "Reads that found replicas behind and repaired them, by mode.", "mode")
	m.repairFailures = counters("read_repair_failures_total", "Groups of read repairs that a replica did not acknowledge, by reason.", "reason")
	m.repairedRows = counter("read_repair_rows_total", "Rows sent to replicas by read repair.")
	m.repairsShed = counter("read_repairs_shed_total", "Asynchronous read repairs left to anti-entropy because too many were open.")
	for _, c := range []prometheus.Collector{
		m.conflicts, m.repairs, m.repairFailures, m.repairedRows, m.repairsShed,
		duration, m.errors, m.retries, m.hedges, missed, m.rowsWritten, m.rowsRead, m.mismatches, m.shortReads,
		gauge("writes_in_flight_bytes", "Bytes of writes that are not answered yet.", func() float64 {
			n, _, _ := a.Load()
			return float64(n)
		}),
		gauge("writes_straggling_bytes", "Bytes of answered writes that wait for the rest of their replicas.", func() float64 {
			_, n, _ := a.Load()
			return float64(n)
		}),
		gauge("reads_in_flight", "Reads and scans that are not answered yet.", func() float64 {
			_, _, n := a.Load()
			return float64(n)
		}),
		gauge("slowest_hundredth_moving_seconds", "What the slowest hundredth of requests takes at least while data moves; 0: none does, or few requests come.", p.Moving),
		gauge("slowest_hundredth_usual_seconds", "The same while no data moves: what rebalance.latency_percent is of.", p.Usual),
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	m.missedCodes = []prometheus.Counter{nil} // transport.OK is no miss
	for code := transport.OK + 1; code <= transport.Unreachable; code++ {
		m.missedCodes = append(m.missedCodes, missed.WithLabelValues(code.String()))
	}
	m.dead = missed.WithLabelValues("dead")
	for o := range ops {
		for i := range levels {
			m.duration[o][i] = duration.WithLabelValues(opNames[o], levelAt(i).String())
		}
	}
	return m, nil
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dunlin_coordinator_" + name, Help: help}, labels)
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "dunlin_coordinator_" + name, Help: help})
}

func gauge(name, help string, f func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "dunlin_coordinator_" + name, Help: help}, f)
}

// levelAt and levelIndex number the levels for the table of histograms.
func levelAt(i int) Level {
	switch i {
	case levels - 1:
		return All
	case levels - 2:
		return Any
	}
	return Level(i)
}

func levelIndex(l Level) int {
	switch l {
	case All:
		return levels - 1
	case Any:
		return levels - 2
	}
	return min(int(l), MaxCount)
}

// observe records how long a request took.
func (m *metrics) observe(o op, l Level, d time.Duration) {
	m.duration[o][levelIndex(l)].Observe(d.Seconds())
	m.pacer.Observe(d)
}

// failed counts an error, and returns it.
func (m *metrics) failed(o op, err error) error {
	m.errors.WithLabelValues(opNames[o], kindOf(err)).Inc()
	return err
}

// missed counts rows that a replica did not take.
func (m *metrics) missed(code transport.Code, rows int) {
	if code != transport.OK && int(code) < len(m.missedCodes) {
		m.missedCodes[code].Add(float64(rows))
	}
}

// missedDead counts rows that were not sent to a dead replica.
func (m *metrics) missedDead(rows int) { m.dead.Add(float64(rows)) }

// kindOf names an error for metrics.
func kindOf(err error) string {
	var (
		unavailable *UnavailableError
		timeout     *TimeoutError
		overloaded  *OverloadedError
		skewed      *SkewedError
		level       *LevelError
		unsealable  *UnsealableError
		unknown     *UnknownTableError
		cursor      *CursorError
	)
	switch {
	case errors.As(err, &unavailable):
		return "unavailable"
	case errors.As(err, &timeout):
		return "timeout"
	case errors.As(err, &overloaded) && overloaded.Local:
		return "overloaded_here"
	case errors.As(err, &overloaded):
		return "overloaded"
	case errors.As(err, &skewed):
		return "skewed"
	case errors.As(err, &level), errors.As(err, &unknown), errors.As(err, &cursor):
		return "client"
	case errors.As(err, &unsealable):
		return "unsealable"
	case errors.Is(err, hlc.ErrCeiling):
		return "clock_ceiling"
	case errors.Is(err, ErrStopping), errors.Is(err, ErrNoCatalog):
		return "not_serving"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "canceled"
	}
	return "other"
}
