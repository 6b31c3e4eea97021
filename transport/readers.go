package transport

import (
	"context"
	"sync"
	"time"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport/wire"
)

// query is a read or scan of a peer that waits for a reader.
type query struct {
	session  *session
	id       uint32
	request  wire.Query
	deadline time.Time
}

// readers executes queries on a bounded number of goroutines that live while
// there is work. They belong to the transport's running group.
type readers struct {
	t *Transport

	mu      sync.Mutex // guards busy, waiting
	busy    int
	waiting []query // oldest first
}

// submit takes a query unless all readers and all waiting places are taken.
func (r *readers) submit(q query) bool {
	r.mu.Lock()
	if r.busy < r.t.cfg.Readers {
		r.busy++
		r.mu.Unlock()
		r.t.running.Go(func() { r.run(q) })
		return true
	}
	defer r.mu.Unlock()
	if len(r.waiting) >= r.t.cfg.ReadQueue {
		return false
	}
	r.waiting = append(r.waiting, q)
	return true
}

// run executes queries until none waits.
func (r *readers) run(q query) {
	for more := true; more; q, more = r.next() {
		q.execute()
	}
}

// next hands over the oldest waiting query, or ends the reader.
func (r *readers) next() (query, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		r.waiting = nil
		r.busy--
		return query{}, false
	}
	q := r.waiting[0]
	r.waiting[0] = query{}
	r.waiting = r.waiting[1:]
	return q, true
}

// execute asks the handler and answers. What has expired while it waited is not
// done, and an answer that nobody waits for any more is not sent.
func (q *query) execute() {
	s := q.session
	if !q.deadline.After(time.Now()) || s.ctx.Err() != nil {
		s.t.metrics.expired.Inc()
		s.answer(q.id, verdictExpired)
		return
	}
	ctx, cancel := context.WithDeadline(s.ctx, q.deadline)
	defer cancel()
	kind, verdict, payload := ask(ctx, q.request, s.t.env.Handler, s.from.Node)
	switch {
	case !q.deadline.After(time.Now()):
		s.answer(q.id, verdictExpired)
	case verdict.Code != OK:
		s.answer(q.id, verdict)
	default:
		s.answerWith(q.id, kind, payload)
	}
}

// ask calls the handler and encodes its answer.
func ask(ctx context.Context, r wire.Query, h Handler, from ring.NodeID) (wire.Kind, Verdict, []byte) {
	if r.Scan != nil {
		a := h.Scan(ctx, from, r.Scan)
		if a.Verdict.Code != OK {
			return wire.KindScanAnswer, a.Verdict, nil
		}
		return wire.KindScanAnswer, Verdict{}, wire.AppendScanAnswer(make([]byte, 0, 64+len(a.Partitions)+len(a.Rows)), &a)
	}
	a := h.Read(ctx, from, r.Read)
	if a.Verdict.Code != OK {
		return wire.KindReadAnswer, a.Verdict, nil
	}
	return wire.KindReadAnswer, Verdict{}, wire.AppendReadAnswer(make([]byte, 0, 64+len(a.Head)+len(a.Rows)), &a)
}
