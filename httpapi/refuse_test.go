package httpapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/httpapi/problem"
	"github.com/dunlindb/dunlin/schema"
)

const jsonType = "Content-Type: application/json"

func TestRefusals(t *testing.T) {
	store := newFakeStore(t)
	floor, err := store.view.Table(schema.EventsTable).Shape.WindowAt(time.Unix(1e9, 0))
	if err != nil {
		t.Fatal(err)
	}
	store.view = testView(t, floor)
	f := start(t, store, nil)
	now := event.FirstID(time.Now()).String()
	future := time.Now().Add(2 * time.Hour).UnixMilli()
	big := strings.Repeat("x", 1<<20)
	name := strings.Repeat("n", 1025)
	for _, c := range []struct {
		request, body string
		headers       []string
		status        int
		field         string // or the kind of problem
	}{
		// events
		{"POST /v1/streams/s/events", ``, []string{jsonType}, 400, ""},
		{"POST /v1/streams/s/events", `[1]`, []string{jsonType}, 400, ""},
		{"POST /v1/streams/s/events", `{}`, []string{jsonType}, 400, "data"},
		{"POST /v1/streams/s/events", `{"data":1,"colour":2}`, []string{jsonType}, 400, "colour"},
		{"POST /v1/streams/s/events", `{"data":1,"data":2}`, []string{jsonType}, 400, "data"},
		{"POST /v1/streams/s/events", `{"data":1,"type":7}`, []string{jsonType}, 400, "type"},
		{"POST /v1/streams/s/events", `{"data":1,"time":"yesterday"}`, []string{jsonType}, 400, "time"},
		{"POST /v1/streams/s/events", `{"data":1,"time":-5}`, []string{jsonType}, 400, "time"},
		{"POST /v1/streams/s/events", `{"data":1,"time":"2300-01-01T00:00:00Z"}`, []string{jsonType}, 400, "time"},
		{"POST /v1/streams/s/events", fmt.Sprintf(`{"data":1,"time":%d}`, future), []string{jsonType}, 400, "time"},
		{"POST /v1/streams/s/events", `{"data":1,"time":1000}`, []string{jsonType}, 400, "time"}, // below the floor
		{"POST /v1/streams/s/events", `{"data":1,"id":"nonsense"}`, []string{jsonType}, 400, "id"},
		{"POST /v1/streams/s/events", `{"data":1,"id":"7d444840-9dc0-4112-8000-0123456789ab"}`, []string{jsonType}, 400, "id"},
		{"POST /v1/streams/s/events", `{"data":1,"id":"` + now + `","time":1700000000000}`, []string{jsonType}, 400, "time"},
		{"POST /v1/streams/s/events", `{"data":1,"key":"k"}`, []string{jsonType}, 400, "key"},
		{"POST /v1/streams/s/events", `{"data":1,"key":"","time":1700000000000}`, []string{jsonType}, 400, "key"},
		{"POST /v1/streams/s/events", `{"data":1,"key":"k","time":1700000000000,"id":"` + now + `"}`, []string{jsonType}, 400, "key"},
		{"POST /v1/streams/s/events", `{"data":1,"stream":"other"}`, []string{jsonType}, 400, "stream"},
		{"POST /v1/streams/s/events", `{"data":"` + big + `"}`, []string{jsonType}, 413, "event"},
		{"POST /v1/streams/s/events", `{"data":1,"time":1700000000000,"key":"` + name + `"}`, []string{jsonType}, 413, "key"},
		{"POST /v1/streams/" + name + "/events", `{"data":1}`, []string{jsonType}, 413, "stream"},
		{"POST /v1/streams/%ff/events", `{"data":1}`, []string{jsonType}, 400, "stream"},
		{"POST /v1/stream/events", `{"data":1}`, []string{jsonType}, 400, "stream"},
		{"POST /v1/stream/events?stream=", `{"data":1}`, []string{jsonType}, 400, "stream"},
		{"POST /v1/streams//events", `{"data":1}`, []string{jsonType}, 404, "not-found"},
		{"DELETE /v1/streams//events", ``, nil, 404, "not-found"},
		{"DELETE /v1/streams/..", ``, nil, 404, "not-found"},
		// media types
		{"POST /v1/streams/s/events", `{"data":1}`, nil, 415, "Content-Type"},
		{"POST /v1/streams/s/events", `{"data":1}`, []string{"Content-Type: text/plain"}, 415, "Content-Type"},
		{"POST /v1/streams/s/events", `{"data":1}`, []string{"Content-Type: application/json; boundary=x"}, 415, "Content-Type"},
		{"POST /v1/streams/s/events", `{"data":1}`, []string{"Content-Type: application/x-www-form-urlencoded"}, 415, "Content-Type"},
		{"POST /v1/events", `{"data":1}`, []string{jsonType}, 415, "Content-Type"},
		{"POST /v1/streams/s/events", `{"data":1}`, []string{jsonType, "Content-Encoding: br"}, 415, "Content-Encoding"},
		{"POST /v1/streams/s/events", `{"data":1}`, []string{jsonType, "Content-Encoding: gzip"}, 400, "body"},
		{"POST /v1/streams/s/events", `{"data":1}`, []string{jsonType, "Content-Encoding: zstd"}, 400, "body"},
		// parameters and headers
		{"POST /v1/streams/s/events?w=5", `{"data":1}`, []string{jsonType}, 400, "w"},
		{"POST /v1/streams/s/events?w=most", `{"data":1}`, []string{jsonType}, 400, "w"},
		{"POST /v1/streams/s/events?w=local_quorum", `{"data":1}`, []string{jsonType}, 400, "w"},
		{"POST /v1/streams/s/events?sloppy=1", `{"data":1}`, []string{jsonType}, 400, "sloppy"},
		{"GET /v1/streams/s/events?r=any", ``, nil, 400, "r"},
		{"POST /v1/streams/s/events?w=1&w=2", `{"data":1}`, []string{jsonType}, 400, "w"},
		{"POST /v1/streams/s/events?r=1", `{"data":1}`, []string{jsonType}, 400, "r"},
		{"POST /v1/streams/s/events?receipt=yes", `{"data":1}`, []string{jsonType}, 400, "receipt"},
		{"POST /v1/streams/s/events?timeout=5", `{"data":1}`, []string{jsonType}, 400, "timeout"},
		{"POST /v1/streams/s/events?timeout=-5s", `{"data":1}`, []string{jsonType}, 400, "timeout"},
		{"POST /v1/streams/s/events?timeout=24h", `{"data":1}`, []string{jsonType}, 400, "timeout"},
		{"POST /v1/streams/s/events?%zz", `{"data":1}`, []string{jsonType}, 400, "query"},
		{"POST /v1/streams/s/events", `{"data":1}`, []string{jsonType, "Dunlin-Clock: now"}, 400, "Dunlin-Clock"},
		{"POST /v1/streams/s/events", `{"data":1}`, []string{jsonType, "Dunlin-Clock: 9000000000000000"}, 400, "Dunlin-Clock"},
		{"POST /v1/streams/s/events", `{"data":1}`, []string{jsonType, "Dunlin-Timestamp: -1"}, 400, "Dunlin-Timestamp"},
		{"POST /v1/streams/s/events", `{"data":1}`, []string{jsonType, "Dunlin-Timestamp: 9000000000000000"}, 400, "Dunlin-Timestamp"},
		{"POST /v1/events?ack=all", ``, []string{"Content-Type: application/x-ndjson"}, 400, "ack"},
		{"POST /v1/events?receipt=1", ``, []string{"Content-Type: application/x-ndjson"}, 400, "receipt"},
		{"GET /v1/streams/s/events?limit=0", ``, nil, 400, "limit"},
		{"GET /v1/streams/s/events?limit=10001", ``, nil, 400, "limit"},
		{"GET /v1/streams/s/events?limit=ten", ``, nil, 400, "limit"},
		{"GET /v1/streams/s/events?order=up", ``, nil, 400, "order"},
		{"GET /v1/streams/s/events?from=x", ``, nil, 400, "from"},
		{"GET /v1/streams/s/events?to=2026-13-01T00:00:00Z", ``, nil, 400, "to"},
		{"GET /v1/streams/s/events?after=1", ``, nil, 400, "after"},
		{"GET /v1/streams/s/events?cursor=AAAA", ``, nil, 400, "cursor"},
		{"GET /v1/streams/s/events?r=0", ``, nil, 400, "r"},
		{"GET /v1/streams/s/events?r=4", ``, nil, 400, "r"},
		{"GET /v1/streams/s/events?lim=4", ``, nil, 400, "lim"},
		{"GET /v1/streams/s/events", ``, []string{"Dunlin-Clock: 9000000000000000"}, 400, "Dunlin-Clock"},
		{"GET /v1/streams?cursor=", ``, nil, 400, "cursor"},
		{"GET /v1/streams?cursor=AAAA", ``, nil, 400, "cursor"},
		{"GET /v1/streams/s/events/1", ``, nil, 400, "id"},
		{"DELETE /v1/streams/s/events/1", ``, nil, 400, "id"},
		{"DELETE /v1/streams/s?before=never", ``, nil, 400, "before"},
		{"GET /v1/streams/s/events/" + now, ``, nil, 404, "not-found"},
		// values
		{"PUT /v1/kv/b/k", `v`, []string{"If-Match: \"x\""}, 501, "not-implemented"},
		{"PUT /v1/kv/b/k", `v`, []string{"If-None-Match: *"}, 501, "not-implemented"},
		{"DELETE /v1/kv/b/k", ``, []string{"If-Match: \"x\""}, 501, "not-implemented"},
		{"PUT /v1/kv/b/k", big + "x", nil, 413, "value"},
		{"PUT /v1/kv/b/" + name, `v`, nil, 413, "key"},
		{"PUT /v1/kv/" + name + "/k", `v`, nil, 413, "bucket"},
		{"PUT /v1/kv/b/k?ttl=1", `v`, nil, 400, "ttl"},
		{"PUT /v1/kv/b/k?ttl=1000000h", `v`, nil, 400, "ttl"},
		{"PUT /v1/kv/b/k", `v`, []string{"Content-Type: ; ;"}, 400, "Content-Type"},
		{"PUT /v1/kv/b/k?w=four", `v`, nil, 400, "w"},
		// where requests come from
		{"GET /v1/streams", ``, []string{"Host: evil.example"}, 421, "Host"},
		{"GET /v1/streams", ``, []string{"Host: 127.0.0.2:7480"}, 421, "Host"},
		{"PUT /v1/kv/b/k", `v`, []string{"Origin: https://evil.example"}, 403, "Origin"},
		{"PUT /v1/kv/b/k", `v`, []string{"Origin: null"}, 403, "Origin"},
		{"DELETE /v1/kv/b/k", ``, []string{"Sec-Fetch-Site: cross-site"}, 403, "Origin"},
		{"POST /v1/streams/s/events", `{"data":1}`, []string{jsonType, "Origin: http://localhost:3000"}, 403, "Origin"},
		// paths
		{"GET /v1/streams/s/tail", ``, nil, 501, "not-implemented"},
		{"GET /v1/stream/tail?stream=s", ``, nil, 501, "not-implemented"},
		{"GET /v1/events", ``, nil, 501, "not-implemented"},
		{"GET /", ``, nil, 404, "not-found"},
		{"GET /v2/streams", ``, nil, 404, "not-found"},
		{"PATCH /v1/streams/s/events", ``, nil, 405, "method-not-allowed"},
		{"POST /v1/kv/b/k", ``, nil, 405, "method-not-allowed"},
		{"OPTIONS /v1/kv/b/k", ``, nil, 405, "method-not-allowed"},
	} {
		r := f.do(c.request, c.body, c.headers...)
		what := c.request
		if len(what) > 80 {
			what = what[:80]
		}
		what += " " + c.body[:min(len(c.body), 80)] + " " + strings.Join(c.headers, ", ")
		if r.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d: %s", what, r.StatusCode, c.status, r.body)
			continue
		}
		if got := r.Header.Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("%s: Content-Type %s", what, got)
		}
		v := f.want(r, c.status)
		kind, _ := strings.CutPrefix(fmt.Sprint(v["type"]), problem.TypePrefix)
		if field, _ := v["field"].(string); field != c.field && kind != c.field {
			t.Errorf("%s: field %q of %s, want %q", what, field, r.body, c.field)
		}
		if v["status"] != float64(c.status) || v["title"] == "" || v["detail"] == "" {
			t.Errorf("%s: %s", what, r.body)
		}
	}
	if len(store.rows) != 0 {
		t.Errorf("refused requests stored %d rows", len(store.rows))
	}
}

