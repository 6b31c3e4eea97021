package rows

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/httpapi/problem"
	"github.com/dunlindb/dunlin/schema"
)

// Limits bound what events may be.
type Limits struct {
	EventBytes int           // the JSON of one event
	KeyBytes   int           // a stream's name, a key
	MaxFuture  time.Duration // how far ahead an event's time may lie
}

// Identify checks what an event says of itself and returns its id, made if the
// event brings none. now is the present time.
func (l *Limits) Identify(ev *event.Event, now time.Time, ids *event.IDs) (event.ID, error) {
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
	case len(ev.Key) > l.KeyBytes:
		return id, &problem.TooLargeError{Field: "key", Limit: l.KeyBytes}
	case ev.HasID && ev.HasTime && !ev.Time.Equal(id.Time()):
		return id, &event.FieldError{Field: "time", Reason: "is not the time of the id: leave one of them out"}
	case ev.HasKey:
		id = event.KeyID(ev.Time, ev.Key)
	case ev.HasTime && !ev.HasID:
		id = ids.Next(ev.Time)
	case !ev.HasID:
		id = ids.Next(now)
	}
	if ahead := id.Time().Sub(now); ahead > l.MaxFuture {
		return id, &event.FieldError{Field: "time", Reason: fmt.Sprintf("lies %s ahead: at most %s is accepted",
			ahead.Round(time.Millisecond), l.MaxFuture)}
	}
	return id, nil
}

// Scan reads the JSON of one event.
func (l *Limits) Scan(text []byte, ev *event.Event) error {
	if len(text) > l.EventBytes {
		return &problem.TooLargeError{Field: "event", Limit: l.EventBytes}
	}
	return event.Scan(text, ev)
}

// CheckName checks a stream's name, a bucket, a key.
func (l *Limits) CheckName(field string, name []byte) error {
	switch {
	case len(name) == 0:
		return problem.BadInput(field, "is empty")
	case len(name) > l.KeyBytes:
		return &problem.TooLargeError{Field: field, Limit: l.KeyBytes}
	case !utf8.Valid(name):
		return problem.BadInput(field, "is not valid UTF-8")
	}
	return nil
}

// EventSuffix is an event's encoded clustering key.
func EventSuffix(t *schema.TableView, id event.ID) []byte {
	suffix, err := t.Shape.AppendSuffix(nil, id[:])
	if err != nil {
		panic("httpapi: dunlin.events is not clustered by a timeuuid: " + err.Error())
	}
	return suffix
}

// Beyond is the smallest suffix after a given one.
func Beyond(suffix []byte) []byte { return append(suffix[:len(suffix):len(suffix)], 0) }

// AppendEvent appends a row as the JSON of an event.
func AppendEvent(dst []byte, t *schema.TableView, row *coordinator.Row) ([]byte, error) {
	values, err := t.Shape.DecodeSuffix(row.Suffix)
	if err != nil {
		return dst, err
	}
	return event.AppendJSON(dst, nil, event.ID(values[0]), Cell(&row.Row, schema.EventsType), Cell(&row.Row, schema.EventsData)), nil
}

// AppendEventLine appends a row as a line of NDJSON.
func AppendEventLine(dst []byte, t *schema.TableView, row *coordinator.Row) ([]byte, error) {
	values, err := t.Shape.DecodeSuffix(row.Suffix)
	if err != nil {
		return dst, err
	}
	return event.AppendLine(dst, nil, event.ID(values[0]), Cell(&row.Row, schema.EventsType), Cell(&row.Row, schema.EventsData)), nil
}
