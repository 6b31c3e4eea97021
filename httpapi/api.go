package httpapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/httpapi/ingest"
	"github.com/dunlindb/dunlin/httpapi/problem"
	"github.com/dunlindb/dunlin/httpapi/rows"
	"github.com/dunlindb/dunlin/schema"
)

// Env is what the front door uses of the node around it. Every field is needed.
type Env struct {
	Coordinator Coordinator
	// View is the catalog's present view; nil before this node joined a cluster.
	View func() *schema.View
	// Physical reads the wall clock, for events that name no time.
	Physical func() time.Time
	// IDs makes the ids of events that bring none; its incarnation is drawn at
	// random for each start.
	IDs        *event.IDs
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (e *Env) validate() error {
	switch {
	case e.Coordinator == nil || e.View == nil:
		return errors.New("httpapi: Env.Coordinator and Env.View are needed")
	case e.Physical == nil || e.IDs == nil:
		return errors.New("httpapi: Env.Physical and Env.IDs are needed")
	case e.Logger == nil || e.Registerer == nil:
		return errors.New("httpapi: Env.Logger and Env.Registerer are needed")
	}
	return nil
}

// API is the front door as an http.Handler. Run serves it.
type API struct {
	cfg     Config
	env     Env
	guard   *Guard
	mux     *http.ServeMux
	metrics *metrics
	bulk    *ingest.Ingester
	limits  rows.Limits

	zstd     chan struct{} // a place for each zstd body
	inFlight atomic.Int64
	makers   sync.Pool // of *rows.Maker
}

// New checks the configuration and registers metrics. It starts nothing.
func New(cfg Config, env Env) (*API, error) {
	if err := errors.Join(cfg.Validate(), env.validate()); err != nil {
		return nil, err
	}
	guard, err := NewGuard(cfg.Hosts, cfg.Origins)
	if err != nil {
		return nil, err
	}
	a := &API{
		cfg:    cfg,
		env:    env,
		guard:  guard,
		mux:    http.NewServeMux(),
		zstd:   make(chan struct{}, cfg.ZstdBodies),
		limits: rows.Limits{EventBytes: cfg.EventBytes, KeyBytes: cfg.KeyBytes, MaxFuture: cfg.MaxFuture},
	}
	routes := a.routes()
	if a.metrics, err = newMetrics(env.Registerer, a, routes); err != nil {
		return nil, fmt.Errorf("httpapi: register metrics: %w", err)
	}
	a.bulk, err = ingest.New(cfg.Bulk, a.limits, ingest.Env{
		Coordinator: env.Coordinator, Physical: env.Physical, IDs: env.IDs, Logger: env.Logger, Registerer: env.Registerer,
	})
	if err != nil {
		return nil, fmt.Errorf("httpapi: bulk: %w", err)
	}
	a.register(routes)
	return a, nil
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := a.inFlight.Add(1)
	defer a.inFlight.Add(-1)
	if r.Body != nil && r.Body != http.NoBody {
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(a.cfg.BodyTimeout))
	}
	if n > int64(a.cfg.Requests) {
		a.fail(w, r, &problem.BusyError{Count: a.cfg.Requests, What: "requests"})
		return
	}
	if err := a.guard.Check(r); err != nil {
		a.fail(w, r, err)
		return
	}
	if !canonical(r.URL.EscapedPath()) {
		a.fail(w, r, &problem.NotFoundError{Detail: "the path has empty or dotted segments: give a name like that in ?stream="})
		return
	}
	a.mux.ServeHTTP(w, r)
}
