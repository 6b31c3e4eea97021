package httpapi

import "time"

// answerAll answers batches in the order of their lines until the queue is
// closed. What has gathered is sent before it waits for anything.
func (b *bulk) answerAll() {
	r := b.report
	ticker := time.NewTicker(b.a.cfg.Bulk.ReportPeriod)
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
		m := b.a.metrics
		m.linesStored.Add(float64(stored))
		m.linesRefused.Add(float64(refused))
		m.linesFailed.Add(float64(failed))
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
	if b.report.form == formSummary || len(b.report.buf) == 0 {
		return
	}
	b.report.flush()
	if b.report.broken {
		b.cancel()
	}
}

// note tells the overload of how a batch ended.
func (b *bulk) note(x *batch) {
	err := x.err
	for i := 0; err == nil && i < len(x.lines); i++ {
		if x.lines[i].row != noRow {
			err = x.outcome.Row(x.lines[i].row).Err
		}
	}
	b.overload.note(b.a.metrics, err)
}
