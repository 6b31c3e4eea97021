package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/goleak"

	"github.com/dunlindb/dunlin/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeNode is a Node whose answers are set.
type fakeNode struct {
	unready   []string
	statusErr error
	layout    *Layout
	setErr    error
	set       map[string]schema.Settings
	hurried   []string // tables
	fakeLayout
}

func (n *fakeNode) Unready() []string { return n.unready }
func (n *fakeNode) Layout() *Layout   { return n.layout }

func (n *fakeNode) Status() (Status, error) {
	return Status{Cluster: "flock", CatalogVersion: 4, Members: []Member{{ID: "a", Alive: true}}}, n.statusErr
}

func (n *fakeNode) SetTable(_ context.Context, table string, change schema.Settings) error {
	if n.setErr != nil {
		return n.setErr
	}
	n.set[table] = change
	return nil
}

func (n *fakeNode) Repair() Repair {
	return Repair{Enabled: true, Round: 3, Tables: []TableRepair{{Name: "dunlin.events"}}}
}

func (n *fakeNode) Hints() Hints { return Hints{Enabled: true, Targets: []HintTarget{{Node: "b"}}} }

func (n *fakeNode) ReplayHints() error { return n.setErr }

func (n *fakeNode) RepairNow(table string) error {
	n.hurried = append(n.hurried, table)
	return n.setErr
}

func newServer(t *testing.T, n *fakeNode, check func(*http.Request) error) *Server {
	t.Helper()
	n.set = map[string]schema.Settings{}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collectors.NewGoCollector())
	s, err := New(Env{Node: n, Gatherer: registry, Check: check})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// do sends "METHOD /path" with a JSON body, if there is one.
