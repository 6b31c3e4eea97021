package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
)

// Reader is this node as a replica that is read from: *replica.Replica.
type Reader interface {
	// View is what the whole replica serves by; nil before the first.
	View() *schema.View
	// InQuarantine reports whether a range must not be read.
	InQuarantine(id token.RangeID) bool
	// Quarantine hears of a range of which something cannot be read.
	Quarantine(id token.RangeID, cause error)
}

// SourceEnv is what a Source uses of the node around it. Every field is needed.
type SourceEnv struct {
	Self       ring.NodeID
	Replica    Reader
	Engine     *storage.Engine
	Registerer prometheus.Registerer
}

// Source reads pages of this node's ranges for others. It is safe for concurrent
// use.
type Source struct {
	cfg     Config
	env     SourceEnv
	metrics *sourceMetrics
	serving chan struct{} // slots of pages that are being read
}

// NewSource makes a Source.
func NewSource(cfg Config, env SourceEnv) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if env.Self == (ring.NodeID{}) || env.Replica == nil || env.Engine == nil || env.Registerer == nil {
		return nil, errors.New("stream: SourceEnv.Self, Replica, Engine and Registerer are needed")
	}
	return &Source{cfg: cfg, env: env, metrics: newSourceMetrics(env.Registerer), serving: make(chan struct{}, cfg.Serving)}, nil
}

// Handle answers a peer's Page call. Its errors are *transport.ControlError.
func (s *Source) Handle(ctx context.Context, from ring.NodeID, kind string, body []byte) ([]byte, error) {
	answer, err := s.handle(ctx, from, kind, body)
	if err != nil {
		control := refused(err)
		s.metrics.refused.WithLabelValues(control.Kind).Inc()
		return nil, control
	}
	return answer.Encode(), nil
}

func (s *Source) handle(ctx context.Context, from ring.NodeID, kind string, body []byte) (Answer, error) {
	if kind != Page {
		return Answer{}, fmt.Errorf("%w: there is no %q", ErrMessage, kind)
	}
	q, err := DecodeRequest(body)
	if err != nil {
		return Answer{}, err
	}
	return s.Page(ctx, from, &q)
}

// Page reads a page. The errors are ErrMessage, ErrStale, ErrMoved, ErrUnreadable
// (with storage.ErrCorrupt, or record's errors, if that was found out now) and
// ErrOverloaded, and those of ctx and storage.
func (s *Source) Page(ctx context.Context, from ring.NodeID, q *Request) (Answer, error) {
	select {
	case s.serving <- struct{}{}:
		defer func() { <-s.serving }()
	default:
		return Answer{}, fmt.Errorf("%w: %d pages are being read", ErrOverloaded, s.cfg.Serving)
	}
	v, err := s.admit(from, q)
	if err != nil {
		return Answer{}, err
	}
	p := &pageReader{source: s, view: v, q: q, limit: s.cfg.PageBytes}
	if q.MaxBytes > 0 {
		p.limit = min(p.limit, q.MaxBytes)
	}
	if err := p.read(ctx); err != nil {
		return Answer{}, s.failed(q.Range, err)
	}
	// The range may have moved away, and its data with it, during the read.
	if _, err := s.admit(from, q); err != nil {
		return Answer{}, err
	}
	s.metrics.pages.Inc()
	s.metrics.rows.Add(float64(p.sent))
	s.metrics.bytes.Add(float64(len(p.answer.Entries)))
	return p.answer, nil
}

// admit checks that both nodes serve by one version of the catalog, by which this
// one is a whole replica of the range and the other is to have it.
func (s *Source) admit(from ring.NodeID, q *Request) (*schema.View, error) {
	v := s.env.Replica.View()
	if v == nil || v.Generation != q.Generation || v.Version != q.Version {
		return nil, fmt.Errorf("%w: version %d of generation %d is not the one here", ErrStale, q.Version, q.Generation)
	}
	if q.Placement < 0 || q.Placement >= v.Ring.Placements() || q.Range >= token.Ranges {
		return nil, fmt.Errorf("%w: range %d of placement %d", ErrMessage, q.Range, q.Placement)
	}
	if at, ok := record.LeafOf(q.After); q.After != nil && (!ok || at.Range != q.Range) {
		return nil, fmt.Errorf("%w: the position is not in range %d", ErrMessage, q.Range)
	}
	self, known := v.Ring.Index(s.env.Self)
	other, member := v.Ring.Index(from)
	if !known || !slices.Contains(v.Ring.Now(q.Placement, q.Range), self) {
		return nil, fmt.Errorf("%w: range %d is not here", ErrMoved, q.Range)
	}
	if !member || !v.Ring.Holds(q.Placement, q.Range, other) {
		return nil, fmt.Errorf("%w: range %d is not to be at %s", ErrMoved, q.Range, from)
	}
	if s.env.Replica.InQuarantine(q.Range) {
		return nil, fmt.Errorf("%w: range %d is in quarantine", ErrUnreadable, q.Range)
	}
	return v, nil
}

// failed reports what cannot be read.
func (s *Source) failed(id token.RangeID, err error) error {
	if errors.Is(err, storage.ErrCorrupt) || errors.Is(err, record.ErrCorrupt) || errors.Is(err, record.ErrPoison) {
		s.env.Replica.Quarantine(id, err)
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return err
}
