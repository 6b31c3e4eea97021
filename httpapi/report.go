package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/dunlindb/dunlin/coordinator"
)

// form is how a bulk request is answered.
type form int

const (
	formSummary form = iota // one summary at the end: what plain HTTP clients can take
	formLines               // a line for each line
	formErrors              // a line for each error, and how far everything is decided
)

// answerForm reads which form a request wants.
func answerForm(q *request, h http.Header) (form, error) {
	ack, given := q.query["ack"]
	switch {
	case given && ack != "errors":
		return 0, badInput("ack", "is "+quoted(ack)+": give errors, or leave it out")
	case q.receipt && (given || !accepts(h, typeNDJSON)):
		return 0, badInput("receipt", "needs an answer line for each line: send Accept: "+typeNDJSON+", without ack")
	case given:
		return formErrors, nil
	case accepts(h, typeNDJSON):
		return formLines, nil
	}
	return formSummary, nil
}

// lineError is a line that was not stored, in a summary.
type lineError struct {
	Line  int             `json:"line"`
	ID    string          `json:"id,omitempty"`
	Error json.RawMessage `json:"error"`
}

// summary is the answer when no lines are answered.
type summary struct {
	Accepted int         `json:"accepted"`
	Failed   int         `json:"failed"`
	Errors   []lineError `json:"errors"`
	// Error is why the body was not read to its end.
	Error *problem `json:"error,omitempty"`
}

// report collects what becomes of lines and answers it in one of the forms. It
// belongs to answerAll until that has ended.
type report struct {
	form    form
	w       *answer
	summary summary
	retry   *problem // of the first line that may be tried again
	through int      // the last line whose fate is known
	said    int      // the last through that was sent
	saidAt  time.Time
	buf     []byte

	broken bool // nothing can be written any more
	cutOff bool // because the client did not read

	lastErr     error // whose problem is kept, since lines share errors
	lastProblem problem
	lastText    []byte
}

func newReport(f form, w *answer) *report {
	return &report{form: f, w: w, summary: summary{Errors: []lineError{}}}
}

// begin sends the header of an answer of lines, before any line is decided.
func (r *report) begin() {
	h := r.w.Header()
	h.Set("Content-Type", typeNDJSON)
	h.Set("Cache-Control", "no-store")
	r.w.WriteHeader(http.StatusOK)
	r.leave()
}

// take answers the lines of a batch.
func (r *report) take(x *batch) (stored, refused, failed int) {
	for i := range x.lines {
		l := &x.lines[i]
		result, err := x.fate(l)
		if err == nil {
			stored++
			if r.form == formLines {
				r.lineStored(l, result)
			}
			continue
		}
		p := r.lineFailed(l, err)
		if retriable(p.Status) {
			failed++
		} else {
			refused++
		}
	}
	r.through = x.lines[len(x.lines)-1].number
	r.summary.Accepted += stored
	r.summary.Failed += refused + failed
	return stored, refused, failed
}

// retriable reports whether a line with this status may be tried again.
func retriable(status int) bool {
	return status >= http.StatusInternalServerError || status == http.StatusTooManyRequests
}

func (r *report) lineStored(l *line, result *coordinator.GroupResult) {
	r.buf = strconv.AppendInt(append(r.buf, `{"line":`...), int64(l.number), 10)
	r.buf = append(l.id.AppendText(append(r.buf, `,"id":"`...)), `","status":"ok"`...)
	if result.Receipt != nil {
		if text, err := receiptJSON(result.Receipt); err == nil {
			r.buf = append(append(r.buf, `,"receipt":`...), text...)
		}
	}
	r.buf = append(r.buf, "}\n"...)
	r.spill()
}