func do(s *Server, request, body string, headers ...string) *httptest.ResponseRecorder {
	method, path, _ := strings.Cut(request, " ")
	r := httptest.NewRequest(method, "http://127.0.0.1:7483"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestHealthAndReadiness(t *testing.T) {
	n := &fakeNode{}
	s := newServer(t, n, nil)
	if w := do(s, "GET /readyz", ""); w.Code != 200 {
		t.Errorf("ready: %d %s", w.Code, w.Body)
	}
	n.unready = []string{"the catalog is not adopted", "no peer is connected"}
	if w := do(s, "GET /readyz", ""); w.Code != 503 || w.Body.String() != "the catalog is not adopted\nno peer is connected\n" {
		t.Errorf("not ready: %d %q", w.Code, w.Body)
	}
	if w := do(s, "GET /healthz", ""); w.Code != 200 {
		t.Errorf("a node that is not ready is healthy all the same: %d", w.Code)
	}
}

func TestStatusAndLayout(t *testing.T) {
	n := &fakeNode{}
	s := newServer(t, n, nil)
	if w := do(s, "GET /v1/layout", ""); w.Code != 503 || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("a layout before joining: %d %s", w.Code, w.Body)
	}
	n.layout = &Layout{CatalogVersion: 4, Ranges: 1024, Keyspaces: []KeyspaceLayout{{Keyspace: "dunlin", Balance: 1.01}}}
	for path, want := range map[string]string{
		"/v1/layout": `"keyspaces":[{"keyspace":"dunlin","strategy":"","replication_factor":0,"replica_sets":0,"balance":1.01`,
		"/v1/status": `"catalog_version":4`,
	} {
		w := do(s, "GET "+path, "")
		if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	n.statusErr = errors.New("a store is closed")
	if w := do(s, "GET /v1/status", ""); w.Code != 500 {
		t.Errorf("status that cannot be had: %d", w.Code)
	}
}

func TestSetTable(t *testing.T) {
	n := &fakeNode{}
	s := newServer(t, n, nil)
	for _, c := range []struct {
		request, body string
		nodeErr       error
		status        int
		field         string
	}{
		{"PUT /v1/tables/dunlin.events", `{"retention":"30d"}`, nil, 200, ""},
		{"PUT /v1/tables/dunlin.kv", `{"retention":"unlimited"}`, nil, 200, ""},
		{"PUT /v1/tables/dunlin.other", `{"sloppy":true,"read_repair":"async"}`, nil, 200, ""},
		{"PUT /v1/tables/dunlin.events", `{"read_repair":"sometimes"}`, nil, 400, "read_repair"},
		{"PUT /v1/tables/dunlin.events", `{"sloppy":"yes"}`, nil, 400, ""},
		{"PUT /v1/tables/dunlin.events", `{}`, nil, 400, "retention"},
		{"PUT /v1/tables/dunlin.events", `{"retention":30}`, nil, 400, ""},
		{"PUT /v1/tables/dunlin.events", `{"retention":"-1d"}`, nil, 400, "retention"},
		{"PUT /v1/tables/dunlin.events", `{"keep":"30d"}`, nil, 400, "keep"},
		{"PUT /v1/tables/dunlin.events", `nonsense`, nil, 400, ""},
		{"PUT /v1/tables/dunlin.no", `{"retention":"30d"}`, &schema.NotFoundError{Table: "dunlin.no"}, 404, "table"},
		{"PUT /v1/tables/dunlin.events", `{"retention":"30d"}`, context.DeadlineExceeded, 503, ""},
		{"PUT /v1/tables/dunlin.events", `{"retention":"1h"}`, errors.New("rows leave by windows of 168h"), 409, ""},
	} {
		n.setErr = c.nodeErr
		w := do(s, c.request, c.body)
		if w.Code != c.status {
			t.Errorf("%s %s: %d %s", c.request, c.body, w.Code, w.Body)
			continue
		}
		var v struct{ Field, Detail string }
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || v.Field != c.field || c.status != 200 && v.Detail == "" {
			t.Errorf("%s %s: %s %v", c.request, c.body, w.Body, err)
		}
	}
	events, kv, other := n.set["dunlin.events"], n.set["dunlin.kv"], n.set["dunlin.other"]
	if len(n.set) != 3 || *events.Retention != 30*24*time.Hour || *kv.Retention != 0 || other.Retention != nil ||
		!*other.Sloppy || *other.ReadRepair != schema.RepairAsync || events.Sloppy != nil {
		t.Errorf("set %v", n.set)
	}
	n.setErr = nil
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", ""} {
		if w := do(s, "PUT /v1/tables/dunlin.events", `{"retention":"1w"}`, "Content-Type: "+kind); w.Code != http.StatusUnsupportedMediaType {
			t.Errorf("Content-Type %q: %d", kind, w.Code)
		}
	}
}

func TestParseRetention(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"unlimited": 0, "30d": 720 * time.Hour, "2w": 336 * time.Hour, "36h": 36 * time.Hour, "90m": 90 * time.Minute,
	} {
		if got, err := ParseRetention(text); err != nil || got != want {
			t.Errorf("%q: %s %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0d", "-3d", "1.5d", "d", "30", "forever", "1000000d", "3 d", "0h", "+3d", "03d"} {
		if got, err := ParseRetention(text); err == nil {
			t.Errorf("%q was read as %s", text, got)
		}
	}
}

func TestUnknownHostsAreRefused(t *testing.T) {
	s := newServer(t, &fakeNode{}, func(r *http.Request) error {
		if r.Host != "127.0.0.1:7483" {
			return errors.New("not a name of this node")
		}
		return nil
	})
	if w := do(s, "GET /v1/status", ""); w.Code != 200 {
		t.Errorf("a known host: %d", w.Code)
	}
	r := httptest.NewRequest("GET", "http://evil.example/v1/status", nil)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden {
		t.Errorf("an unknown host: %d %s", w.Code, w.Body)
	}
}

func TestMetricsAndProfiles(t *testing.T) {
	s := newServer(t, &fakeNode{}, nil)
	if w := do(s, "GET /metrics", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "go_goroutines") {
		t.Errorf("metrics: %d", w.Code)
	}
	if w := do(s, "GET /debug/pprof/", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "goroutine") {
		t.Errorf("profiles: %d", w.Code)
	}
	if w := do(s, "POST /v1/status", ""); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST status: %d", w.Code)
	}
	if _, err := New(Env{}); err == nil {
		t.Error("an empty Env was accepted")
	}
}

func TestRepair(t *testing.T) {
	n := &fakeNode{}
	s := newServer(t, n, nil)
	for _, c := range []struct {
		request string
		nodeErr error
		status  int
		want    string
	}{
		{"GET /v1/repair", nil, 200, `"round":3`},
		{"POST /v1/repair", nil, 200, `"round":3`},
		{"POST /v1/repair?table=dunlin.kv", nil, 200, "dunlin.events"},
		{"POST /v1/repair?table=dunlin.no", &schema.NotFoundError{Table: "dunlin.no"}, 404, "dunlin.no"},
		{"POST /v1/repair", errors.New("anti-entropy is switched off"), 409, "switched off"},
		{"PUT /v1/repair", nil, 405, ""},
		{"GET /v1/hints", nil, 200, `"node":"b"`},
		{"POST /v1/hints", nil, 200, `"node":"b"`},
		{"POST /v1/hints", errors.New("hints are switched off"), 409, "switched off"},
	} {
		n.setErr = c.nodeErr
		if w := do(s, c.request, ""); w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d %s", c.request, w.Code, w.Body)
		}
	}
	if !slices.Equal(n.hurried, []string{"", "dunlin.kv", "dunlin.no", ""}) {
		t.Errorf("hurried %q", n.hurried)
	}
}
