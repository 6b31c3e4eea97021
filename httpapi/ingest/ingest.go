package ingest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/httpapi/problem"
	"github.com/dunlindb/dunlin/httpapi/rows"
)

// MediaType is that of bodies, and of answers with lines.
const MediaType = "application/x-ndjson"

// Coordinator is what ingest needs of the coordinator.
type Coordinator interface {
	NewWrite(ctx context.Context, opts coordinator.WriteOptions) (rows.Write, error)
	Clock() hlc.Timestamp
}

// Env is what ingest uses of the node around it. Every field is needed.
type Env struct {
	Coordinator Coordinator
	Physical    func() time.Time // the wall clock, for events that name no time
	IDs         *event.IDs
	Logger      *slog.Logger
	Registerer  prometheus.Registerer
}

// Ingester serves bulk requests.
type Ingester struct {
	cfg     Config
	limits  rows.Limits
	env     Env
	metrics *metrics
	slots   chan struct{} // one for each batch of any request
	stop    chan struct{} // closed by Stop

	requests atomic.Int64
	stopping sync.Once
	chunks   sync.Pool // of *[]byte of Config.ChunkBytes
	batches  sync.Pool // of *batch
}

// New checks the configuration and registers metrics.
func New(cfg Config, limits rows.Limits, env Env) (*Ingester, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if env.Coordinator == nil || env.Physical == nil || env.IDs == nil || env.Logger == nil || env.Registerer == nil {
		return nil, errors.New("ingest: every field of Env is needed")
	}
	g := &Ingester{cfg: cfg, limits: limits, env: env, slots: make(chan struct{}, cfg.Batches), stop: make(chan struct{})}
	var err error
	if g.metrics, err = newMetrics(env.Registerer, g); err != nil {
		return nil, err
	}
	return g, nil
}

// Stop lets all requests end with the lines that they have read.
func (g *Ingester) Stop() { g.stopping.Do(func() { close(g.stop) }) }

// Form is how a request is answered.
type Form int

// The forms.
const (
	Summary Form = iota // one summary at the end: what plain HTTP clients can take
	Lines               // a line for each line
	Errors              // a line for each error, and how far everything is decided
)

// Request is one bulk request.
type Request struct {
	Options coordinator.WriteOptions // Timeout must be set; it is for each batch
	Stream  []byte                   // of all lines; nil: each names its own
	Form    Form
}

// Serve stores the lines of a body, which it closes, and answers. Errors of body are why it could
// not be read on, as the client should be told. An error of Serve means that nothing
// was answered. A client that is gone, or was cut off, makes Serve panic with
// http.ErrAbortHandler, so that it cannot take what it has for the whole answer.
func (g *Ingester) Serve(w http.ResponseWriter, r *http.Request, body io.ReadCloser, request Request) error {
	defer body.Close()
	defer g.requests.Add(-1)
	if g.requests.Add(1) > int64(g.cfg.Requests) {
		return &problem.BusyError{Count: g.cfg.Requests, What: "bulk requests"}
	}
	b := &bulk{
		g: g, request: request, raw: r.Body, rc: http.NewResponseController(w), report: newReport(request.Form, w, r, g),
		split:    splitter{max: g.limits.EventBytes},
		queue:    make(chan *batch, g.cfg.Pipeline),
		pipeline: make(chan struct{}, g.cfg.Pipeline),
		trouble:  trouble{giveUp: make(chan error, 1)},
	}
	// A client that is gone shows in the body. Lines that came whole are stored even
	// then, so only answers that cannot be written cancel.
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(r.Context()))
	defer b.cancel()
	b.rc.SetReadDeadline(time.Time{})  // the body may come for days
	b.rc.SetWriteDeadline(time.Time{}) // each piece of the answer has its own
	b.rc.EnableFullDuplex()            // of HTTP/1.1; an error says that it always is
	return b.run(body)
}

// takeChunk and putChunk lend the buffers that bodies are read into.
func (g *Ingester) takeChunk() []byte {
	if p, ok := g.chunks.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, g.cfg.ChunkBytes)
}

func (g *Ingester) putChunk(buf []byte) {
	buf = buf[:cap(buf)]
	g.chunks.Put(&buf)
}
