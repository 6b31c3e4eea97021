package httpapi

import (
	"net/http"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/httpapi/rows"
	"github.com/dunlindb/dunlin/schema"
)

// streamsPage is a page of streams' names.
type streamsPage struct {
	Streams []string `json:"streams"`
	Next    *string  `json:"next"`
}

// getStreams lists streams by name, in token order.
func (a *API) getStreams(w *answer, r *http.Request) error {
	q, err := a.request(r, "limit", "cursor")
	if err != nil {
		return err
	}
	limit, err := q.limit(limitUnset, limitMax)
	if err != nil {
		return err
	}
	if text, given := q.query["cursor"]; given && text == "" {
		return &coordinator.CursorError{Reason: "it is empty"}
	}
	t, err := rows.Table(a.env.View(), schema.EventsTable)
	if err != nil {
		return err
	}
	result, err := a.env.Coordinator.Scan(r.Context(), &coordinator.ScanRequest{
		Table: t, Cursor: q.query["cursor"], PartitionsOnly: true, MaxRows: limit, Timeout: q.timeout,
	})
	if err != nil {
		return err
	}
	page := streamsPage{Streams: make([]string, len(result.Partitions))}
	for i, p := range result.Partitions {
		page.Streams[i] = string(p)
	}
	if result.Next != "" {
		page.Next = &result.Next
	}
	return w.json(http.StatusOK, page)
}

// deleteStream deletes a stream, or its events before a time. Either way the
// delete is stamped now, so that what is written later shows, however old its
// time.
func (a *API) deleteStream(w *answer, r *http.Request) error {
	q, err := a.request(r, "before", "w", "sloppy", "receipt")
	if err != nil {
		return err
	}
	opts, err := q.writeOptions(r.Header)
	if err != nil {
		return err
	}
	before, given, err := q.time("before")
	if err != nil {
		return err
	}
	out, err := a.write(r.Context(), w, opts, func(wr rows.Write, m *rows.Maker) error {
		return m.DeleteStream(wr, q.stream, before, given)
	})
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, out)
}

// deleteEvent deletes one event.
func (a *API) deleteEvent(w *answer, r *http.Request) error {
	q, err := a.request(r, "w", "sloppy", "receipt")
	if err != nil {
		return err
	}
	opts, err := q.writeOptions(r.Header)
	if err != nil {
		return err
	}
	id, err := pathID(r)
	if err != nil {
		return err
	}
	out, err := a.write(r.Context(), w, opts, func(wr rows.Write, m *rows.Maker) error {
		return m.DeleteEvent(wr, q.stream, id)
	})
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, out)
}
