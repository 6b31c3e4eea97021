package hinted

import (
	"context"
	"time"

	"github.com/dunlindb/dunlin/hinted/form"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/transport"
)

// writer moves hints from the buffer to the store. It belongs to one goroutine.
type writer struct {
	h      *Handoff
	pairs  []storage.HintPair
	keys   []byte
	staged []*staged
	dirty  bool // something was written that is not synced
}

// staged is what a batch adds to one queue.
type staged struct {
	q       *queue
	adds    segment
	seals   *segment // is full, and sealed by the batch
	already bool     // the queue was not empty
}

// write writes what is buffered until ctx ends, and then the rest.
func (h *Handoff) write(ctx context.Context) {
	defer h.abort()
	w := &writer{h: h}
	var timer *time.Timer
	var due <-chan time.Time // set while dirty
	for {
		select {
		case <-ctx.Done():
			if timer != nil {
				timer.Stop()
			}
			h.buffer.close()
			w.flush()
			w.sync()
			return
		case <-due:
			due = nil
			w.sync()
		case <-h.buffer.wake:
			w.flush()
		}
		if w.dirty && due == nil {
			timer = time.NewTimer(h.cfg.SyncInterval)
			due = timer.C
		}
	}
}

// abort refuses what comes later, and what is left if the store has ended the writer.
func (h *Handoff) abort() {
	h.buffer.close()
	b := h.buffer.take()
	for i := range b.items {
		if it := &b.items[i]; it.sink != nil {
			it.sink.Done(it.tag, transport.Verdict{Code: transport.Failed, Detail: "the store of hints has failed"})
		}
	}
	h.buffer.written(b)
}

// sync puts on disk what was written without a sync.
func (w *writer) sync() {
	if !w.dirty {
		return
	}
	w.dirty = false
	if err := w.h.store.Sync(); err != nil {
		w.h.env.Logger.Error("hints cannot be synced", "error", err)
	}
}

// flush writes what is buffered, in one batch, and answers its sinks.
func (w *writer) flush() {
	h := w.h
	b := h.buffer.take()
	verdict := transport.Verdict{Code: transport.Failed, Detail: "the store of hints has failed"}
	// Deferred, because a store whose log fails ends the goroutine that it fails on.
	defer func() {
		for i := range b.items {
			if it := &b.items[i]; it.sink != nil {
				it.sink.Done(it.tag, verdict)
			}
		}
		h.buffer.written(b)
		h.mu.Lock()
		h.shrunk()
		h.mu.Unlock()
		h.tell(time.Now())
	}()
	if len(b.items) == 0 {
		return
	}
	sync := b.born != never
	w.stage(b, time.Now())
	err := h.store.Write(w.pairs, sync)
	if err != nil {
		why := whyNot(err)
		if why == diskFull {
			verdict.Code = transport.Overloaded
		}
		verdict.Detail = err.Error()
		w.fail(b, why)
		return
	}
	verdict = transport.Verdict{}
	w.dirty = !sync
	if stale := w.account(); stale != nil {
		for _, s := range stale {
			_ = h.erase(s.q.id, s.seals) // what fails is found, and erased, at the next start
		}
	}
	h.count(b)
	if h.crowded() {
		if err := h.evict(time.Now()); err != nil {
			h.env.Logger.Error("hints over a bound cannot be deleted", "error", err)
		}
	}
}

// stage makes the pairs of a batch, and notes what they add to each queue.
func (w *writer) stage(b batch, now time.Time) {
	clear(w.pairs)
	w.pairs, w.staged = w.pairs[:0], w.staged[:0]
	if need := len(b.items) * hintKeySize; cap(w.keys) < need {
		w.keys = make([]byte, 0, need+need/4)
	}
	w.keys = w.keys[:0]
	for i := range b.items {
		it := &b.items[i]
		value := b.data[it.start:it.end]
		s := w.stagedFor(it.id, now)
		h, _ := form.DecodeHint(value) // the buffer has just encoded it
		seq := max(uint64(h.Created), s.q.lastSeq+1)
		s.q.lastSeq = seq
		s.adds.add(seq, &h, sizeOf(value, it.rows))
		at := len(w.keys)
		w.keys = it.id.appendKey(w.keys, seq)
		w.pairs = append(w.pairs, storage.HintPair{Key: w.keys[at:len(w.keys):len(w.keys)], Value: value})
	}
}

// stagedFor finds a queue's part of the batch; a new one seals the queue's segment
// if that is full.
func (w *writer) stagedFor(id queueID, now time.Time) *staged {
	for _, s := range w.staged {
		if s.q.id == id {
			return s
		}
	}
	h := w.h
	h.mu.Lock()
	s := &staged{q: h.queue(id)}
	s.already = s.q.hints > 0
	var summary storage.HintPair
	if active := s.q.active(); active != nil && active.full(&h.cfg, now) {
		s.seals = active
		summary = storage.HintPair{Key: id.summaryKey(active.first), Value: appendSummary(nil, active)}
	}
	h.mu.Unlock()
	if s.seals != nil {
		w.pairs = append(w.pairs, summary)
	}
	w.staged = append(w.staged, s)
	return s
}

// account adds to the queues what was written: only now replay may read it. It
// returns what sealed a segment that is gone by now, and left its summary behind.
func (w *writer) account() (stale []*staged) {
	h := w.h
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range w.staged {
		if s.seals != nil {
			s.seals.sealed = true
			if s.seals.gone {
				stale = append(stale, s)
			}
		}
		q := s.q
		q.add(s.adds.tally)
		h.stored[q.id.class].add(s.adds.tally)
		if active := q.active(); active != nil {
			active.join(&s.adds)
		} else {
			adds := s.adds
			q.segments = append(q.segments, &adds)
		}
		if !s.already {
			h.Wake()
		}
	}
	return stale
}

// fail counts what could not be written.
func (w *writer) fail(b batch, why reason) {
	h := w.h
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range w.staged {
		if s.q.id.class == Plain {
			h.lose(s.q.id.target, why, s.adds.tally, &s.adds.marks)
		}
	}
	for i := range b.items {
		if it := &b.items[i]; it.id.class == Counted {
			h.metrics.refused.WithLabelValues(string(why)).Add(float64(it.rows))
		}
	}
}

// count counts what was kept.
func (h *Handoff) count(b batch) {
	var rows [Counted + 1]int
	for i := range b.items {
		if it := &b.items[i]; !it.again {
			rows[it.id.class] += it.rows
		}
	}
	for class := Plain; class <= Counted; class++ {
		if rows[class] > 0 {
			h.metrics.kept[class].Add(float64(rows[class]))
		}
	}
}

// crowded reports whether plain hints may be over a bound of bytes.
func (h *Handoff) crowded() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stored[Plain].bytes > min(h.cfg.TargetBytes, h.cfg.TotalBytes)
}
