package hinted

import (
	"context"
	"errors"
	"time"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
)

// schedule starts replays, and drops what is too old, until ctx ends; then it waits
// for the replays. While nothing is kept it has no timer.
func (h *Handoff) schedule(ctx context.Context) {
	defer h.replays.Wait()
	for {
		pause := h.tick(ctx, time.Now())
		var due <-chan time.Time
		var timer *time.Timer
		if pause > 0 {
			timer = time.NewTimer(pause)
			due = timer.C
		}
		select {
		case <-ctx.Done():
		case <-h.wake:
		case <-due:
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// tick starts the replays that are due, and returns when to look again; 0: when
// woken.
func (h *Handoff) tick(ctx context.Context, now time.Time) time.Duration {
	if err := h.evict(now); err != nil {
		h.env.Logger.Error("old hints cannot be deleted", "error", err)
	}
	view := h.env.View()
	waiting, pause := h.waiting(now)
	if view != nil {
		for _, q := range waiting {
			if err := h.consider(ctx, now, view, q); err != nil {
				h.env.Logger.Error("hints for a node that has left cannot be deleted", "target", q.id.target, "error", err)
			}
		}
		h.mu.Lock()
		h.prune(func(id ring.NodeID) bool { _, ok := view.Ring.Index(id); return ok })
		h.mu.Unlock()
	}
	h.tell(now)
	return pause
}

// waiting lists the queues that have hints and are not replayed, and says when to
// look again.
func (h *Handoff) waiting(now time.Time) (queues []*queue, pause time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, q := range h.order {
		if len(q.segments) == 0 {
			continue
		}
		if pause == 0 {
			pause = h.cfg.Poll
		}
		if !q.running && q.head() != nil {
			queues = append(queues, q)
			if until := q.notBefore.Sub(now); until > 0 {
				pause = min(pause, until)
			}
		}
	}
	if len(h.losses.log) > 0 && pause == 0 {
		pause = lossEvery
	}
	return queues, pause
}

// consider starts a queue's replay if its target is there and no pause is in the way.
func (h *Handoff) consider(ctx context.Context, now time.Time, view *schema.View, q *queue) error {
	_, member := view.Ring.Index(q.id.target)
	if !member && q.id.class == Plain {
		return h.abandon(q)
	}
	alive := h.reachable(view, q.id)
	h.mu.Lock()
	if alive && !q.alive { // it is back: what stopped an earlier replay is over
		q.notBefore, q.pause = time.Time{}, 0
	}
	q.alive = alive
	start := alive && !now.Before(q.notBefore)
	q.running = start
	h.mu.Unlock()
	if start {
		r := &replay{h: h, q: q, chunk: newChunk()}
		h.replays.Go(func() { r.run(ctx) })
	}
	return nil
}

// began logs that a replay begins, at most now and then for a queue.
func (r *replay) began() {
	h, q := r.h, r.q
	h.mu.Lock()
	loud := q.quiet.pass(time.Now())
	hints, bytes := q.hints, q.bytes
	q.progress.begin(time.Now())
	h.mu.Unlock()
	if loud {
		h.env.Logger.Info("replay of hints begins", "target", q.id.target, "class", q.id.class.String(), "hints", hints, "bytes", bytes)
	}
}

// ended notes why a replay stopped, and when the next may begin.
func (r *replay) ended(start time.Time, err error) {
	h, q := r.h, r.q
	now := time.Now()
	h.mu.Lock()
	q.running = false
	q.progress.end()
	h.shrunk()
	again := len(q.segments) > 0
	switch {
	case err == nil || errors.Is(err, errAway):
		q.notBefore, q.pause = time.Time{}, 0
		q.alive = err == nil
	default:
		q.pause = min(max(2*q.pause, h.cfg.BackoffMin), h.cfg.BackoffMax)
		q.notBefore = now.Add(q.pause)
		again = false
		q.progress.err = err
	}
	left := q.hints
	loud := q.quiet.loud || (left == 0 && r.sent.hints > 0 && q.quiet.pass(now))
	h.mu.Unlock()
	if again && err == nil {
		h.Wake()
	}
	if loud {
		args := []any{"target", q.id.target, "class", q.id.class.String(), "hints", r.sent.hints, "rows", r.sent.rows,
			"bytes", r.sent.bytes, "took", now.Sub(start), "left", left}
		if err != nil {
			args = append(args, "stopped_by", err)
		}
		h.env.Logger.Info("replay of hints ended", args...)
	}
}

// progressed notes what a chunk has done.
func (r *replay) progressed(done tally) {
	h, q := r.h, r.q
	h.mu.Lock()
	defer h.mu.Unlock()
	q.pause = 0
	q.progress.add(done, time.Now())
	h.shrunk()
}

// quietEvery bounds the lines about replays of one queue.
const quietEvery = 10 * time.Second

// quiet lets one replay in a while be logged.
type quiet struct {
	last time.Time
	loud bool // the present one is
}

func (q *quiet) pass(now time.Time) bool {
	q.loud = q.last.IsZero() || now.Sub(q.last) >= quietEvery
	if q.loud {
		q.last = now
	}
	return q.loud
}
