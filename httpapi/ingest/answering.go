package ingest

import "time"

// answerAll answers batches in the order of their lines until the queue is
// closed. What has gathered is sent before it waits for anything.
func (b *bulk) answerAll() {
	r := b.report
	ticker := time.NewTicker(b.g.cfg.ReportPeriod)
	defer ticker.Stop()
	for {
		var x *batch
		var ok bool
		select {
		case x, ok = <-b.queue:
		default:
			b.flush()
			select {
			case x, ok = <-b.queue:
			case now := <-ticker.C:
				r.progress(now)
				continue
			}
		}
		if !ok {
			return
		}
		b.await(x, ticker)
		stored, refused, failed := r.take(x)
		if r.broken {
			b.cancel()
		}
		m := b.g.metrics
		m.stored.Add(float64(stored))
		m.refused.Add(float64(refused))
		m.failed.Add(float64(failed))
		b.note(x)
		b.release(x)
		r.progress(time.Now())
	}
}

// await returns when a batch is written.
func (b *bulk) await(x *batch, ticker *time.Ticker) {
	select {
	case <-x.done:
		return
	default:
	}
	b.flush()
	for {
		select {
		case <-x.done:
			return
		case now := <-ticker.C:
			b.report.progress(now)
			b.flush()
		}
	}
}

// flush sends what has gathered. A client that does not read it ends the request:
// nothing more is read of its body.
func (b *bulk) flush() {
	if b.report.form == Summary || len(b.report.buf) == 0 {
		return
	}
	b.report.flush()
	if b.report.broken {
		b.cancel()
	}
}

// note tells trouble how a batch ended. A summary is only good or bad: when nothing
// goes right any more, its client should hear that, not send on for hours.
func (b *bulk) note(x *batch) {
	err := x.err
	for i := 0; err == nil && i < len(x.lines); i++ {
		if x.lines[i].row != noRow {
			err = x.outcome.Row(x.lines[i].row).Err
		}
	}
	patience := 0
	if b.request.Form == Summary {
		patience = 2 * b.g.cfg.Pipeline
	}
	b.trouble.note(b.g.metrics, err, patience)
}
