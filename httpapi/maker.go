package httpapi

import (
	"bytes"
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// streamPartition is the partition key of a stream. It is the one place that
// decides where a stream's events lie.
func streamPartition(stream []byte) []byte { return stream }

// maker makes rows of events and adds them to writes. It belongs to one goroutine
// and allocates nothing once its buffers have grown.
type maker struct {
	partition []byte // of the last event's stream
	token     token.Token
	known     bool

	id                 event.ID
	clustering         [1][]byte // id, for record.Shape.AppendSuffix
	key, suffix, value []byte
	cells              [2]record.Cell
	row                record.Row
}

func (a *API) takeMaker() *maker {
	m, ok := a.makers.Get().(*maker)
	if !ok {
		m = &maker{}
	}
	m.known = false // a pool must not tell requests apart by timing
	return m
}

// place sets the partition, whose token is kept while the stream stays the same.
func (m *maker) place(partition []byte) {
	if m.known && bytes.Equal(m.partition, partition) {
		return
	}
	m.partition = append(m.partition[:0], partition...)
	m.token, m.known = token.Of(m.partition), true
}

// append adds an event to a write and returns its row number. Every column is
// written, so that an event written again with another one replaces all of it.
func (m *maker) append(w Write, stream []byte, id event.ID, typ, data []byte) (int, error) {
	t, err := tableOf(w.View(), schema.EventsTable)
	if err != nil {
		return 0, err
	}
	timestamp, _ := w.Stamp()
	if err := m.rowKey(t, stream, id); err != nil {
		return 0, err
	}
	m.cells[0] = record.Cell{Column: schema.EventsType, Timestamp: int64(timestamp), Value: typ}
	m.cells[1] = record.Cell{Column: schema.EventsData, Timestamp: int64(timestamp), Value: data}
	m.row = record.Row{Liveness: record.Liveness{Timestamp: int64(timestamp)}, Cells: m.cells[:]}
	m.value = m.row.Append(m.value[:0])
	m.cells = [2]record.Cell{} // they alias the request
	return w.Add(t, m.token, m.key, m.value)
}

// rowKey makes the storage key of an event.
func (m *maker) rowKey(t *schema.TableView, stream []byte, id event.ID) error {
	window, err := t.Shape.WindowAt(id.Time())
	if err != nil {
		return badInput("time", "must lie from 1970 to 2200")
	}
	m.place(streamPartition(stream))
	m.id = id
	m.clustering[0] = m.id[:]
	if m.suffix, err = t.Shape.AppendSuffix(m.suffix[:0], m.clustering[:]...); err != nil {
		return fmt.Errorf("httpapi: key of event %s: %w", id, err)
	}
	m.key = t.Shape.AppendPartitionPrefix(m.key[:0], window, m.token, m.partition)
	m.key = append(m.key, m.suffix...)
	return nil
}

// tableOf finds a built-in table.
func tableOf(v *schema.View, id uint32) (*schema.TableView, error) {
	if v == nil {
		return nil, coordinator.ErrNoCatalog
	}
	t := v.Table(id)
	if t == nil {
		return nil, &coordinator.UnknownTableError{Table: id}
	}
	return t, nil
}

// deletion is what a delete of this write says.
func deletion(w Write) record.Deletion {
	timestamp, born := w.Stamp()
	return record.Deletion{Timestamp: int64(timestamp), Seconds: born.Seconds()}
}

// identify checks what an event says of itself and returns its id, made if the
// event brings none. now is the present time.
func (a *API) identify(ev *event.Event, now time.Time) (event.ID, error) {
	id := ev.ID
	switch {
	case ev.Data == nil:
		return id, &event.FieldError{Field: "data", Reason: "is missing: give any JSON value"}
	case ev.HasKey && ev.HasID:
		return id, &event.FieldError{Field: "key", Reason: "makes the id: give one of them"}
	case ev.HasKey && !ev.HasTime:
		return id, &event.FieldError{Field: "key", Reason: "needs a time: the id is made from both"}
	case ev.HasKey && len(ev.Key) == 0:
		return id, &event.FieldError{Field: "key", Reason: "is empty"}
	case len(ev.Key) > a.cfg.KeyBytes:
		return id, &tooLargeError{Field: "key", Limit: a.cfg.KeyBytes}
	case ev.HasID && ev.HasTime && !ev.Time.Equal(id.Time()):
		return id, &event.FieldError{Field: "time", Reason: "is not the time of the id: leave one of them out"}
	case ev.HasKey:
		id = event.KeyID(ev.Time, ev.Key)
	case ev.HasTime && !ev.HasID:
		id = a.env.IDs.Next(ev.Time)
	case !ev.HasID:
		id = a.env.IDs.Next(now)
	}
	if ahead := id.Time().Sub(now); ahead > a.cfg.MaxFuture {
		return id, &event.FieldError{Field: "time", Reason: fmt.Sprintf("lies %s ahead: at most %s is accepted",
			ahead.Round(time.Millisecond), a.cfg.MaxFuture)}
	}
	return id, nil
}

// scan reads the JSON of one event.
func (a *API) scan(text []byte, ev *event.Event) error {
	if len(text) > a.cfg.EventBytes {
		return &tooLargeError{Field: "event", Limit: a.cfg.EventBytes}
	}
	return event.Scan(text, ev)
}

// expiry returns the time to live in seconds, and when it runs out, for a write
// that was accepted at born.
func expiry(born hlc.Timestamp, ttl time.Duration) (seconds uint32, at int64) {
	if ttl <= 0 {
		return 0, 0
	}
	seconds = uint32((ttl + time.Second - 1) / time.Second)
	return seconds, born.Seconds() + int64(seconds)
}
