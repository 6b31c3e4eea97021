package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are recorded in microseconds, up to ten minutes, to three digits.
const (
	latencyMax    = 10 * time.Minute
	latencyDigits = 3
)

// recording is what one worker saw of one kind of operation.
type recording struct {
	latency *hdrhistogram.Histogram
	events  int64
	failed  int64
}

func newRecording() recording {
	return recording{latency: hdrhistogram.New(1, latencyMax.Microseconds(), latencyDigits)}
}

func (r *recording) add(latency time.Duration, events int) {
	// The only error is a value above the maximum, which min excludes.
	_ = r.latency.RecordValue(max(1, min(latency, latencyMax).Microseconds()))
	r.events += int64(events)
}

func (r *recording) merge(other recording) {
	r.latency.Merge(other.latency)
	r.events += other.events
	r.failed += other.failed
}

// Result is what a run measured.
type Result struct {
	Mode     Mode             `json:"mode"`
	Clients  int              `json:"clients"`
	Batch    int              `json:"batch"`
	Rate     float64          `json:"rate,omitempty"`
	Seconds  float64          `json:"seconds"`
	Writes   *Operations      `json:"writes,omitempty"`
	Reads    *Operations      `json:"reads,omitempty"`
	Errors   map[string]int64 `json:"errors"`
	OpenLoop bool             `json:"open_loop"`
}

// Operations sums up one kind of operation.
type Operations struct {
	Operations          int64   `json:"operations"`
	Failed              int64   `json:"failed"`
	Events              int64   `json:"events"`
	OperationsPerSecond float64 `json:"operations_per_second"`
	EventsPerSecond     float64 `json:"events_per_second"`
	Latency             Latency `json:"latency_ms"`
}

// Latency holds percentiles in milliseconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

func (r *run) result(workers []*worker) Result {
	took := time.Since(r.start).Seconds()
	res := Result{
		Mode: r.cfg.Mode, Clients: r.cfg.Clients, Batch: r.cfg.Batch, Rate: r.cfg.Rate,
		Seconds: took, Errors: map[string]int64{}, OpenLoop: r.cfg.Rate > 0,
	}
	reads, writes := newRecording(), newRecording()
	for _, w := range workers {
		reads.merge(w.reads)
		writes.merge(w.writes)
		for kind, n := range w.errors {
			res.Errors[kind] += n
		}
	}
	if r.cfg.Mode != Read {
		res.Writes = writes.summary(took, res.OpenLoop)
	}
	if r.cfg.Mode != Write {
		res.Reads = reads.summary(took, res.OpenLoop)
	}
	return res
}

func (r *recording) summary(seconds float64, openLoop bool) *Operations {
	h := r.latency
	count := h.TotalCount()
	if !openLoop {
		h = corrected(h)
	}
	ms := func(micros int64) float64 { return float64(micros) / 1000 }
	return &Operations{
		Operations: count, Failed: r.failed, Events: r.events,
		OperationsPerSecond: float64(count) / seconds,
		EventsPerSecond:     float64(r.events) / seconds,
		Latency: Latency{
			P50: ms(h.ValueAtPercentile(50)), P90: ms(h.ValueAtPercentile(90)), P99: ms(h.ValueAtPercentile(99)),
			P999: ms(h.ValueAtPercentile(99.9)), Max: ms(h.Max()),
		},
	}
}

// corrected adds the operations that a worker would have sent, one a median,
// while it waited for a slow answer.
func corrected(h *hdrhistogram.Histogram) *hdrhistogram.Histogram {
	interval := h.ValueAtPercentile(50)
	if interval == 0 {
		return h
	}
	out := hdrhistogram.New(1, latencyMax.Microseconds(), latencyDigits)
	for _, bar := range h.Distribution() {
		for late := bar.To; bar.Count > 0 && late > 0; late -= interval {
			// Values come from a histogram with the same bounds.
			_ = out.RecordValues(min(late, latencyMax.Microseconds()), bar.Count)
		}
	}
	return out
}

// Print writes the result as text.
func (r Result) Print(out io.Writer) error {
	loop := "closed loop, corrected for coordinated omission"
	if r.OpenLoop {
		loop = fmt.Sprintf("%g operations/s asked for, latency from the moment each was due", r.Rate)
	}
	fmt.Fprintf(out, "%s: %d clients, %d events a write, %.1f s (%s)\n", r.Mode, r.Clients, r.Batch, r.Seconds, loop)
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\top/s\tevents/s\tp50 ms\tp90\tp99\tp99.9\tmax\tfailed\t")
	for _, row := range []struct {
		name string
		ops  *Operations
	}{{"writes", r.Writes}, {"reads", r.Reads}} {
		if o := row.ops; o != nil {
			fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%d\t\n", row.name, o.OperationsPerSecond, o.EventsPerSecond,
				o.Latency.P50, o.Latency.P90, o.Latency.P99, o.Latency.P999, o.Latency.Max, o.Failed)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Errors)) {
		fmt.Fprintf(out, "  %d × %s\n", r.Errors[kind], kind)
	}
	return nil
}