// lineFailed notes or answers a line with an error.
func (r *report) lineFailed(l *line, err error) *problem {
	if r.lastErr == nil || r.lastErr != err {
		r.lastErr, r.lastProblem = err, writeProblem(err)
		r.lastText, _ = json.Marshal(r.lastProblem) // no field of it can fail
	}
	p := &r.lastProblem
	if r.retry == nil && retriable(p.Status) {
		first := *p
		r.retry = &first
	}
	if r.form == formSummary {
		if len(r.summary.Errors) < r.w.api.cfg.Bulk.Errors {
			e := lineError{Line: l.number, Error: r.lastText}
			if l.made {
				e.ID = l.id.String()
			}
			r.summary.Errors = append(r.summary.Errors, e)
		}
		return p
	}
	r.buf = strconv.AppendInt(append(r.buf, `{"line":`...), int64(l.number), 10)
	if l.made {
		r.buf = append(l.id.AppendText(append(r.buf, `,"id":"`...)), '"')
	}
	r.buf = append(append(append(r.buf, `,"status":"error","error":`...), r.lastText...), "}\n"...)
	r.spill()
	return p
}

// progress says how far lines are decided, if that is due.
func (r *report) progress(now time.Time) {
	cfg := &r.w.api.cfg.Bulk
	if r.form != formErrors || r.said == r.through ||
		r.through-r.said < cfg.ReportLines && now.Sub(r.saidAt) < cfg.ReportPeriod {
		return
	}
	r.sayThrough(now)
}

func (r *report) sayThrough(now time.Time) {
	r.buf = append(strconv.AppendInt(append(r.buf, `{"through":`...), int64(r.through), 10), "}\n"...)
	r.said, r.saidAt = r.through, now
}

// spill writes what has gathered when it is much.
func (r *report) spill() {
	if len(r.buf) >= pieceBytes/2 {
		r.write()
	}
}

// write sends what has gathered.
func (r *report) write() {
	if len(r.buf) > 0 && !r.broken {
		start := time.Now()
		_, err := r.w.Write(r.buf)
		r.check(start, err)
	}
	r.buf = r.buf[:0]
}

// flush writes what has gathered, and sees that it leaves.
func (r *report) flush() {
	r.write()
	if !r.broken {
		r.leave()
	}
}

// leave sends what the connection has gathered.
func (r *report) leave() {
	start := time.Now()
	r.w.rc.SetWriteDeadline(start.Add(r.w.api.cfg.AnswerTimeout))
	err := r.w.rc.Flush()
	r.check(start, err)
	r.w.rc.SetWriteDeadline(time.Time{})
}

// check notes that the client cannot be answered any more.
func (r *report) check(start time.Time, err error) {
	if err == nil || r.broken {
		return
	}
	r.broken = true
	r.cutOff = time.Since(start) >= r.w.api.cfg.AnswerTimeout
}

// finish ends the answer. err is why the body was not read to its end, after so
// many lines.
func (r *report) finish(lines int, err error) error {
	if r.form == formSummary {
		return r.finishSummary(err)
	}
	if r.w.status == 0 {
		r.begin()
	}
	if err != nil {
		text, _ := json.Marshal(problemOf(err)) // no field of it can fail
		r.buf = strconv.AppendInt(append(r.buf, `{"line":`...), int64(lines+1), 10)
		r.buf = append(append(append(r.buf, `,"status":"error","error":`...), text...), "}\n"...)
	}
	if r.form == formErrors {
		r.through = max(r.through, lines)
		r.sayThrough(time.Now())
	}
	r.w.Header().Set(http.TrailerPrefix+headerClock, clockText(r.w.session()))
	r.flush()
	return nil
}

// finishSummary writes the summary. Its status is what most clients look at, and
// nothing else: 200 only if all lines are stored.
func (r *report) finishSummary(err error) error {
	status := http.StatusOK
	if r.summary.Failed > 0 {
		status = http.StatusUnprocessableEntity
	}
	if err != nil {
		p := problemOf(err)
		r.summary.Error, status = &p, p.Status
		if r.retry == nil && retriable(p.Status) {
			r.retry = &p
		}
	}
	if r.retry != nil {
		status = r.retry.Status
		if r.retry.RetryAfter > 0 {
			r.w.Header().Set("Retry-After", strconv.Itoa(r.retry.RetryAfter))
		}
	}
	return r.w.json(status, &r.summary)
}
