package ingest

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/httpapi/problem"
	"github.com/dunlindb/dunlin/httpapi/rows"
)

// batch is some lines that are written together. While it is open it belongs to
// read, then to its commit, and from done on to answerAll.
type batch struct {
	write   rows.Write // nil: no line of it has a row
	lines   []line
	bytes   int
	err     error // of all lines that have none of their own
	outcome rows.Outcome
	done    chan struct{} // one token: it is written
}

// line is what became of a line of the body.
type line struct {
	number int
	row    int // in the batch's write, or noRow
	id     event.ID
	made   bool  // id is there
	err    error // why it has no row, unless the batch has an error
}

const noRow = -1

// openBatch waits for a place in the pipeline and opens a batch.
func (b *bulk) openBatch() error {
	if err := b.trouble.wait(b); err != nil {
		return err
	}
	for _, places := range []chan struct{}{b.pipeline, b.g.slots} {
		select {
		case places <- struct{}{}:
		case <-b.ctx.Done():
			return b.ctx.Err()
		case <-b.g.stop:
			return coordinator.ErrStopping
		}
	}
	x, ok := b.g.batches.Get().(*batch)
	if !ok {
		x = &batch{done: make(chan struct{}, 1)}
	}
	b.open = x
	return nil
}

// send passes the open batch on, if there is one. It does not wait: the queue has
// room for the whole pipeline.
func (b *bulk) send() {
	x := b.open
	if x == nil {
		return
	}
	b.open = nil
	b.g.metrics.batches.Observe(float64(len(x.lines)))
	if x.write == nil {
		x.done <- struct{}{}
	} else {
		go b.commit(x) // answerAll waits for it
	}
	b.queue <- x
}

// The pauses between tries while this node has no room.
const (
	pauseMin = 10 * time.Millisecond
	pauseMax = time.Second
)

// commit writes a batch. While this node has no room for it, it waits and tries
// again, for half of the write's time: meanwhile the body is not read on.
func (b *bulk) commit(x *batch) {
	defer func() { x.done <- struct{}{} }()
	patience := time.Now().Add(b.request.Options.Timeout / 2)
	for pause := pauseMin; ; pause = min(2*pause, pauseMax) {
		x.outcome, x.err = x.write.Commit(b.ctx)
		var busy *coordinator.OverloadedError
		if !errors.As(x.err, &busy) || !busy.Local || time.Now().Add(pause).After(patience) {
			return
		}
		if pause == pauseMin {
			b.g.metrics.pauses.Inc()
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-b.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// release gives back a batch that was answered, and its place.
func (b *bulk) release(x *batch) {
	if x.write != nil {
		x.write.Release()
	}
	clear(x.lines)
	*x = batch{lines: x.lines[:0], done: x.done}
	b.g.batches.Put(x)
	<-b.g.slots
	<-b.pipeline
}

// fate is what became of a line.
func (x *batch) fate(l *line) (result *coordinator.GroupResult, err error) {
	switch {
	case l.err != nil:
		return nil, l.err
	case x.err != nil:
		return nil, x.err
	}
	result = x.outcome.Row(l.row)
	return result, result.Err
}

// trouble keeps a request from being read on while replicas have no room or this
// node serves no writes, and ends one that gets nowhere.
type trouble struct {
	until  atomic.Int64 // Unix nanoseconds
	pause  time.Duration
	inARow int        // batches that failed
	giveUp chan error // one, the last failure, when there were too many
}

// note hears how a batch ended. patience is how many batches in a row may fail; 0
// is any number.
func (t *trouble) note(m *metrics, err error, patience int) {
	if err == nil {
		t.pause, t.inARow = 0, 0
		return
	}
	p := problem.Of(err)
	if !p.Retriable() {
		return
	}
	if t.inARow++; t.inARow == patience {
		t.giveUp <- err
	}
	if p.RetryAfter == 0 {
		return // it is not for lack of room
	}
	t.pause = min(max(2*t.pause, 10*pauseMin), pauseMax)
	t.until.Store(time.Now().Add(t.pause).UnixNano())
	m.pauses.Inc()
}

// wait returns when the body may be read on; the error is why it may not.
func (t *trouble) wait(b *bulk) error {
	select {
	case err := <-t.giveUp:
		return err
	default:
	}
	until := t.until.Load()
	if until == 0 {
		return nil
	}
	pause := time.Until(time.Unix(0, until))
	if pause <= 0 {
		return nil
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-b.ctx.Done():
		return b.ctx.Err()
	case <-b.g.stop:
		return coordinator.ErrStopping
	}
}
