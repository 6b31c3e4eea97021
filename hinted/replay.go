package hinted

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/hinted/form"
	"github.com/dunlindb/dunlin/hinted/route"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/transport"
)

// replay is one go at a queue's hints. It belongs to one goroutine.
type replay struct {
	h     *Handoff
	q     *queue
	chunk *chunk
	at    *segment        // that the chunk was read from
	group transport.Group // the one that is being sent
	sent  tally           // hints that are done
}

// verdictError is why a replay stops.
type verdictError struct{ transport.Verdict }

func (e verdictError) Error() string { return e.Verdict.Err().Error() }

// errAway says that the target is not there: no failure.
var errAway = errors.New("hinted: the target is away")

// errDamaged says that a hint cannot be read.
var errDamaged = errors.New("hinted: a hint cannot be read")

// run replays until the queue is empty, the target is away, a hint has to wait, or
// ctx ends.
func (r *replay) run(ctx context.Context) {
	h, q := r.h, r.q
	start := time.Now()
	var err error
	defer func() { r.ended(start, err) }()
	r.began()
	for more := true; more && err == nil && ctx.Err() == nil; {
		more, err = r.step(ctx)
		if errors.Is(err, errDamaged) || errors.Is(err, storage.ErrCorrupt) {
			err = h.damage(q, r.at, err)
		}
		h.tell(time.Now())
	}
}

// step replays one chunk. more says that the queue may have another.
func (r *replay) step(ctx context.Context) (more bool, err error) {
	h, q := r.h, r.q
	view := h.env.View()
	if view == nil || !h.reachable(view, q.id) {
		return false, errAway
	}
	h.mu.Lock()
	s := q.head()
	var from, to uint64
	if s != nil {
		from, to = s.from, s.last
	}
	h.mu.Unlock()
	r.at = s
	if s == nil {
		clear(q.attempts)
		return false, nil
	}
	r.chunk.reset()
	err = h.fillChunk(r.chunk, q.id, from, to)
	if len(r.chunk.kept) == 0 {
		if err != nil {
			return false, err
		}
		return true, r.pass(s, to, tally{}) // what it counts is not there
	}
	r.send(ctx, view)
	if e := r.finish(ctx, s); e != nil {
		return false, e // before damage that may lie behind
	}
	return true, err
}

// reachable reports whether a queue can be replayed: its target answers, or others
// stand in for it because nobody waits for it any more. Plain hints wait for a member
// that may come back.
func (h *Handoff) reachable(v *schema.View, id queueID) bool {
	if id.target == h.env.Self || h.env.Alive(id.target) {
		return true
	}
	_, member := v.Ring.Index(id.target)
	return !member || id.class == Counted && route.Gone(v, id.target)
}

// send sends a chunk's hints in order, at the pace, and returns when everything
// sent is answered.
func (r *replay) send(ctx context.Context, view *schema.View) {
	c := r.chunk
	router := route.New(view, r.q.id.target, r.q.id.class == Counted)
	for i := range c.kept {
		k := &c.kept[i]
		k.from = len(c.boxes)
		if !k.unreadable {
			c.boxes, k.where = router.Route(&k.Hint, c.boxes)
			k.unreadable = k.where.Corrupt
		}
		k.to = len(c.boxes)
	}
	c.begin()
	for i := range c.kept {
		k := &c.kept[i]
		if k.unreadable || k.where.Early || !r.sendOne(ctx, view, k) {
			r.leave(i)
			break
		}
	}
	c.end()
	<-c.done
}

// leave notes that the hints from i on were not sent, or not all of the first.
func (r *replay) leave(i int) {
	c := r.chunk
	c.mu.Lock()
	defer c.mu.Unlock()
	sent := len(c.verdicts)
	for ; i < len(c.kept); i++ {
		k := &c.kept[i]
		k.unsent, k.from, k.to = true, min(k.from, sent), min(k.to, sent)
	}
}

// sendOne sends a hint's parcels; it reports false when sending on is of no use.
func (r *replay) sendOne(ctx context.Context, view *schema.View, k *kept) bool {
	h, c := r.h, r.chunk
	for i := k.from; i < k.to; i++ {
		p := &c.boxes[i]
		if !h.pace.wait(ctx, len(p.Entries)) {
			return false
		}
		tag, ok := c.sending()
		if !ok {
			return false
		}
		r.group = transport.Group{Version: view.Version, Born: k.Born, Count: p.Rows, Entries: p.Entries}
		h.env.Apply(p.To, &r.group, time.Now().Add(h.cfg.ReplayTimeout), c, tag)
	}
	return true
}

