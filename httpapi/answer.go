package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/hlc"
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

// receipt is a coordinator.Receipt as clients see it.
type receipt struct {
	Version   uint64           `json:"catalog_version"`
	Timestamp int64            `json:"timestamp,omitempty"` // of a write, in microseconds
	Latency   float64          `json:"latency_ms"`
	Replicas  []replicaReceipt `json:"replicas"`
	Repaired  bool             `json:"repaired"`
	Hinted    bool             `json:"hinted"`
}

type replicaReceipt struct {
	Node    string `json:"node"`
	Outcome string `json:"outcome"`
}

// newReceipt returns nil for nil.
func newReceipt(r *coordinator.Receipt) *receipt {
	if r == nil {
		return nil
	}
	out := &receipt{
		Version: r.Version, Timestamp: int64(r.Timestamp), Latency: float64(r.Latency.Microseconds()) / 1000,
		Repaired: r.Repaired, Hinted: r.Hinted, Replicas: make([]replicaReceipt, len(r.Replicas)),
	}
	for i, replica := range r.Replicas {
		out.Replicas[i] = replicaReceipt{Node: replica.Node.String(), Outcome: replica.Outcome}
	}
	return out
}

func receiptJSON(r *coordinator.Receipt) ([]byte, error) { return json.Marshal(newReceipt(r)) }

// setReceipt adds a receipt to answers whose body has no place for one.
func setReceipt(h http.Header, r *coordinator.Receipt) error {
	if r == nil {
		return nil
	}
	text, err := receiptJSON(r)
	if err == nil {
		h.Set(headerReceipt, string(text))
	}
	return err
}
