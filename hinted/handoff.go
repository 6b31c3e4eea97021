package hinted

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/hinted/form"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// Env is what a Handoff uses of the node around it. Every field is needed. The
// functions may be called from any goroutine; Alive, Apply and OnDrop must not block.
type Env struct {
	Hints *storage.Hints
	Self  ring.NodeID
	// View is the catalog's present view; nil before this node joined a cluster.
	View func() *schema.View
	// Alive says whether a node can be expected to answer; it is not asked about Self.
	Alive func(ring.NodeID) bool
	// Apply is transport.Transport's: sink hears exactly once, by the deadline.
	Apply func(to ring.NodeID, g *transport.Group, deadline time.Time, sink transport.Sink, tag uint32)
	// OnDrop hears that a replica will miss plain hints of these ranges and tables
	// until anti-entropy carries them; nil means all of them.
	OnDrop     func(target ring.NodeID, ranges []token.RangeID, tables []uint32)
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// validate names the first missing field.
func (e *Env) validate() error {
	switch {
	case e.Hints == nil || e.Self == ring.NodeID{}:
		return errors.New("hinted: Env.Hints and Env.Self are needed")
	case e.View == nil || e.Alive == nil || e.Apply == nil || e.OnDrop == nil:
		return errors.New("hinted: Env.View, Env.Alive, Env.Apply and Env.OnDrop are needed")
	case e.Logger == nil || e.Registerer == nil:
		return errors.New("hinted: Env.Logger and Env.Registerer are needed")
	}
	return nil
}

// Handoff is a node's hints. Keep and Hold work before Run too, as far as the
// buffer reaches; what Run finds there when it is stopped is written.
type Handoff struct {
	cfg     Config
	env     Env
	store   *storage.Hints
	metrics *metrics
	buffer  *buffer
	pace    *pace
	wake    chan struct{}  // one slot: the scheduler has something to look at
	replays sync.WaitGroup // belongs to the scheduler

	publishing chan struct{} // one slot, held by the one that raises the floor

	mu      sync.Mutex // guards the fields below, the queues and their segments
	queues  map[queueID]*queue
	order   []*queue // of queues, by id
	stored  [Counted + 1]tally
	losses  losses
	changed chan struct{} // closed when a queue or the buffer shrank; nil while nobody waits
}

// New finds the hints that an earlier run has left. It starts nothing.
func New(cfg Config, env Env) (*Handoff, error) {
	if err := errors.Join(cfg.Validate(), env.validate()); err != nil {
		return nil, err
	}
	h := &Handoff{
		cfg: cfg, env: env, store: env.Hints,
		buffer: newBuffer(cfg.BufferBytes), pace: newPace(cfg.ReplayRate),
		wake: make(chan struct{}, 1), publishing: make(chan struct{}, 1),
		queues: map[queueID]*queue{}, losses: newLosses(),
	}
	if err := h.find(); err != nil {
		return nil, fmt.Errorf("hinted: find what is kept: %w", err)
	}
	var err error
	if h.metrics, err = newMetrics(env.Registerer, h); err != nil {
		return nil, fmt.Errorf("hinted: register metrics: %w", err)
	}
	return h, nil
}

// Run writes and replays hints until ctx ends; then it writes what is buffered,
// waits for the answers that replays still expect, and returns.
func (h *Handoff) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { h.write(ctx) })
	running.Go(func() { h.schedule(ctx) })
	running.Wait()
	return nil
}

// Keep keeps a plain hint of a group that target has missed. It copies the group
// and never blocks; a hint that finds no room is dropped and counted.
func (h *Handoff) Keep(target ring.NodeID, g *transport.Group) {
	refused := h.buffer.put(item{id: queueID{Plain, target}}, g)
	if refused == "" {
		return
	}
	var m form.Marks
	m.Add(g.Entries)
	h.mu.Lock()
	h.lose(target, refused, tally{hints: 1, rows: int64(g.Count), bytes: int64(len(g.Entries))}, &m)
	h.mu.Unlock()
	h.buffer.nudge()
}

// Hold keeps a counted hint: sink hears OK once it is on disk. Without room, and
// while this node stops, it hears Overloaded; for a group born at or below what
// Publish returned, Fenced; and Failed when the disk has failed. It copies the group
// and never blocks; sink may hear from inside the call.
func (h *Handoff) Hold(target ring.NodeID, g *transport.Group, sink transport.Sink, tag uint32) {
	refused := full
	if h.room(g) {
		refused = h.buffer.put(item{id: queueID{Counted, target}, sink: sink, tag: tag}, g)
	}
	if refused == "" {
		return
	}
	h.metrics.refused.WithLabelValues(string(refused)).Add(float64(g.Count))
	v := transport.Verdict{Code: transport.Overloaded, Detail: "no room for another hint: " + string(refused)}
	if refused == fenced {
		v = transport.Verdict{Code: transport.Fenced, Detail: "born too long ago to be held as a hint"}
	}
	sink.Done(tag, v)
}

