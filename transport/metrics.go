package transport

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/transport/wire"
)

// metrics are the package's counters. What has a value per peer is collected
// from the peers when it is asked for.
type metrics struct {
	// Time to the answer, by operation.
	applySeconds, readSeconds, scanSeconds prometheus.Observer
	requestItems, answerItems              prometheus.Observer

	sentBytes, receivedBytes prometheus.Counter
	timeouts, overloads      prometheus.Counter
	lateAnswers              prometheus.Counter
	unknownAnswers           prometheus.Counter
	expired                  prometheus.Counter
	shed                     *prometheus.CounterVec // what: slots, reads, answers, control
	reconnects               prometheus.Counter
	refusedConnections       *prometheus.CounterVec // reason
	refusedHellos            *prometheus.CounterVec // end: ours, theirs
	refusedFrames            prometheus.Counter
	skewedFrames             prometheus.Counter
	sweeps                   prometheus.Counter
}

// answerSeconds is the histogram of a kind of request.
func (m *metrics) answerSeconds(kind wire.Kind) prometheus.Observer {
	switch kind {
	case wire.KindRead:
		return m.readSeconds
	case wire.KindScan:
		return m.scanSeconds
	}
	return m.applySeconds
}

// newMetrics makes the metrics and registers them.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "dunlin_transport_" + name, Help: help})
		all = append(all, c)
		return c
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dunlin_transport_" + name, Help: help}, []string{label})
		all = append(all, c)
		return c
	}
	histogram := func(name, help, label string, buckets []float64) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dunlin_transport_" + name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		}, []string{label})
		all = append(all, h)
		return h
	}
	answers := histogram("answer_seconds", "Time from queueing a request to its answer, by operation.", "op",
		prometheus.ExponentialBuckets(100e-6, 2, 16))
	items := histogram("frame_items", "Requests or answers in one sent frame.", "role",
		prometheus.ExponentialBuckets(1, 2, 12))
	m := &metrics{
		applySeconds:       answers.WithLabelValues("apply"),
		readSeconds:        answers.WithLabelValues("read"),
		scanSeconds:        answers.WithLabelValues("scan"),
		requestItems:       items.WithLabelValues("request"),
		answerItems:        items.WithLabelValues("answer"),
		sentBytes:          counter("sent_bytes_total", "Bytes of frames sent, before HTTP/2 framing."),
		receivedBytes:      counter("received_bytes_total", "Bytes of frames received."),
		timeouts:           counter("timeouts_total", "Requests to peers whose deadline passed without an answer."),
		overloads:          counter("overloads_total", "Requests refused here because a peer's slots or bytes were used up."),
		lateAnswers:        counter("late_answers_total", "Answers that came after the request had timed out or been given up."),
		unknownAnswers:     counter("unknown_answers_total", "Answers to requests that nobody owes: repeated, or never asked."),
		expired:            counter("expired_requests_total", "Requests of peers dropped because their budget was used up."),
		shed:               counters("shed_requests_total", "Requests of peers refused because a bound was reached, by bound.", "bound"),
		reconnects:         counter("reconnects_total", "Attempts to connect to a peer after the first."),
		refusedConnections: counters("refused_connections_total", "Accepted connections closed before gRPC saw them, by reason.", "reason"),
		refusedHellos:      counters("refused_hellos_total", "Hellos not admitted, by the end that refused.", "end"),
		refusedFrames:      counter("refused_frames_total", "Frames that could not be decoded; each ended its stream."),
		sweeps:             counter("sweeps_total", "Passes over the deadlines of requests; none while no request is open."),
		skewedFrames:       counter("skewed_frames_total", "Frames whose clock was too far ahead to be merged."),
	}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("transport: register metrics: %w", err)
		}
	}
	return m, nil
}

// peerDescs describe what peerCollector exports.
type peerDescs struct {
	connected, slots, bytes, oldest, latency, offset *prometheus.Desc
}

// peerCollector exports the state of every peer at the time of the scrape.
type peerCollector struct {
	t *Transport
	d peerDescs
}

func newPeerCollector(t *Transport) *peerCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("dunlin_transport_peer_"+name, help, []string{"peer"}, nil)
	}
	return &peerCollector{t: t, d: peerDescs{
		connected: desc("connected", "1 if the stream to the peer is open and admitted."),
		slots:     desc("slots_in_flight", "Unanswered requests to the peer."),
		bytes:     desc("queue_bytes", "Encoded bytes of unanswered requests to the peer."),
		oldest:    desc("oldest_unanswered_seconds", "Age of the oldest unanswered request to the peer."),
		latency:   desc("latency_seconds", "Moving average of the time to an answer of the peer."),
		offset:    desc("clock_offset_seconds", "The peer's physical clock against ours, one-way delay included."),
	}}
}

// Describe implements prometheus.Collector.
func (c *peerCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.d.connected, c.d.slots, c.d.bytes, c.d.oldest, c.d.latency, c.d.offset} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *peerCollector) Collect(ch chan<- prometheus.Metric) {
	for _, p := range c.t.peers.Load().list {
		id := p.ID.String()
		used, bytes := p.load()
		state := p.state(c.t.now())
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, id)
		}
		gauge(c.d.slots, float64(used))
		gauge(c.d.bytes, float64(bytes))
		gauge(c.d.oldest, state.OldestUnanswered.Seconds())
		gauge(c.d.latency, state.Latency.Seconds())
		gauge(c.d.offset, p.offset().Seconds())
		if state.Connected {
			gauge(c.d.connected, 1)
		} else {
			gauge(c.d.connected, 0)
		}
	}
}
