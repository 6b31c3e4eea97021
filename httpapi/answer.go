package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/httpapi/problem"
	"github.com/dunlindb/dunlin/httpapi/rows"
)

// answer is a ResponseWriter that stamps every answer with the clock, remembers
// its status, and gives up on clients that do not read.
type answer struct {
	http.ResponseWriter
	api    *API
	rc     *http.ResponseController
	status int
	clock  hlc.Timestamp // at least this is what Dunlin-Clock must show
}

func (a *API) newAnswer(w http.ResponseWriter) *answer {
	return &answer{ResponseWriter: w, api: a, rc: http.NewResponseController(w)}
}

// Unwrap lets http.ResponseController reach the connection.
func (w *answer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader begins the answer.
func (w *answer) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
		w.Header().Set(headerClock, clockText(w.session()))
	}
	w.ResponseWriter.WriteHeader(status)
}

// session is the clock value for the client's next request.
func (w *answer) session() hlc.Timestamp {
	return max(w.clock, w.api.env.Coordinator.Clock())
}

func clockText(t hlc.Timestamp) string { return strconv.FormatInt(int64(t), 10) }

// pieceBytes is what a client must read within Config.AnswerTimeout.
const pieceBytes = 64 << 10

// Write writes a piece at a time, each of which has its own deadline. Writers
// that cannot have one (in tests) do without.
func (w *answer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	written := 0
	for {
		piece := p[written:min(len(p), written+pieceBytes)]
		w.rc.SetWriteDeadline(time.Now().Add(w.api.cfg.AnswerTimeout))
		n, err := w.ResponseWriter.Write(piece)
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// json writes a small answer.
func (w *answer) json(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, err = w.Write(append(body, '\n'))
	return err
}

// setReceipt adds a receipt to answers whose body has no place for one.
func setReceipt(h http.Header, r *coordinator.Receipt) error {
	if r == nil {
		return nil
	}
	text, err := rows.ReceiptJSON(r)
	if err == nil {
		h.Set(headerReceipt, string(text))
	}
	return err
}

// fail answers a request with a problem, unless its answer has begun.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problem.Of(err)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		p = problem.OfWrite(err)
	}
	if p.Status == http.StatusInternalServerError {
		a.env.Logger.Error("request failed", "route", r.Pattern, "error", err)
	}
	out, ok := w.(*answer)
	if !ok {
		out = a.newAnswer(w)
	}
	if out.status != 0 {
		return // the connection is what failed, or the client has half an answer
	}
	out.problem(p)
}

// problem writes a problem as the whole answer.
func (w *answer) problem(p problem.Problem) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	w.WriteHeader(p.Status)
	body, err := json.Marshal(p)
	if err != nil {
		return // no field of a problem can fail
	}
	w.Write(append(body, '\n'))
}
