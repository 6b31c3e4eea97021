package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/schema"
)

// fakeNode is a node whose answers tests choose.
type fakeNode struct {
	unready   []string
	layout    *Layout
	retention time.Duration
	err       error
}

func (f *fakeNode) Unready() []string       { return f.unready }
func (f *fakeNode) Status() (Status, error) { return Status{Cluster: "c", Ready: true}, nil }
func (f *fakeNode) Layout() *Layout         { return f.layout }
func (f *fakeNode) SetRetention(_ context.Context, table string, d time.Duration) error {
	if table == "dunlin.missing" {
		return &schema.NotFoundError{}
	}
	f.retention = d
	return f.err
}

func ask(t *testing.T, n *fakeNode, method, path, contentType, body string) *httptest.ResponseRecorder {
	t.Helper()
	s, err := New(Env{Node: n, Gatherer: prometheus.NewRegistry(), Known: func(host string) bool { return host != "evil.example" }})
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", contentType)
	if strings.HasPrefix(path, "/evil") {
		req.Host, req.URL.Path = "evil.example", "/healthz"
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, req)
	return w
}

func TestRoutes(t *testing.T) {
	ready, starting := &fakeNode{layout: &Layout{Ranges: 1024}}, &fakeNode{unready: []string{"no cluster"}}
	const jsonType = "application/json"
	for _, tc := range []struct {
		node                     *fakeNode
		method, path, kind, body string
		status                   int
		want                     string
	}{
		{ready, "GET", "/healthz", "", "", 200, "ok"},
		{ready, "GET", "/readyz", "", "", 200, "ready"},
		{starting, "GET", "/readyz", "", "", 503, "no cluster"},
		{starting, "GET", "/healthz", "", "", 200, "ok"},
		{ready, "GET", "/metrics", "", "", 200, ""},
		{ready, "GET", "/v1/status", "", "", 200, `"cluster":"c"`},
		{ready, "GET", "/v1/layout", "", "", 200, `"ranges":1024`},
		{starting, "GET", "/v1/layout", "", "", 503, "not joined"},
		{ready, "GET", "/debug/pprof/", "", "", 200, "goroutine"},
		{ready, "GET", "/evil", "", "", 421, "http.hosts"},
		{ready, "PUT", "/v1/tables/dunlin.events", jsonType, `{"retention":"30d"}`, 200, "30d"},
		{ready, "PUT", "/v1/tables/dunlin.events", "text/plain", `{"retention":"30d"}`, 415, "application/json"},
		{ready, "PUT", "/v1/tables/dunlin.events", jsonType, `{"retention":"soon"}`, 400, "unlimited"},
		{ready, "PUT", "/v1/tables/dunlin.events", jsonType, `{"retenton":"30d"}`, 400, "retenton"},
		{ready, "PUT", "/v1/tables/dunlin.events", jsonType, `{}`, 400, "retention"},
		{ready, "PUT", "/v1/tables/dunlin.missing", jsonType, `{"retention":"30d"}`, 404, ""},
		{&fakeNode{err: errors.New("no windows")}, "PUT", "/v1/tables/dunlin.kv", jsonType, `{"retention":"30d"}`, 409, "no windows"},
		{&fakeNode{err: context.DeadlineExceeded}, "PUT", "/v1/tables/dunlin.kv", jsonType, `{"retention":"30d"}`, 503, ""},
	} {
		w := ask(t, tc.node, tc.method, tc.path, tc.kind, tc.body)
		if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.want) {
			t.Errorf("%s %s %s: %d %s", tc.method, tc.path, tc.body, w.Code, w.Body)
		}
		if tc.status >= 400 && w.Header().Get("Content-Type") == "application/problem+json" && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: not JSON: %s", tc.path, w.Body)
		}
	}
	if w := ask(t, ready, http.MethodPut, "/v1/tables/dunlin.events", jsonType, `{"retention":"unlimited"}`); w.Code != 200 || ready.retention != 0 {
		t.Errorf("unlimited: %d, %s", w.Code, ready.retention)
	}
}

func TestParseRetention(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30d": 30 * 24 * time.Hour, "2w": 14 * 24 * time.Hour, "36h": 36 * time.Hour, "unlimited": 0,
	} {
		if got, err := ParseRetention(text); err != nil || got != want {
			t.Errorf("%s: %s %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "-3d", "0d", "1.5d", "3 d", "03d", "999999d", "forever", "-1h", "0s"} {
		if got, err := ParseRetention(text); err == nil {
			t.Errorf("%q gave %s", text, got)
		}
	}
}
