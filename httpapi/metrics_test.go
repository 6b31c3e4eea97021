package httpapi

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetrics(t *testing.T) {
	f := start(t, newFakeStore(t), nil)
	f.want(f.post("s", `{"data":1}`), 201)
	f.want(f.post("s", `{}`), 400)
	f.want(f.do("GET /nowhere", ""), 404)
	f.want(f.do("POST /v1/streams/s/events", `{"data":1}`+"\nx\n", ndjson), 422)
	problems, err := testutil.GatherAndLint(f.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	// The handler counts after its answer is on its way, so the last may be late.
	f.stop()
	if err := <-f.stopped; err != nil {
		t.Fatal(err)
	}
	close(f.stopped)
	m := f.api.metrics
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"201", testutil.ToFloat64(m.routes["POST /v1/streams/{stream}/events"].requests[2]), 1},
		{"400 and 422", testutil.ToFloat64(m.routes["POST /v1/streams/{stream}/events"].requests[4]), 2},
		{"no route", testutil.ToFloat64(m.routes[""].requests[4]), 1},
		{"stored", f.metric("dunlin_httpapi_bulk_lines_total", "stored"), 1},
		{"refused", f.metric("dunlin_httpapi_bulk_lines_total", "refused"), 1},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
	if n, err := testutil.GatherAndCount(f.registry, "dunlin_httpapi_requests_in_flight"); err != nil || n != 1 {
		t.Errorf("in flight: %d %v", n, err)
	}
	if _, err := New(f.api.cfg, f.api.env); err == nil || !strings.Contains(err.Error(), "metrics") {
		t.Errorf("the same registry twice: %v", err)
	}
}
