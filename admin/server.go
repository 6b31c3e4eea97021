package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dunlindb/dunlin/catalog"
	"github.com/dunlindb/dunlin/schema"
)

// Node is what the admin port shows and does: *node.Node.
type Node interface {
	Showing
	// SetTable changes settings of a table ("keyspace.table").
	SetTable(ctx context.Context, table string, change schema.Settings) error
	Healing
	Changing
}

// Showing is what a node tells about itself and its cluster.
type Showing interface {
	// Unready lists why the node should not be sent requests.
	Unready() []string
	// Status need not set Change: Progress tells that.
	Status() (Status, error)
	// Layout is nil before the node is a member.
	Layout() *Layout
}

// Healing is the part of a node that makes replicas equal.
type Healing interface {
	Hints() Hints
	// ReplayHints makes replay look at once whether targets are alive.
	ReplayHints() error
	Repair() Repair
	// RepairNow hurries anti-entropy, for one table or all.
	RepairNow(table string) error
}

// Env is what the admin port uses of the node around it.
type Env struct {
	Node     Node
	Gatherer prometheus.Gatherer
	// Check refuses requests for other hosts, and writes from foreign web pages;
	// nil lets all pass.
	Check func(*http.Request) error
}

// Server is the admin port's handler.
type Server struct {
	env Env
	mux *http.ServeMux
}

// operationTimeout bounds a change of the catalog.
const operationTimeout = 15 * time.Second

// New makes the admin port.
func New(env Env) (*Server, error) {
	if env.Node == nil || env.Gatherer == nil {
		return nil, errors.New("admin: Env.Node and Env.Gatherer are needed")
	}
	s := &Server{env: env, mux: http.NewServeMux()}
	s.mux.HandleFunc("GET /healthz", s.health)
	s.mux.HandleFunc("GET /readyz", s.ready)
	s.mux.Handle("GET /metrics", promhttp.HandlerFor(env.Gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	s.mux.HandleFunc("GET /v1/status", s.status)
	s.mux.HandleFunc("GET /v1/layout", s.layout)
	s.mux.HandleFunc("POST /v1/layout/plan", s.plan)
	s.mux.HandleFunc("POST /v1/layout/changes", s.change)
	s.mux.HandleFunc("GET /v1/layout/change", s.progress)
	s.mux.HandleFunc("DELETE /v1/layout/change", s.abort)
	s.mux.HandleFunc("POST /v1/recover", s.recoverCluster)
	s.mux.HandleFunc("PUT /v1/tables/{table}", s.setTable)
	s.mux.HandleFunc("GET /v1/hints", s.hints)
	s.mux.HandleFunc("POST /v1/hints", s.replayHints)
	s.mux.HandleFunc("GET /v1/repair", s.repair)
	s.mux.HandleFunc("POST /v1/repair", s.repairNow)
	s.mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	s.mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	s.mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	s.mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	s.mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.env.Check != nil {
		if err := s.env.Check(r); err != nil {
			fail(w, http.StatusForbidden, err.Error(), "")
			return
		}
	}
	s.mux.ServeHTTP(w, r)
}

// Run serves until ctx ends and requests in flight are answered.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("admin: serve: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := server.Shutdown(drain)
	if err != nil {
		err = server.Close() // a profile or scrape that takes longer is cut off
	}
	<-served
	return err
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "ok\n") // a client that is gone hears nothing
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	reasons := s.env.Node.Unready()
	if len(reasons) == 0 {
		_, _ = io.WriteString(w, "ready\n")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, strings.Join(reasons, "\n")+"\n")
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), operationTimeout)
	defer cancel()
	status, err := s.env.Node.Status()
	if err == nil {
		status.Change, err = s.env.Node.Progress(ctx)
	}
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error(), "")
		return
	}
	answer(w, status)
}

func (s *Server) layout(w http.ResponseWriter, _ *http.Request) {
	layout := s.env.Node.Layout()
	if layout == nil {
		fail(w, http.StatusServiceUnavailable, "this node has not joined a cluster yet", "")
		return
	}
	answer(w, layout)
}

