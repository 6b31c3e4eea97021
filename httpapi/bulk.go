package httpapi

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/event"
)

// bulk is one NDJSON body on its way in:
//
//	fill ──chunks──→ read ──batches, in order──→ answer
//	                   └─→ commit (one goroutine a batch)
//
// read cuts chunks into lines and adds their rows to the open batch, which is sent
// when it is full, or when no more input came for Config.Bulk.Linger. A batch takes
// a place in the pipeline when it is opened, and gives it back when its lines are
// answered: so a body is read as fast as its lines are stored and its answers
// are taken, and no faster.
type bulk struct {
	a      *API
	w      *answer
	opts   coordinator.WriteOptions
	stream []byte // of all lines; nil: each names its own
	ctx    context.Context
	cancel context.CancelFunc
	report *report

	split    splitter
	event    event.Event
	maker    *maker
	lines    int       // that were seen
	now      time.Time // of the last line; never goes back
	open     *batch    // nil: none
	timer    *time.Timer
	queue    chan *batch   // that were sent, in the order of their lines
	pipeline chan struct{} // a place for each batch
	overload overload
}

// chunk is a piece of the body, and the error that ended it.
type chunk struct {
	bytes []byte
	err   error
}

// chunksAhead is how many chunks a request has: one is cut while the next is read.
const chunksAhead = 2

// postEvents takes NDJSON whose lines name their streams.
func (a *API) postEvents(w *answer, r *http.Request) error {
	media, err := contentType(r.Header)
	if err != nil {
		return err
	}
	if media != typeNDJSON {
		return &mediaTypeError{Header: "Content-Type", Value: media, Want: typeNDJSON + " with a stream in each line"}
	}
	return a.ingest(w, r)
}

// ingest stores the lines of a body.
func (a *API) ingest(w *answer, r *http.Request) error {
	q, err := a.request(r, "w", "receipt", "ack")
	if err != nil {
		return err
	}
	form, err := answerForm(&q, r.Header)
	if err != nil {
		return err
	}
	opts, err := q.writeOptions(r.Header)
	if err != nil {
		return err
	}
	if opts.Timeout == 0 {
		opts.Timeout = a.cfg.WriteTimeout
	}
	if err := a.checkLevel(opts.Level, "w"); err != nil {
		return err
	}
	body, err := bodyReader(r)
	if err != nil {
		return err
	}
	b := &bulk{
		a: a, w: w, opts: opts, stream: q.stream, report: newReport(form, w),
		split: splitter{max: a.cfg.EventBytes}, maker: a.takeMaker(),
		queue: make(chan *batch, a.cfg.Bulk.Pipeline), pipeline: make(chan struct{}, a.cfg.Bulk.Pipeline),
	}
	// A client that is gone shows in the body. Lines that came whole are stored even
	// then, so only answers that cannot be written cancel.
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(r.Context()))
	defer b.cancel()
	defer a.makers.Put(b.maker)
	w.rc.SetReadDeadline(time.Time{})  // it may come for days
	w.rc.SetWriteDeadline(time.Time{}) // pieces of the answer have their own
	if form != formSummary {
		w.rc.EnableFullDuplex() // of HTTP/1.1; the error says that it is always so
	}
	return b.run(body)
}

// run starts the goroutines, reads the whole body, and waits for them.
func (b *bulk) run(body io.ReadCloser) error {
	full, free := make(chan chunk, chunksAhead), make(chan []byte, chunksAhead)
	for range chunksAhead {
		free <- b.a.takeChunk()
	}
	var running sync.WaitGroup
	running.Go(func() { b.fill(body, full, free) })
	running.Go(b.answerAll)
	err := b.read(full, free)
	b.send()
	close(b.queue)
	close(free)
	if err != nil {
		// A body that is not at its end may keep fill waiting; and whatever the
		// client still sends is not wanted.
		b.w.rc.SetReadDeadline(time.Unix(1, 0))
	}
	running.Wait()
	body.Close()
	for c := range full {
		b.a.putChunk(c.bytes)
	}
	for buf := range free {
		b.a.putChunk(buf)
	}
	if !b.report.broken {
		err = b.report.finish(b.lines, err)
	}
	if b.report.cutOff {
		b.a.metrics.cutOffs.Inc()
		b.a.env.Logger.Warn("bulk request cut off: its client did not read the answers; ask for ?ack=errors, or for the summary",
			"waited", b.a.cfg.AnswerTimeout, "lines", b.lines)
	}
	if b.report.broken {
		panic(http.ErrAbortHandler) // so that the client does not take this for the end
	}
	return err
}

