package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/httpapi/problem"
	"github.com/dunlindb/dunlin/httpapi/rows"
)

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
	Error *problem.Problem `json:"error,omitempty"`
}

// report collects what becomes of lines and answers it in one of the forms. It
// belongs to answerAll until that has ended.
type report struct {
	form    Form
	w       http.ResponseWriter
	rc      *http.ResponseController
	g       *Ingester
	http1   bool
	begun   bool // the header is sent
	summary summary
	retry   *problem.Problem // of the first line that may be tried again
	through int              // the last line whose fate is known
	said    int              // the last through that was sent
	saidAt  time.Time
	buf     []byte

	broken bool // nothing can be written any more
	cutOff bool // because the client did not read

	lastErr     error // whose problem is kept, since lines share errors
	lastProblem problem.Problem
	lastText    []byte
}

func newReport(f Form, w http.ResponseWriter, r *http.Request, g *Ingester) *report {
	return &report{form: f, w: w, http1: r.ProtoMajor == 1, rc: http.NewResponseController(w), g: g, summary: summary{Errors: []lineError{}}}
}

// begin sends the header of an answer of lines, before any line is decided.
func (r *report) begin() {
	h := r.w.Header()
	h.Set("Content-Type", MediaType)
	h.Set("Cache-Control", "no-store")
	r.w.WriteHeader(http.StatusOK)
	r.begun = true
	r.leave()
}

// take answers the lines of a batch.
func (r *report) take(x *batch) (stored, refused, failed int) {
	for i := range x.lines {
		l := &x.lines[i]
		result, err := x.fate(l)
		if err == nil {
			stored++
			if r.form == Lines {
				r.lineStored(l, result)
			}
			continue
		}
		p := r.lineFailed(l, err)
		if p.Retriable() {
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

func (r *report) lineStored(l *line, result *coordinator.GroupResult) {
	r.buf = strconv.AppendInt(append(r.buf, `{"line":`...), int64(l.number), 10)
	r.buf = append(l.id.AppendText(append(r.buf, `,"id":"`...)), `","status":"ok"`...)
	if result.Receipt != nil {
		if text, err := rows.ReceiptJSON(result.Receipt); err == nil {
			r.buf = append(append(r.buf, `,"receipt":`...), text...)
		}
	}
	r.buf = append(r.buf, "}\n"...)
	r.spill()
}

// lineFailed notes or answers a line with an error.
func (r *report) lineFailed(l *line, err error) *problem.Problem {
	if r.lastErr == nil || r.lastErr != err {
		r.lastErr, r.lastProblem = err, problem.OfWrite(err)
		r.lastText, _ = json.Marshal(r.lastProblem) // no field of it can fail
	}
	p := &r.lastProblem
	if r.retry == nil && p.Retriable() {
		first := *p
		r.retry = &first
	}
	if r.form == Summary {
		if len(r.summary.Errors) < r.g.cfg.Errors {
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
	cfg := &r.g.cfg
	if r.form != Errors || r.said == r.through ||
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
	if len(r.buf) >= r.g.cfg.ChunkBytes/2 {
		r.write()
	}
}

// write sends what has gathered.
func (r *report) write() {
	if len(r.buf) > 0 && !r.broken {
		start := time.Now()
		r.rc.SetWriteDeadline(start.Add(r.g.cfg.AnswerTimeout))
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
	r.rc.SetWriteDeadline(start.Add(r.g.cfg.AnswerTimeout))
	err := r.rc.Flush()
	r.check(start, err)
	r.rc.SetWriteDeadline(time.Time{})
}

// check notes that the client cannot be answered any more.
func (r *report) check(start time.Time, err error) {
	if err == nil || r.broken || errors.Is(err, http.ErrNotSupported) {
		return
	}
	r.broken = true
	r.cutOff = time.Since(start) >= r.g.cfg.AnswerTimeout
}

// finish ends the answer. err is why the body was not read on after so many
// lines, all of which are decided.
func (r *report) finish(lines int, err error) error {
	if r.form == Summary {
		return r.finishSummary(err)
	}
	if !r.begun {
		r.begin()
	}
	if r.form == Errors {
		r.through = max(r.through, lines)
		if r.said != r.through || lines == 0 {
			r.sayThrough(time.Now())
		}
	}
	if err != nil { // of no line: of the request
		text, _ := json.Marshal(problem.Of(err)) // no field of it can fail
		r.buf = append(append(append(r.buf, `{"status":"error","error":`...), text...), "}\n"...)
	}
	clock := strconv.FormatInt(int64(r.g.env.Coordinator.Clock()), 10)
	r.w.Header().Set(http.TrailerPrefix+"Dunlin-Clock", clock)
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
		p := problem.Of(err)
		r.summary.Error, status = &p, p.Status
		if r.http1 {
			r.w.Header().Set("Connection", "close") // the rest of the body is in the way
		}
		if r.retry == nil && p.Retriable() {
			r.retry = &p
		}
	}
	if r.retry != nil {
		status = r.retry.Status
		if r.retry.RetryAfter > 0 {
			r.w.Header().Set("Retry-After", strconv.Itoa(r.retry.RetryAfter))
		}
	}
	body, err := json.Marshal(&r.summary)
	if err != nil {
		return fmt.Errorf("ingest: encode the summary: %w", err)
	}
	r.w.Header().Set("Content-Type", "application/json")
	r.w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
	r.w.Header().Set("Cache-Control", "no-store")
	r.w.WriteHeader(status)
	r.buf = append(body, '\n')
	r.flush()
	return nil
}