// tableChange is the body of PUT /v1/tables/{table}.
type tableChange struct {
	Retention  *string        `json:"retention,omitempty"`
	Sloppy     *bool          `json:"sloppy,omitempty"`
	ReadRepair *schema.Repair `json:"read_repair,omitempty"`
}

// settings reads a change; the error names the field.
func (c *tableChange) settings() (change schema.Settings, field string, err error) {
	change.Sloppy, change.ReadRepair = c.Sloppy, c.ReadRepair
	if c.Retention == nil && c.Sloppy == nil && c.ReadRepair == nil {
		return change, "retention", errors.New(`give {"retention": "30d"} or "unlimited", {"sloppy": true}, or {"read_repair": "blocking"}, "async" or "off"`)
	}
	if r := c.ReadRepair; r != nil && *r != schema.RepairBlocking && *r != schema.RepairAsync && *r != schema.RepairOff {
		return change, "read_repair", fmt.Errorf("read_repair is %q: give blocking, async or off", *r)
	}
	if c.Retention != nil {
		retention, err := ParseRetention(*c.Retention)
		if err != nil {
			return change, "retention", err
		}
		change.Retention = &retention
	}
	return change, "", nil
}

func (s *Server) setTable(w http.ResponseWriter, r *http.Request) {
	var change tableChange
	if !readBody(w, r, &change) {
		return
	}
	settings, field, err := change.settings()
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error(), field)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), operationTimeout)
	defer cancel()
	var (
		missing  *schema.NotFoundError
		majority *catalog.NoMajorityError
	)
	switch err := s.env.Node.SetTable(ctx, r.PathValue("table"), settings); {
	case errors.As(err, &missing):
		fail(w, http.StatusNotFound, err.Error(), "table")
	case errors.As(err, &majority), errors.Is(err, context.DeadlineExceeded):
		fail(w, http.StatusServiceUnavailable, err.Error(), "")
	case err != nil:
		fail(w, http.StatusConflict, err.Error(), "")
	default:
		answer(w, struct {
			Table string `json:"table"`
			tableChange
		}{r.PathValue("table"), change})
	}
}

func (s *Server) hints(w http.ResponseWriter, _ *http.Request) { answer(w, s.env.Node.Hints()) }

func (s *Server) replayHints(w http.ResponseWriter, _ *http.Request) {
	if err := s.env.Node.ReplayHints(); err != nil {
		fail(w, http.StatusConflict, err.Error(), "")
		return
	}
	answer(w, s.env.Node.Hints())
}

func (s *Server) repair(w http.ResponseWriter, _ *http.Request) { answer(w, s.env.Node.Repair()) }

func (s *Server) repairNow(w http.ResponseWriter, r *http.Request) {
	var missing *schema.NotFoundError
	switch err := s.env.Node.RepairNow(r.URL.Query().Get("table")); {
	case errors.As(err, &missing):
		fail(w, http.StatusNotFound, err.Error(), "table")
	case err != nil:
		fail(w, http.StatusConflict, err.Error(), "")
	default:
		answer(w, s.env.Node.Repair())
	}
}

// ParseRetention reads a length of time with days and weeks (30d, 2w, 36h), or
// "unlimited".
func ParseRetention(text string) (time.Duration, error) {
	if text == "unlimited" {
		return 0, nil
	}
	bad := fmt.Errorf("retention is %q: give a length of time such as 30d, 26w or 36h, or unlimited", text)
	unit, number := time.Duration(1), text
	for suffix, u := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if n, ok := strings.CutSuffix(text, suffix); ok {
			unit, number = u, n
		}
	}
	if unit == 1 {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return 0, bad
		}
		return d, nil
	}
	var n int64
	if _, err := fmt.Sscanf(number, "%d", &n); err != nil || fmt.Sprint(n) != number || n < 1 || n > 100_000 {
		return 0, bad
	}
	return time.Duration(n) * unit, nil
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v) // the types are ours; a client that is gone hears nothing
}

// fail answers with a problem (RFC 9457).
func fail(w http.ResponseWriter, status int, detail, field string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Field  string `json:"field,omitempty"`
	}{"about:blank", http.StatusText(status), status, detail, field})
}