func TestAllowedOriginsAndHosts(t *testing.T) {
	f := start(t, newFakeStore(t), func(c *Config) {
		c.Hosts = []string{"127.0.0.1", "db.example", "::1"}
		c.Origins = []string{"https://app.example"}
	})
	for _, headers := range [][]string{
		{"Origin: https://app.example"}, {"Origin: " + f.url}, {"Host: DB.Example:7480"}, {"Host: localhost"}, {"Host: [::1]:7480"}, {"Host: db.example."},
	} {
		f.want(f.do("PUT /v1/kv/b/k", "v", headers...), 200)
	}
	if r := f.do("PATCH /v1/streams/s/events", ""); r.Header.Get("Allow") != "GET, POST" {
		t.Errorf("Allow: %s", r.Header.Get("Allow"))
	}
}

func TestAnUnspecifiedHostStandsForAllAddresses(t *testing.T) {
	g, err := NewGuard([]string{"0.0.0.0"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for host, ok := range map[string]bool{"10.1.2.3:7480": true, "[fe80::1]:7480": true, "evil.example": false, "": false} {
		r := &http.Request{Host: host, Method: "GET", Header: http.Header{}}
		if err := g.Check(r); (err == nil) != ok {
			t.Errorf("%q: %v", host, err)
		}
	}
	if _, err := NewGuard(nil, []string{"app.example"}); err == nil {
		t.Error("an origin without its scheme was accepted")
	}
}

func TestBoundedRequests(t *testing.T) {
	store := newFakeStore(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	store.wait = func() { entered <- struct{}{}; <-leave }
	f := start(t, store, func(c *Config) { c.Requests = 1 })
	done := make(chan reply)
	go func() { done <- f.do("PUT /v1/kv/b/k", "v") }()
	<-entered
	r := f.do("GET /v1/streams", "")
	if v := f.want(r, http.StatusTooManyRequests); r.Header.Get("Retry-After") != "1" || v["retry_after"] != 1.0 {
		t.Errorf("%v %s", r.Header, r.body)
	}
	close(leave)
	f.want(<-done, 200)
}

// TestProblemsGolden shows every error of the cluster as clients see it.
func TestProblemsGolden(t *testing.T) {
	store := newFakeStore(t)
	f := start(t, store, nil)
	var out bytes.Buffer
	for _, c := range []struct {
		name string
		err  error
	}{
		{"overloaded here", &coordinator.OverloadedError{Local: true, Detail: "16 MiB of writes are in flight", RetryAfter: 1500 * time.Millisecond}},
		{"overloaded replicas", &coordinator.OverloadedError{Detail: "queue full"}},
		{"unavailable", &coordinator.UnavailableError{Need: 2, Alive: 1}},
		{"unavailable after sending", &coordinator.UnavailableError{Need: 2, Alive: 1, Sent: true, Detail: "disk full"}},
		{"timeout", &coordinator.TimeoutError{Need: 2, Got: 0, Write: true}},
		{"skewed", &coordinator.SkewedError{Err: errors.New("6s ahead of 2 of 2 peers")}},
		{"unsealable", &coordinator.UnsealableError{Err: errors.New("2 members, 3 replicas wanted")}},
		{"no catalog", coordinator.ErrNoCatalog},
		{"stopping", coordinator.ErrStopping},
		{"clock ceiling", fmt.Errorf("coordinator: stamp the write: %w", hlc.ErrCeiling)},
		{"unknown table", &coordinator.UnknownTableError{Table: 1}},
		{"row too large", &coordinator.TooLargeError{Bytes: 3 << 20, Max: 2 << 20}},
		{"canceled", context.Canceled},
		{"unexpected", errors.New("secret path /var/lib")},
	} {
		store.commit = func(int) error { return c.err }
		r := f.post("s", `{"data":1}`)
		fmt.Fprintf(&out, "%s (write): %d", c.name, r.StatusCode)
		if after := r.Header.Get("Retry-After"); after != "" {
			fmt.Fprintf(&out, ", Retry-After: %s", after)
		}
		fmt.Fprintf(&out, "\n%s", r.body)
	}
	store.read = func() error { return &coordinator.TimeoutError{Need: 2, Got: 1} }
	for _, path := range []string{"/v1/streams/s/events", "/v1/kv/b/k", "/v1/streams"} {
		r := f.do("GET "+path, "")
		fmt.Fprintf(&out, "timeout (GET %s): %d\n%s", path, r.StatusCode, r.body)
	}
	golden := filepath.Join("testdata", "problems.txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("problems differ from %s (UPDATE_GOLDEN=1 writes it anew):\n%s", golden, out.String())
	}
	if !strings.Contains(f.log.String(), "secret path") {
		t.Error("an unexpected error was not logged")
	}
}

func TestRowErrorsAreTheRequests(t *testing.T) {
	store := newFakeStore(t)
	f := start(t, store, nil)
	store.rowError = func(int) error { return &coordinator.TimeoutError{Need: 2, Got: 1, Write: true} }
	v := f.want(f.post("s", `{"data":1}`), http.StatusGatewayTimeout)
	if v["need"] != 2.0 || v["got"] != 1.0 || v["may_have_applied"] != true {
		t.Errorf("%v", v)
	}
}

func TestNoCatalogYet(t *testing.T) {
	store := newFakeStore(t)
	store.view = nil
	f := start(t, store, nil)
	for _, request := range []string{"GET /v1/streams/s/events", "GET /v1/streams", "PUT /v1/kv/b/k", "GET /v1/kv/b/k"} {
		f.want(f.do(request, ""), http.StatusServiceUnavailable)
	}
	f.want(f.post("s", `{"data":1}`), http.StatusServiceUnavailable)
	f.want(f.do("POST /v1/events", "{}\n", "Content-Type: application/x-ndjson"), http.StatusServiceUnavailable)
}

func TestCompressedSingles(t *testing.T) {
	f := start(t, newFakeStore(t), nil)
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	fmt.Fprint(zw, `{"data":1}`)
	zw.Close()
	f.want(f.do("POST /v1/streams/s/events", packed.String(), jsonType, "Content-Encoding: gzip"), 201)
	packed.Reset()
	zw.Reset(&packed)
	zw.Write(make([]byte, 64<<20)) // a bomb
	zw.Close()
	f.want(f.do("PUT /v1/kv/b/k", packed.String(), "Content-Encoding: gzip"), 413)
}

func TestConfigIsChecked(t *testing.T) {
	if err := (Config{}).Validate(); err == nil || !strings.Contains(err.Error(), "Pipeline") || !strings.Contains(err.Error(), "Hosts") {
		t.Errorf("%v", err)
	}
	c := DefaultConfig()
	c.Hosts = []string{"127.0.0.1"}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if _, err := New(c, Env{}); err == nil {
		t.Error("an empty Env was accepted")
	}
}
