package mend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
)

// positionKey holds the last key that was read.
const positionKey = "mend/position"

// ScrubEnv is what a Scrub uses of the node around it. Every field is needed.
type ScrubEnv struct {
	Engine *storage.Engine
	// Report hears of a range of which something cannot be read.
	Report func(id token.RangeID, err error)
	// Bytes is about how much there is to read.
	Bytes      func() uint64
	Registerer prometheus.Registerer
}

// Scrub is a pass through all rows, and then the next. Step belongs to one
// goroutine; Status is safe for concurrent use.
type Scrub struct {
	cfg     Config
	env     ScrubEnv
	metrics *scrubMetrics

	loaded    bool
	next      []byte // where the next step begins
	persisted time.Time
	notBefore time.Time

	mu     sync.Mutex // guards status
	status ScrubStatus
}

// ScrubStatus is how far a scrub is.
type ScrubStatus struct {
	Read    uint64    // bytes, in this pass of this run
	Total   uint64    // about what a pass reads
	Started time.Time // of this pass, or of this run
	Passed  time.Time // when the last pass ended; zero: none has in this run
	Damaged uint64    // leaves of which something could not be read, in this run
}

// NewScrub makes a Scrub.
func NewScrub(cfg Config, env ScrubEnv) (*Scrub, error) {
	if env.Engine == nil || env.Report == nil || env.Bytes == nil || env.Registerer == nil {
		return nil, errors.New("mend: every field of ScrubEnv is needed")
	}
	return &Scrub{cfg: cfg, env: env, metrics: newScrubMetrics(env.Registerer), status: ScrubStatus{Started: time.Now()}}, cfg.Validate()
}

// Step reads one piece. idle means that the pace wants a pause.
func (s *Scrub) Step(context.Context) (idle bool, err error) {
	now := time.Now()
	if now.Before(s.notBefore) {
		return true, nil
	}
	if err := s.load(); err != nil {
		return false, err
	}
	read, end, err := s.piece()
	if err != nil {
		return false, err
	}
	total := s.env.Bytes()
	rate := max(s.cfg.LeastRate, int64(float64(total)/s.cfg.Pass.Seconds()))
	s.notBefore = now.Add(time.Duration(float64(max(read, 1)) / float64(rate) * float64(time.Second)))
	if end {
		s.notBefore = s.Status().Started.Add(s.cfg.Pass)
	}
	s.note(now, uint64(read), total, end)
	if now.Sub(s.persisted) < s.cfg.Persist && !end {
		return true, nil
	}
	s.persisted = now
	return true, s.env.Engine.Meta().Set(positionKey, s.next)
}

// Pause is how long the pace wants Step to be left alone.
func (s *Scrub) Pause() time.Duration { return max(0, time.Until(s.notBefore)) }

// Status says how far it is.
func (s *Scrub) Status() ScrubStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *Scrub) note(now time.Time, read, total uint64, end bool) {
	s.metrics.read.Add(float64(read))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Read, s.status.Total = s.status.Read+read, total
	if end {
		s.metrics.passes.Inc()
		s.status.Read, s.status.Started, s.status.Passed = 0, now, now
	}
}

func (s *Scrub) load() (err error) {
	if s.loaded {
		return nil
	}
	if s.next, _, err = s.env.Engine.Meta().Get(positionKey); err != nil {
		return fmt.Errorf("mend: load the position: %w", err)
	}
	if first := record.AppendSpacePrefix(nil, 1, record.SpaceHeads); bytes.Compare(s.next, first) < 0 {
		s.next = first
	}
	s.loaded = true
	return nil
}

// piece reads from the position on. end means that the pass is over, and the
// position is at the beginning again.
func (s *Scrub) piece() (read int, end bool, err error) {
	cursor, err := s.env.Engine.Cursor(s.next, nil)
	if err != nil {
		return 0, false, err
	}
	last := bytes.Clone(s.next)
	ok := cursor.Seek(s.next)
	for ; ok && read < s.cfg.Piece; ok = cursor.Next() {
		value, e := cursor.Value()
		if e != nil {
			err = e
			break
		}
		last = append(last[:0], cursor.Key()...)
		read += len(last) + len(value)
	}
	if err == nil && !ok {
		err = cursor.Err()
	}
	err = errors.Join(err, cursor.Close())
	switch {
	case errors.Is(err, storage.ErrCorrupt):
		return read, false, s.damaged(last, err)
	case err != nil:
		return read, false, err
	case !ok:
		s.next = record.AppendSpacePrefix(nil, 1, record.SpaceHeads)
		return read, true, nil
	}
	s.next = append(last, 0)
	return read, false, nil
}

// leafPrefixMax is the most bytes of a key that tell its leaf: table, space, window
// and token.
const leafPrefixMax = 4 + 1 + 4 + 8

// damaged reports the leaf in which a walk ended, and goes on behind it.
func (s *Scrub) damaged(last []byte, cause error) error {
	s.metrics.damaged.Inc()
	s.mu.Lock()
	s.status.Damaged++
	s.mu.Unlock()
	leaf, ok := record.LeafOf(last)
	for !ok && len(last) < leafPrefixMax { // the beginning of a table is no whole key
		last = append(last, 0)
		leaf, ok = record.LeafOf(last)
	}
	if !ok {
		return fmt.Errorf("mend: behind key %x: %w", last, cause)
	}
	s.env.Report(leaf.Range, cause)
	_, s.next = leaf.Bounds()
	return nil
}
