package ingest

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/httpapi/problem"
	"github.com/dunlindb/dunlin/httpapi/rows"
)

// bulk is one NDJSON body on its way in:
//
//	fill ──chunks──→ read ──batches, in order──→ answer
//	                   └─→ commit (one goroutine a batch)
//
// read cuts chunks into lines and adds their rows to the open batch, which is sent
// when it is full, or when no more input came for Config.Linger. A batch takes
// a place in the pipeline when it is opened, and gives it back when its lines are
// answered: so a body is read as fast as its lines are stored and its answers
// are taken, and no faster.
type bulk struct {
	g       *Ingester
	request Request
	rc      *http.ResponseController
	raw     io.Reader // the body as it comes
	ctx     context.Context
	cancel  context.CancelFunc
	report  *report

	split    splitter
	event    event.Event
	maker    rows.Maker
	lines    int       // that were seen
	now      time.Time // of the last line; never goes back
	open     *batch    // nil: none
	timer    *time.Timer
	queue    chan *batch   // that were sent, in the order of their lines
	pipeline chan struct{} // a place for each batch
	trouble  trouble
}

// chunk is a piece of the body, and the error that ended it.
type chunk struct {
	bytes []byte
	err   error
}

// chunksAhead is how many chunks a request has: one is cut while the next is read.
const chunksAhead = 2

// run starts the goroutines, reads the body, answers, and waits for them.
func (b *bulk) run(body io.Reader) error {
	full, free := make(chan chunk, chunksAhead), make(chan []byte, chunksAhead)
	for range chunksAhead {
		free <- b.g.takeChunk()
	}
	var filling, answering sync.WaitGroup
	filling.Go(func() { b.fill(body, full, free) })
	answering.Go(b.answerAll)
	stopped := b.read(full, free)
	b.send()
	close(b.queue)
	answering.Wait()
	var err error
	if !b.report.broken {
		err = b.report.finish(b.lines, stopped)
	}
	if stopped != nil {
		b.drop(full, free)
	}
	close(free)
	filling.Wait()
	for buf := range free {
		b.g.putChunk(buf)
	}
	if b.report.cutOff {
		b.g.metrics.cutOffs.Inc()
		b.g.env.Logger.Warn("bulk request cut off: its client did not read the answers; ask for ?ack=errors, or for the summary",
			"waited", b.g.cfg.AnswerTimeout, "lines", b.lines)
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

// drop reads past what a client still sends although it was answered: closing the
// connection on it could reset it before the answer is read.
func (b *bulk) drop(full <-chan chunk, free chan<- []byte) {
	patience := b.g.cfg.DropTimeout
	if b.report.broken {
		patience = -1 // there is nothing to be read
	}
	b.rc.SetReadDeadline(time.Now().Add(patience))
	for c := range full {
		free <- c.bytes[:cap(c.bytes)]
	}
	// What fill could not decompress is still to come. Any error will do.
	io.Copy(io.Discard, b.raw)
}

// read takes chunks until the body has ended. The error is why it did not.
func (b *bulk) read(full <-chan chunk, free chan<- []byte) error {
	for first := true; ; first = false {
		c, err := b.next(full)
		if err != nil {
			return err
		}
		if first && b.report.form != Summary {
			b.report.begin()
		}
		b.g.metrics.bodyBytes.Add(float64(len(c.bytes)))
		err = b.cut(c.bytes)
		free <- c.bytes[:cap(c.bytes)]
		switch {
		case err != nil:
			return err
		case c.err == io.EOF:
			if line, long, ok := b.split.last(); ok {
				return b.take(line, long)
			}
			return nil
		case c.err != nil:
			return c.err
		}
	}
}

// cut takes the lines that end in a chunk.
func (b *bulk) cut(rest []byte) error {
	for {
		line, long, after, ok := b.split.cut(rest)
		if !ok {
			return nil
		}
		if err := b.take(line, long); err != nil {
			return err
		}
		rest = after
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
			b.timer = time.NewTimer(b.g.cfg.Linger)
		} else {
			b.timer.Reset(b.g.cfg.Linger)
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
	case <-b.g.stop:
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
		l.err = &problem.TooLargeError{Field: "event", Limit: b.g.limits.EventBytes}
	} else {
		l.err = b.add(text, &l)
	}
	b.open.lines = append(b.open.lines, l)
	b.open.bytes += len(text)
	if len(b.open.lines) >= b.g.cfg.BatchLines || b.open.bytes >= b.g.cfg.BatchBytes {
		b.send()
	}
	return nil
}

// add adds a line's event to the open batch's write. The error is the line's.
func (b *bulk) add(text []byte, l *line) error {
	ev := &b.event
	if err := b.g.limits.Scan(text, ev); err != nil {
		return err
	}
	stream := b.request.Stream
	switch {
	case stream == nil && !ev.HasStream:
		return &event.FieldError{Field: "stream", Reason: "is missing: each line must name its own"}
	case stream == nil:
		stream = ev.Stream
		if err := b.g.limits.CheckName("stream", stream); err != nil {
			return err
		}
	case ev.HasStream && string(ev.Stream) != string(stream):
		return &event.FieldError{Field: "stream", Reason: "is not the stream of the path"}
	}
	if now := b.g.env.Physical(); now.After(b.now) {
		b.now = now
	}
	id, err := b.g.limits.Identify(ev, b.now, b.g.env.IDs)
	if err != nil {
		return err
	}
	x := b.open
	if x.write == nil && x.err == nil {
		x.write, x.err = b.g.env.Coordinator.NewWrite(b.ctx, b.request.Options)
	}
	l.id, l.made = id, true
	if x.err != nil {
		return nil // the line shares it
	}
	l.row, err = b.maker.Append(x.write, stream, id, ev.Type, ev.Data)
	return err
}