// finish deletes what of the chunk is done, up to the first hint that is not, and
// returns why that one is not.
func (r *replay) finish(ctx context.Context, s *segment) (err error) {
	h, c := r.h, r.chunk
	var done tally
	last := uint64(0)
	r.fail()
	for i := range c.kept {
		k := &c.kept[i]
		f, why := c.verdict(k)
		if k.unreadable {
			err = errDamaged
			break
		}
		if f == refused && h.tries(r.q, k) {
			f, err = r.giveUp(ctx, k, why)
		}
		if f == refused || f == later {
			h.metrics.replayErrors.WithLabelValues(why.Code.String()).Inc()
			err = errors.Join(err, verdictError{why})
			break
		}
		r.count(k, f, why)
		delete(r.q.attempts, k.seq)
		last = k.seq
		done.add(k.size)
	}
	if last > 0 {
		if e := r.pass(s, last, done); e != nil {
			return errors.Join(err, e)
		}
		r.progressed(done)
	}
	return err
}

// fail counts the attempts of the chunk's hints that their replica failed to apply.
func (r *replay) fail() {
	for i := range r.chunk.kept {
		k := &r.chunk.kept[i]
		if f, _ := r.chunk.verdict(k); f == refused {
			r.q.attempts[k.seq]++
		}
	}
}

// tries reports whether a hint has used up its attempts.
func (h *Handoff) tries(q *queue, k *kept) bool { return q.attempts[k.seq] >= h.cfg.Attempts }

// giveUp ends the attempts at a hint that its replica fails to apply, so that others
// come through: a plain one is dropped, a counted one goes to the end of the queue.
func (r *replay) giveUp(ctx context.Context, k *kept, why transport.Verdict) (fate, error) {
	h, id := r.h, r.q.id
	h.env.Logger.Error("a replica fails to apply a hint", "target", id.target, "class", id.class.String(),
		"attempts", h.cfg.Attempts, "rows", k.Count, "born", k.Born.Time(), "error", why.Err())
	if id.class == Plain {
		var m form.Marks
		m.Add(k.Entries)
		h.mu.Lock()
		h.lose(id.target, failed, k.size, &m)
		h.mu.Unlock()
		k.where = route.Routed{} // all of it is counted
		return needless, nil
	}
	answer := make(answer, 1)
	g := transport.Group{Version: k.Version, Born: k.Born, Count: k.Count, Entries: k.Entries}
	if h.buffer.put(item{id: id, sink: answer, again: true}, &g) != "" {
		return refused, nil
	}
	if v := <-answer; v.Code != transport.OK {
		return refused, v.Err()
	}
	k.where = route.Routed{} // its rows are counted when it comes again
	return needless, nil
}

// answer is a sink for one verdict.
type answer chan transport.Verdict

// Done passes the verdict on.
func (a answer) Done(_ uint32, v transport.Verdict) { a <- v }

// count counts a hint that is done, and the rows of it that nobody gets.
func (r *replay) count(k *kept, f fate, why transport.Verdict) {
	h, class := r.h, r.q.id.class
	sent := tally{rows: k.size.rows - int64(k.where.Lost+k.where.Dropped), bytes: k.size.bytes}
	h.mu.Lock()
	defer h.mu.Unlock()
	if k.where.Lost > 0 {
		h.lose(r.q.id.target, moved, tally{hints: 1, rows: int64(k.where.Lost)}, k.where.Marks)
	}
	if k.where.Dropped > 0 {
		h.lose(r.q.id.target, unknownTable, tally{hints: 1, rows: int64(k.where.Dropped)}, nil)
	}
	switch {
	case f == delivered && sent.rows > 0:
		r.sent.add(k.size)
		h.metrics.replayed[class].Add(float64(sent.rows))
		h.metrics.replayedBytes.Add(float64(sent.bytes))
	case f == needless && why.Code == transport.Fenced:
		h.lose(r.q.id.target, fenced, tally{hints: 1, rows: sent.rows, bytes: sent.bytes}, nil)
	case f == needless && why.Code == transport.UnknownTable:
		h.lose(r.q.id.target, unknownTable, tally{hints: 1, rows: sent.rows, bytes: sent.bytes}, nil)
	}
}

// pass deletes a segment's hints up to and with seq, and the segment when it is
// through.
func (r *replay) pass(s *segment, seq uint64, done tally) error {
	h, q := r.h, r.q
	h.mu.Lock()
	if s.gone {
		h.mu.Unlock()
		return nil
	}
	from := s.from
	h.take(q, s, done)
	s.from = seq + 1
	through := seq >= s.last
	if through {
		h.remove(q, s)
	}
	h.mu.Unlock()
	var err error
	if through && s.sealed {
		err = h.erase(q.id, s)
	} else {
		err = h.store.Delete(q.id.key(from), q.id.key(seq+1))
	}
	if err != nil {
		return fmt.Errorf("hinted: delete hints that are done: %w", err)
	}
	return nil
}

// damage sets a segment that cannot be read aside: plain hints are dropped, counted
// ones kept and skipped. The replay goes on behind it.
func (h *Handoff) damage(q *queue, s *segment, cause error) error {
	h.mu.Lock()
	s.damaged = true
	left := s.tally
	h.mu.Unlock()
	h.env.Logger.Error("a segment of hints cannot be read", "target", q.id.target, "class", q.id.class.String(),
		"hints", left.hints, "bytes", left.bytes, "error", cause)
	h.metrics.damaged.Inc()
	return h.evict(time.Now())
}
