package httpapi

import (
	"net/http"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/httpapi/ingest"
	"github.com/dunlindb/dunlin/httpapi/problem"
	"github.com/dunlindb/dunlin/httpapi/rows"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// The bounds of a page.
const (
	limitUnset = 100
	limitMax   = 10_000
	pageBytes  = 4 << 20
)

// slice is a request for events of a stream.
type slice struct {
	read      coordinator.ReadRequest
	partition []byte
}

// getEvents reads a page of a stream.
func (a *API) getEvents(w *answer, r *http.Request) error {
	q, err := a.request(r, "from", "to", "after", "limit", "order", "r", "cursor", "receipt")
	if err != nil {
		return err
	}
	s, err := a.slice(&q)
	if err != nil {
		return err
	}
	result, err := a.env.Coordinator.Read(r.Context(), &s.read)
	if err != nil {
		return err
	}
	next := s.next(result)
	if accepts(r.Header, ingest.MediaType) {
		return a.writeLines(w, s, result, next)
	}
	return a.writePage(w, s, result, next)
}

// slice reads the parameters of getEvents.
func (a *API) slice(q *request) (*slice, error) {
	opts, err := q.readOptions()
	if err != nil {
		return nil, err
	}
	if err := a.checkLevel(opts.Level, "r"); err != nil {
		return nil, err
	}
	limit, err := q.limit(limitUnset, limitMax)
	if err != nil {
		return nil, err
	}
	t, err := rows.Table(a.env.View(), schema.EventsTable)
	if err != nil {
		return nil, err
	}
	s := &slice{partition: rows.StreamPartition(q.stream)}
	s.read = coordinator.ReadRequest{Table: t, Partition: s.partition, MaxRows: limit, MaxBytes: pageBytes, Options: opts}
	switch q.query["order"] {
	case "", "asc":
	case "desc":
		s.read.Reverse = true
	default:
		return nil, problem.BadInput("order", "is "+problem.Quoted(q.query["order"])+": give asc or desc")
	}
	if err := s.bounds(q.query); err != nil {
		return nil, err
	}
	return s, s.resume(q.query)
}

// bounds sets where the slice begins and ends: from is inclusive; to and after
// are exclusive.
func (s *slice) bounds(q query) error {
	from, given, err := q.time("from")
	if err != nil {
		return err
	}
	if given {
		s.startAt(rows.EventSuffix(s.read.Table, event.FirstID(from)))
	}
	to, given, err := q.time("to")
	if err != nil {
		return err
	}
	if given {
		s.read.End = rows.EventSuffix(s.read.Table, event.FirstID(to))
	}
	if text, given := q["after"]; given {
		id, err := event.ParseID(text)
		if err != nil {
			return problem.BadInput("after", err.Error())
		}
		s.startAt(rows.Beyond(rows.EventSuffix(s.read.Table, id)))
	}
	return nil
}

// startAt moves the beginning up to a suffix.
func (s *slice) startAt(suffix []byte) {
	if s.read.Start == nil || string(suffix) > string(s.read.Start) {
		s.read.Start = suffix
	}
}

// resume goes on from a cursor.
func (s *slice) resume(q query) error {
	text, given := q["cursor"]
	if !given {
		return nil
	}
	c, err := coordinator.ParseCursor(text)
	if err != nil {
		return err
	}
	if c.Table != s.read.Table.ID || c.Reverse != s.read.Reverse || string(c.Partition) != string(s.partition) {
		return &coordinator.CursorError{Reason: "it belongs to another request"}
	}
	if _, err := s.read.Table.Shape.DecodeSuffix(c.Suffix); err != nil {
		return &coordinator.CursorError{Reason: "its position is no event"}
	}
	if !s.read.Reverse {
		s.startAt(rows.Beyond(c.Suffix))
	} else if s.read.End == nil || string(c.Suffix) < string(s.read.End) {
		s.read.End = c.Suffix
	}
	return nil
}

// next is the cursor of the page after a result; empty if there is none.
func (s *slice) next(result *coordinator.ReadResult) string {
	if !result.More || len(result.Rows) == 0 {
		return ""
	}
	return coordinator.Cursor{
		Table: s.read.Table.ID, Reverse: s.read.Reverse, Token: token.Of(s.partition),
		Partition: s.partition, Suffix: result.Rows[len(result.Rows)-1].Suffix,
	}.String()
}

// writePage writes {"events":[…],"next":…}.
func (a *API) writePage(w *answer, s *slice, result *coordinator.ReadResult, next string) error {
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Cache-Control", "no-store")
	buf := append(make([]byte, 0, pieceBytes), `{"events":[`...)
	for i := range result.Rows {
		if i > 0 {
			buf = append(buf, ',')
		}
		var err error
		if buf, err = rows.AppendEvent(buf, s.read.Table, &result.Rows[i]); err != nil {
			return err
		}
		if buf, err = w.spill(buf); err != nil {
			return err
		}
	}
	buf = append(buf, `],"next":`...)
	if next == "" {
		buf = append(buf, "null"...)
	} else {
		buf = event.AppendString(buf, []byte(next))
	}
	if result.Receipt != nil {
		text, err := rows.ReceiptJSON(result.Receipt)
		if err != nil {
			return err
		}
		buf = append(append(buf, `,"receipt":`...), text...)
	}
	_, err := w.Write(append(buf, "}\n"...))
	return err
}

// writeLines writes an event a line; the next cursor is in Dunlin-Next.
func (a *API) writeLines(w *answer, s *slice, result *coordinator.ReadResult, next string) error {
	h := w.Header()
	h.Set("Content-Type", ingest.MediaType)
	h.Set("Cache-Control", "no-store")
	if next != "" {
		h.Set(headerNext, next)
	}
	if err := setReceipt(h, result.Receipt); err != nil {
		return err
	}
	buf := make([]byte, 0, pieceBytes)
	for i := range result.Rows {
		var err error
		if buf, err = rows.AppendEventLine(buf, s.read.Table, &result.Rows[i]); err != nil {
			return err
		}
		if buf, err = w.spill(buf); err != nil {
			return err
		}
	}
	_, err := w.Write(buf)
	return err
}

// spill writes a buffer that is nearly full, and returns it for more.
func (w *answer) spill(buf []byte) ([]byte, error) {
	if len(buf) < pieceBytes/2 {
		return buf, nil
	}
	_, err := w.Write(buf)
	return buf[:0], err
}

// getEvent reads one event.
func (a *API) getEvent(w *answer, r *http.Request) error {
	q, err := a.request(r, "r", "receipt")
	if err != nil {
		return err
	}
	opts, err := q.readOptions()
	if err != nil {
		return err
	}
	if err := a.checkLevel(opts.Level, "r"); err != nil {
		return err
	}
	id, err := pathID(r)
	if err != nil {
		return err
	}
	t, err := rows.Table(a.env.View(), schema.EventsTable)
	if err != nil {
		return err
	}
	suffix := rows.EventSuffix(t, id)
	result, err := a.env.Coordinator.Read(r.Context(), &coordinator.ReadRequest{
		Table: t, Partition: rows.StreamPartition(q.stream), Start: suffix, End: rows.Beyond(suffix), MaxRows: 1, MaxBytes: pageBytes, Options: opts,
	})
	if err != nil {
		return err
	}
	if err := setReceipt(w.Header(), result.Receipt); err != nil {
		return err
	}
	if len(result.Rows) == 0 {
		return &problem.NotFoundError{Detail: "the stream has no event " + id.String()}
	}
	buf, err := rows.AppendEvent(nil, t, &result.Rows[0])
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Cache-Control", "no-store")
	_, err = w.Write(append(buf, '\n'))
	return err
}

// pathID reads the id in a path.
func pathID(r *http.Request) (event.ID, error) {
	id, err := event.ParseID(r.PathValue("id"))
	if err != nil {
		return id, problem.BadInput("id", err.Error())
	}
	return id, nil
}