// room reports whether the counted hints may grow by a group.
func (h *Handoff) room(g *transport.Group) bool {
	h.mu.Lock()
	stored := h.stored[Counted].bytes
	h.mu.Unlock()
	return stored+int64(h.buffer.size(Counted))+int64(len(g.Entries)) <= h.cfg.CountedBytes
}

// Wake makes replay look at once whether targets are alive, instead of at the next
// poll.
func (h *Handoff) Wake() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// OldestCounted returns a timestamp that no counted hint was born before, as close
// to the smallest as segments tell: they leave as a whole. ok is false if none is held.
func (h *Handoff) OldestCounted() (born hlc.Timestamp, ok bool) {
	// The buffer first: from it hints go to the queues, never back.
	buffered := h.buffer.oldest()
	h.mu.Lock()
	defer h.mu.Unlock()
	born = min(buffered, h.oldestStored())
	return born, born != never
}

// Oldest returns a timestamp that no stored hint for a node was born before, of any
// class, as close to the smallest as segments tell. ok is false if none is kept.
func (h *Handoff) Oldest(target ring.NodeID) (born hlc.Timestamp, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	born = never
	for _, q := range h.order {
		if q.id.target != target {
			continue
		}
		for _, s := range q.segments {
			born = min(born, s.born)
		}
	}
	return born, born != never
}

// oldestStored is OldestCounted without the buffer; never if there is none.
func (h *Handoff) oldestStored() hlc.Timestamp {
	born := never
	for _, q := range h.order {
		if q.id.class == Counted {
			for _, s := range q.segments {
				born = min(born, s.born)
			}
		}
	}
	return born
}

// Publish returns the largest timestamp up to limit such that no counted hint born
// at or below it is held, and makes sure, on disk, that none will be: purge fences
// that stay at or below it cannot refuse a counted hint. It never goes back.
func (h *Handoff) Publish(limit hlc.Timestamp) (hlc.Timestamp, error) {
	h.publishing <- struct{}{}
	defer func() { <-h.publishing }()
	h.mu.Lock()
	floor, raised := h.buffer.raise(min(limit, h.oldestStored()-1))
	h.mu.Unlock()
	if !raised {
		return floor, nil
	}
	if err := h.store.Write([]storage.HintPair{{Key: keyFloor, Value: appendFloor(nil, floor)}}, true); err != nil {
		return 0, fmt.Errorf("hinted: publish the oldest counted hint: %w", err)
	}
	return floor, nil
}

// ErrDamaged says that the counted hints that are left cannot be read.
var ErrDamaged = errors.New("hinted: the hints that are left are damaged and cannot be replayed")

// Drain returns nil when nothing is kept any more, in memory or on disk; ErrDamaged
// when nothing of what is left can be read; or what is left when ctx ends.
func (h *Handoff) Drain(ctx context.Context) error {
	for {
		h.mu.Lock()
		if h.changed == nil {
			h.changed = make(chan struct{})
		}
		changed := h.changed
		h.mu.Unlock()
		// The buffer first: from it hints go to the queues, never back.
		buffered := h.buffer.size(Plain) + h.buffer.size(Counted)
		left, damaged, running := h.left()
		switch {
		case buffered > 0 || running || left > damaged:
		case damaged > 0:
			return fmt.Errorf("%w: %d", ErrDamaged, damaged)
		default:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("hinted: %d hints are not replayed yet: %w", left, ctx.Err())
		}
	}
}

// left counts the hints of all queues, and those of them that are stuck in damaged
// segments, and says whether any are being replayed.
func (h *Handoff) left() (hints, damaged int64, running bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, q := range h.order {
		running = running || q.running
		hints += q.hints
		for _, s := range q.segments {
			if s.damaged && q.id.class == Counted { // plain ones are about to go
				damaged += s.hints
			}
		}
	}
	return hints, damaged, running
}

// shrunk wakes Drain. h.mu is held.
func (h *Handoff) shrunk() {
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// queue returns a queue, made if need be. h.mu is held.
func (h *Handoff) queue(id queueID) *queue {
	if q := h.queues[id]; q != nil {
		return q
	}
	q := &queue{id: id, attempts: map[uint64]int{}}
	at, _ := slices.BinarySearchFunc(h.order, id, func(q *queue, id queueID) int { return q.id.compare(id) })
	h.order = slices.Insert(h.order, at, q)
	h.queues[id] = q
	return q
}
