package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/httpapi/ingest"
	"github.com/dunlindb/dunlin/httpapi/problem"
	"github.com/dunlindb/dunlin/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// front is a front door under test, served on a loopback port.
type front struct {
	t        testing.TB
	api      *API
	store    *fakeStore
	registry *prometheus.Registry
	client   *http.Client
	url      string
	stop     context.CancelFunc
	stopped  chan error
	log      *bytes.Buffer
}

// newAPI makes a front door without a server.
func newAPI(t testing.TB, store *fakeStore, change func(*Config)) *front {
	t.Helper()
	return newAPIOn(t, store, store, change)
}

// newAPIOn makes one on another coordinator than the store.
func newAPIOn(t testing.TB, c Coordinator, store *fakeStore, change func(*Config)) *front {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Hosts = []string{"127.0.0.1"}
	if change != nil {
		change(&cfg)
	}
	f := &front{t: t, store: store, registry: prometheus.NewPedanticRegistry(), log: &bytes.Buffer{}}
	var err error
	f.api, err = New(cfg, Env{
		Coordinator: c, View: func() *schema.View { return store.view }, Physical: func() time.Time { return store.now() },
		IDs: event.NewIDs(7), Logger: slog.New(slog.NewTextHandler(f.log, nil)), Registerer: f.registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// start makes a front door and serves it until the test ends.
func start(t testing.TB, store *fakeStore, change func(*Config)) *front {
	t.Helper()
	f := newAPI(t, store, change)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.serve(l)
	f.url = "http://" + l.Addr().String()
	f.client = &http.Client{Transport: &http.Transport{}}
	return f
}

func (f *front) serve(l net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	f.stop, f.stopped = cancel, make(chan error, 1)
	go func() { f.stopped <- f.api.Run(ctx, l) }()
	f.t.Cleanup(func() {
		cancel()
		if f.client != nil {
			f.client.CloseIdleConnections()
		}
		if err, open := <-f.stopped; open && err != nil {
			f.t.Errorf("Run: %v", err)
		}
	})
}

// reply is an answer with its body read.
type reply struct {
	*http.Response
	body string
}

// do sends "METHOD /path" with headers given as "Name: value".
func (f *front) do(request, body string, headers ...string) reply {
	f.t.Helper()
	method, path, _ := strings.Cut(request, " ")
	r, err := http.NewRequest(method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if body == "" {
		r.Body = http.NoBody
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Set(name, value)
	}
	resp, err := f.client.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return reply{resp, string(text)}
}

func (f *front) post(stream, body string) reply {
	return f.do("POST /v1/streams/"+stream+"/events", body, "Content-Type: application/json")
}

// want fails the test unless the status is the wanted one, and returns the body
// as JSON.
func (f *front) want(r reply, status int) map[string]any {
	f.t.Helper()
	if r.StatusCode != status {
		f.t.Fatalf("%s %s: status %d, want %d: %s", r.Request.Method, r.Request.URL, r.StatusCode, status, r.body)
	}
	if r.Header.Get(headerClock) == "" {
		f.t.Errorf("%s %s: no %s", r.Request.Method, r.Request.URL, headerClock)
	}
	var v map[string]any
	if strings.Contains(r.Header.Get("Content-Type"), "json") && r.Header.Get("Content-Type") != ingest.MediaType && r.body != "" {
		if err := json.Unmarshal([]byte(r.body), &v); err != nil {
			f.t.Fatalf("%s: %v", r.body, err)
		}
	}
	return v
}

// read returns the events of a stream as one line each: time, type, data.
func (f *front) read(query string) []string {
	f.t.Helper()
	r := f.do("GET /v1/"+query, "", "Accept: application/x-ndjson")
	f.want(r, 200)
	var out []string
	for line := range strings.Lines(r.body) {
		var e struct {
			ID, Time, Type string
			Data           json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			f.t.Fatalf("%s: %v", line, err)
		}
		out = append(out, strings.TrimSpace(e.Time+" "+e.Type+" "+string(e.Data)))
	}
	return out
}

// metric returns a metric's value; label is a value of one of its labels.
func (f *front) metric(name string, label ...string) float64 {
	f.t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if len(label) > 0 && m.GetLabel()[0].GetValue() != label[0] {
				continue
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	f.t.Fatalf("no metric %s", name)
	return 0
}

// summary is the answer to a bulk request.
type summary struct {
	Accepted, Failed int
	Errors           []any
	Error            *problem.Problem
}