// fill reads the body into free chunks until it ends, or until free is closed.
func (b *bulk) fill(body io.Reader, full chan<- chunk, free <-chan []byte) {
	defer close(full)
	for buf := range free {
		n, err := body.Read(buf)
		full <- chunk{buf[:n], err}
		if err != nil {
			return
		}
	}
}

// read takes chunks until the body has ended. The error is why it did not.
func (b *bulk) read(full <-chan chunk, free chan<- []byte) error {
	for first := true; ; first = false {
		c, err := b.next(full)
		if err != nil {
			return err
		}
		if first && b.report.form != formSummary {
			b.report.begin()
		}
		b.a.metrics.bodyBytes.Add(float64(len(c.bytes)))
		for rest := c.bytes; ; {
			line, long, after, ok := b.split.cut(rest)
			if !ok {
				break
			}
			if err := b.take(line, long); err != nil {
				return err
			}
			rest = after
		}
		free <- c.bytes[:cap(c.bytes)]
		if c.err == nil {
			continue
		}
		if c.err != io.EOF {
			return bodyError(c.err)
		}
		if line, long, ok := b.split.last(); ok {
			return b.take(line, long)
		}
		return nil
	}
}

// next returns the next chunk. While none is there, the open batch is sent.
func (b *bulk) next(full <-chan chunk) (chunk, error) {
	select {
	case c := <-full:
		return c, nil
	default:
	}
	if b.open != nil {
		if b.timer == nil {
			b.timer = time.NewTimer(b.a.cfg.Bulk.Linger)
		} else {
			b.timer.Reset(b.a.cfg.Bulk.Linger)
		}
		select {
		case c := <-full:
			b.timer.Stop()
			return c, nil
		case <-b.timer.C:
		}
		b.send()
	}
	select {
	case c := <-full:
		return c, nil
	case <-b.ctx.Done():
		return chunk{}, b.ctx.Err()
	case <-b.a.stop:
		return chunk{}, coordinator.ErrStopping
	}
}

// take adds a line to the open batch. The error ends the request.
func (b *bulk) take(text []byte, long bool) error {
	b.lines++
	if !long && blank(text) {
		return nil
	}
	if b.open == nil {
		if err := b.openBatch(); err != nil {
			b.lines-- // it was not read
			return err
		}
	}
	l := line{number: b.lines, row: noRow}
	if long {
		l.err = &tooLargeError{Field: "event", Limit: b.a.cfg.EventBytes}
	} else {
		l.err = b.add(text, &l)
	}
	b.open.lines = append(b.open.lines, l)
	b.open.bytes += len(text)
	if len(b.open.lines) >= b.a.cfg.Bulk.BatchLines || b.open.bytes >= b.a.cfg.Bulk.BatchBytes {
		b.send()
	}
	return nil
}

// add adds a line's event to the open batch's write. The error is the line's.
func (b *bulk) add(text []byte, l *line) error {
	ev := &b.event
	if err := b.a.scan(text, ev); err != nil {
		return err
	}
	stream := b.stream
	switch {
	case stream == nil && !ev.HasStream:
		return &event.FieldError{Field: "stream", Reason: "is missing: each line must name its own"}
	case stream == nil:
		stream = ev.Stream
		if err := b.a.checkName("stream", stream); err != nil {
			return err
		}
	case ev.HasStream && string(ev.Stream) != string(stream):
		return &event.FieldError{Field: "stream", Reason: "is not the stream of the path"}
	}
	if now := b.a.env.Physical(); now.After(b.now) {
		b.now = now
	}
	id, err := b.a.identify(ev, b.now)
	if err != nil {
		return err
	}
	x := b.open
	if x.write == nil && x.err == nil {
		x.write, x.err = b.a.env.Coordinator.NewWrite(b.ctx, b.opts)
	}
	l.id, l.made = id, true
	if x.err != nil {
		return nil // the line shares it
	}
	l.row, err = b.maker.append(x.write, stream, id, ev.Type, ev.Data)
	return err
}
