package httpapi

import (
	"context"
	"net/http"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/httpapi/ingest"
	"github.com/dunlindb/dunlin/httpapi/problem"
	"github.com/dunlindb/dunlin/httpapi/rows"
	"github.com/dunlindb/dunlin/schema"
)

// written is the answer to a write.
type written struct {
	ID        string        `json:"id,omitempty"`
	Time      string        `json:"time,omitempty"`
	Timestamp int64         `json:"timestamp,omitempty"` // of the write, in microseconds
	Acks      int           `json:"acks"`
	Replicas  int           `json:"replicas"`
	Receipt   *rows.Receipt `json:"receipt,omitempty"`
}

// postStreamEvents appends one event, or takes NDJSON as bulk.
func (a *API) postStreamEvents(w *answer, r *http.Request) error {
	media, err := contentType(r.Header)
	if err != nil {
		return err
	}
	if media == ingest.MediaType {
		return a.ingest(w, r)
	}
	q, err := a.request(r, "w", "sloppy", "receipt")
	if err != nil {
		return err
	}
	opts, err := q.writeOptions(r.Header)
	if err != nil {
		return err
	}
	body, err := a.readBody(w, r, "event", a.cfg.EventBytes)
	if err != nil {
		return err
	}
	var ev event.Event
	if err := a.limits.Scan(body, &ev); err != nil {
		return err
	}
	if ev.HasStream && string(ev.Stream) != string(q.stream) {
		return &event.FieldError{Field: "stream", Reason: "is not the stream of the path"}
	}
	id, err := a.limits.Identify(&ev, a.env.Physical(), a.env.IDs)
	if err != nil {
		return err
	}
	out, err := a.write(r.Context(), w, opts, func(wr rows.Write, m *rows.Maker) error {
		_, err := m.Append(wr, q.stream, id, ev.Type, ev.Data)
		return err
	})
	if err != nil {
		return err
	}
	out.ID, out.Time = id.String(), string(event.AppendTime(nil, id.Time()))
	return w.json(http.StatusCreated, out)
}

// write makes one write of one row, which add adds.
func (a *API) write(ctx context.Context, w *answer, opts coordinator.WriteOptions, add func(rows.Write, *rows.Maker) error) (*written, error) {
	if err := a.checkLevel(opts.Level, "w"); err != nil {
		return nil, err
	}
	wr, err := a.env.Coordinator.NewWrite(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer wr.Release()
	timestamp, _ := wr.Stamp()
	m, ok := a.makers.Get().(*rows.Maker)
	if !ok {
		m = &rows.Maker{}
	}
	defer a.makers.Put(m)
	if err := add(wr, m); err != nil {
		return nil, err
	}
	// From here on the write may be applied, whatever its outcome: a retry with
	// this timestamp changes nothing that came later.
	w.clock = timestamp
	w.Header().Set(headerTimestamp, clockText(timestamp))
	result, err := wr.Commit(ctx)
	if err != nil {
		return nil, err
	}
	group := result.Row(0)
	if group.Err != nil {
		return nil, group.Err
	}
	return &written{Timestamp: int64(timestamp), Acks: group.Acks, Replicas: group.Replicas, Receipt: rows.NewReceipt(group.Receipt)}, nil
}

// checkLevel refuses a level that the built-in keyspace cannot meet before
// anything is done. field is where the level was given.
func (a *API) checkLevel(l coordinator.Level, field string) error {
	v := a.env.View()
	t, err := rows.Table(v, schema.EventsTable)
	if err != nil {
		return err
	}
	if _, err := l.Need(v.Ring.Factor(t.Placement)); err != nil {
		return &problem.LevelError{Field: field, Err: err}
	}
	return nil
}
