package httpapi

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// classes are the status classes that requests are counted by; none means that
// the connection ended before there was an answer.
var classes = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

// metrics are the front door's counters. What requests count is looked up once.
type metrics struct {
	routes map[string]*routeMetrics
}

// routeMetrics are one route's.
type routeMetrics struct {
	requests [len(classes)]prometheus.Counter
	duration prometheus.Observer
}

func (m *routeMetrics) observe(status int, d time.Duration) {
	class := status / 100
	if class < 0 || class >= len(classes) {
		class = 0
	}
	m.requests[class].Inc()
	m.duration.Observe(d.Seconds())
}

func newMetrics(r prometheus.Registerer, a *API, routes []route) (*metrics, error) {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dunlin_httpapi_requests_total",
		Help: "Requests by route and class of status; none: the client was gone before its answer.",
	}, []string{"route", "class"})
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:                            "dunlin_httpapi_request_duration_seconds",
		Help:                            "Time from a request's header to the end of its answer, by route.",
		Buckets:                         []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}, []string{"route"})
	m := &metrics{
		routes: map[string]*routeMetrics{},
	}
	for _, c := range []prometheus.Collector{
		requests, duration,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dunlin_httpapi_requests_in_flight", Help: "Requests that are not answered yet.",
		}, func() float64 { return float64(a.inFlight.Load()) }),
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	for _, rt := range append(routes, route{}) {
		name := rt.pattern
		if name == "" {
			name = "none"
		}
		rm := &routeMetrics{duration: duration.WithLabelValues(name)}
		for i, class := range classes {
			rm.requests[i] = requests.WithLabelValues(name, class)
		}
		m.routes[rt.pattern] = rm
	}
	return m, nil
}
