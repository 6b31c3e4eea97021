package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/transport"
)

// Writer is this node as a replica that is written to: *replica.Replica.
type Writer interface {
	// View is what the whole replica serves by; nil before the first.
	View() *schema.View
	Apply(from ring.NodeID, g transport.Group, deadline time.Time, sink transport.Sink, tag uint32)
}

// Caller asks a peer's Source.Handle, at most until ctx ends. An error of Handle
// comes back as a *transport.ControlError.
type Caller interface {
	Call(ctx context.Context, to ring.NodeID, kind string, body []byte) ([]byte, error)
}

// Clock is this node's clock: *hlc.Clock.
type Clock interface {
	Now() (hlc.Timestamp, error)
}

// SinkEnv is what a Sink uses of the node around it. Every field is needed.
type SinkEnv struct {
	Self    ring.NodeID
	Replica Writer
	Meta    *storage.Meta
	Caller  Caller
	Clock   Clock
	// Pace is which part of its ordinary speed filling may have, up to 1; 0: it is to
	// rest, and to ask again soon.
	Pace       func() float64
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (e *SinkEnv) validate() error {
	if e.Self == (ring.NodeID{}) || e.Replica == nil || e.Meta == nil || e.Caller == nil || e.Clock == nil || e.Pace == nil {
		return errors.New("stream: SinkEnv.Self, Replica, Meta, Caller, Clock and Pace are needed")
	}
	if e.Logger == nil || e.Registerer == nil {
		return errors.New("stream: SinkEnv.Logger and Registerer are needed")
	}
	return nil
}

// Sink fills this node's ranges from others. It is safe for concurrent use.
type Sink struct {
	cfg     Config
	env     SinkEnv
	metrics *sinkMetrics
	limit   *bucket
	filling chan struct{} // slots of targets

	mu    sync.Mutex           // guards fills and what they point to
	fills map[string]*Progress // by Target.meta
}

// NewSink makes a Sink.
func NewSink(cfg Config, env SinkEnv) (*Sink, error) {
	if err := errors.Join(cfg.Validate(), env.validate()); err != nil {
		return nil, err
	}
	return &Sink{
		cfg: cfg, env: env, metrics: newSinkMetrics(env.Registerer), limit: newBucket(cfg.BytesPerSecond),
		filling: make(chan struct{}, cfg.Filling), fills: map[string]*Progress{},
	}, nil
}

// fill is a target that is being filled. It belongs to its Fill.
type fill struct {
	Progress
	saved  uint64 // Pages that is persisted
	failed int    // tries in a row
}

// Fill pulls what a peer holds of a target, from where an earlier Fill of the same
// change and peer has stopped, and returns when all of it is stored. The errors are
// those of this package, of ctx, and of the peer; after any of them it may be called
// again, and goes on.
func (s *Sink) Fill(ctx context.Context, from ring.NodeID, t Target) error {
	select {
	case s.filling <- struct{}{}:
		defer func() { <-s.filling }()
	case <-ctx.Done():
		return ctx.Err()
	}
	f, err := s.begin(from, t)
	if err != nil {
		return err
	}
	s.metrics.filling.Inc()
	defer s.metrics.filling.Dec()
	for err == nil && !f.Done {
		if err = s.paced(ctx, f); err != nil {
			err = s.again(ctx, f, err)
		} else if f.failed = 0; f.Pages-f.saved >= uint64(s.cfg.PersistPages) {
			err = s.persist(f)
		}
	}
	if f.Pages > f.saved && (f.saved > 0 || !f.Done) { // a small target is as soon filled again as persisted
		err = errors.Join(err, s.persist(f))
	}
	s.show(f, false)
	if err != nil {
		return fmt.Errorf("stream: fill range %d of %s from %s: %w", t.Range, t.Keyspace, from, err)
	}
	return nil
}

// begin claims a target and finds where it was left.
func (s *Sink) begin(from ring.NodeID, t Target) (*fill, error) {
	key := t.meta()
	s.mu.Lock()
	before := s.fills[key]
	if before != nil && before.Active {
		s.mu.Unlock()
		return nil, fmt.Errorf("%w: range %d of %s", ErrFilling, t.Range, t.Keyspace)
	}
	s.fills[key] = &Progress{Target: t, From: from, Began: time.Now(), Active: true}
	s.mu.Unlock()
	b, _, err := s.env.Meta.Get(key)
	f := &fill{}
	if p, ok := decodeProgress(t, from, b); ok && err == nil {
		f.Progress = p
	} else {
		f.Progress = Progress{Target: t, From: from}
	}
	f.Began, f.saved = time.Now(), f.Pages
	s.show(f, err == nil)
	return f, err
}

// show publishes how far a fill is.
func (s *Sink) show(f *fill, active bool) {
	f.Active = active
	p := f.Progress
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fills[f.meta()] = &p
}

// again decides what becomes of a fill after an error: nil after a pause, if the
// same page may be had now.
func (s *Sink) again(ctx context.Context, f *fill, err error) error {
	if f.failed++; !passes(err) || f.failed >= s.cfg.Tries {
		return err
	}
	s.metrics.repeated.Inc()
	s.env.Logger.Debug("a page is asked for again", "range", f.Range, "keyspace", f.Keyspace, "from", f.From, "error", err)
	wait := s.cfg.PauseMin
	for range f.failed - 1 {
		wait = min(2*wait, s.cfg.PauseMax)
	}
	if pause(ctx, wait) != nil {
		return errors.Join(ctx.Err(), err)
	}
	return nil
}

// paced pulls and stores the next page when the rate and the pace allow it, and rests
// afterwards, the longer the longer that has taken and the smaller the pace is. A slot
// rests after the last page of a range too, since a range may be one page.
func (s *Sink) paced(ctx context.Context, f *fill) error {
	for s.env.Pace() == 0 {
		if err := pause(ctx, s.cfg.PauseMin); err != nil {
			return err
		}
	}
	waited, err := s.limit.wait(ctx)
	s.metrics.waited.Add(waited.Seconds())
	if err != nil {
		return err
	}
	began := time.Now()
	if err := s.page(ctx, f); err != nil {
		return err
	}
	rest := s.cfg.Rest * float64(time.Since(began)) / max(s.env.Pace(), 0.01)
	_ = pause(ctx, min(time.Duration(rest), s.cfg.PauseMax)) // the page counts all the same
	return nil
}

// page pulls and stores the next page.
func (s *Sink) page(ctx context.Context, f *fill) error {
	v, q, err := s.request(f)
	if err != nil {
		return err
	}
	born, err := s.env.Clock.Now() // before the page is read: what it may miss was born later
	if err != nil {
		return err
	}
	answer, err := s.call(ctx, f.From, &q)
	if err != nil {
		return err
	}
	rows, err := check(v, &q, &answer)
	if err != nil {
		return err
	}
	if rows > 0 {
		g := transport.Group{Version: v.Version, Born: born, Count: rows, Entries: answer.Entries}
		if err := s.store(ctx, f.From, g); err != nil {
			return err
		}
	}
	s.metrics.pages.Inc()
	s.metrics.rows.Add(float64(rows))
	s.metrics.bytes.Add(float64(len(answer.Entries)))
	f.Pages, f.Rows, f.Bytes = f.Pages+1, f.Rows+uint64(rows), f.Bytes+uint64(len(answer.Entries))
	f.after, f.Done = slices.Clone(answer.Next), answer.Next == nil
	s.show(f, true)
	return nil
}

// request asks for the page that follows, by the catalog version of this moment.
func (s *Sink) request(f *fill) (v *schema.View, q Request, err error) {
	if v = s.env.Replica.View(); v == nil {
		return nil, q, fmt.Errorf("%w: there is none here", ErrStale)
	}
	placement := -1
	for _, t := range v.Tables() {
		if t.Keyspace == f.Keyspace {
			placement = t.Placement
		}
	}
	self, member := v.Ring.Index(s.env.Self)
	if placement < 0 || !member || !v.Ring.Holds(placement, f.Range, self) {
		return nil, q, fmt.Errorf("%w: it is not to be here", ErrMoved)
	}
	return v, Request{
		Generation: v.Generation, Version: v.Version, Placement: placement, Range: f.Range, After: f.after, MaxBytes: s.cfg.PageBytes,
	}, nil
}

// call asks the peer for a page.
func (s *Sink) call(ctx context.Context, from ring.NodeID, q *Request) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	body, err := s.env.Caller.Call(ctx, from, Page, q.Encode())
	if err != nil {
		return Answer{}, told(err)
	}
	s.limit.take(len(body))
	return DecodeAnswer(body)
}

// store applies a page as any write, and waits until it is on disk, whatever happens
// to ctx: nothing is applied after Fill.
func (s *Sink) store(ctx context.Context, from ring.NodeID, g transport.Group) error {
	deadline := time.Now().Add(s.cfg.CallTimeout)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	done := make(verdicts, 1)
	s.env.Replica.Apply(from, g, deadline, done, 0)
	v := <-done
	switch v.Code {
	case transport.OK:
		return nil
	case transport.Overloaded, transport.Expired:
		return fmt.Errorf("%w: %w", ErrOverloaded, v.Err())
	case transport.Fenced:
		return fmt.Errorf("%w: %w", ErrFenced, v.Err())
	case transport.StaleCatalog, transport.UnknownTable:
		return fmt.Errorf("%w: %w", ErrStale, v.Err())
	}
	return v.Err()
}

// verdicts is a sink with room for what it will hear.
type verdicts chan transport.Verdict

// Done takes a verdict.
func (c verdicts) Done(_ uint32, v transport.Verdict) { c <- v }

// persist writes how far a fill is.
func (s *Sink) persist(f *fill) error {
	if err := s.env.Meta.Set(f.meta(), f.encode()); err != nil {
		return err
	}
	f.saved = f.Pages
	return nil
}
