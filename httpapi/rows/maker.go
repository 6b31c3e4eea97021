package rows

import (
	"bytes"
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/httpapi/problem"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// StreamPartition is the partition key of a stream. It is the one place that
// decides where a stream's events lie.
func StreamPartition(stream []byte) []byte { return stream }

// Maker makes rows of events and adds them to writes. It belongs to one goroutine
// and allocates nothing once its buffers have grown.
type Maker struct {
	partition []byte // of the last event's stream
	token     token.Token
	known     bool

	id                 event.ID
	clustering         [1][]byte // id, for record.Shape.AppendSuffix
	key, suffix, value []byte
	cells              [2]record.Cell
	row                record.Row
}

// place sets the partition, whose token is kept while the stream stays the same.
func (m *Maker) place(partition []byte) {
	if m.known && bytes.Equal(m.partition, partition) {
		return
	}
	m.partition = append(m.partition[:0], partition...)
	m.token, m.known = token.Of(m.partition), true
}

// Append adds an event to a write and returns its row number. Every column is
// written, so that an event written again with another one replaces all of it.
func (m *Maker) Append(w Write, stream []byte, id event.ID, typ, data []byte) (int, error) {
	t, err := Table(w.View(), schema.EventsTable)
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
func (m *Maker) rowKey(t *schema.TableView, stream []byte, id event.ID) error {
	window, err := t.Shape.WindowAt(id.Time())
	if err != nil {
		return problem.BadInput("time", "must lie from 1970 to 2200")
	}
	m.place(StreamPartition(stream))
	m.id = id
	m.clustering[0] = m.id[:]
	if m.suffix, err = t.Shape.AppendSuffix(m.suffix[:0], m.clustering[:]...); err != nil {
		return fmt.Errorf("httpapi: key of event %s: %w", id, err)
	}
	m.key = t.Shape.AppendPartitionPrefix(m.key[:0], window, m.token, m.partition)
	m.key = append(m.key, m.suffix...)
	return nil
}

// DeleteStream adds a partition deletion, or a range tombstone, to a write.
func (m *Maker) DeleteStream(w Write, stream []byte, before time.Time, some bool) error {
	t, err := Table(w.View(), schema.EventsTable)
	if err != nil {
		return err
	}
	head := record.Head{Deletion: Deletion(w)}
	if some {
		head = record.Head{Ranges: []record.RangeTombstone{{End: EventSuffix(t, event.FirstID(before)), Deletion: Deletion(w)}}}
	}
	partition := StreamPartition(stream)
	tok := token.Of(partition)
	_, err = w.Add(t, tok, t.Shape.AppendHeadKey(nil, tok, partition), head.Append(nil))
	return err
}

// DeleteEvent adds the deletion of one event to a write.
func (m *Maker) DeleteEvent(w Write, stream []byte, id event.ID) error {
	t, err := Table(w.View(), schema.EventsTable)
	if err != nil {
		return err
	}
	if err := m.rowKey(t, stream, id); err != nil {
		return err
	}
	row := record.Row{Deletion: Deletion(w)}
	_, err = w.Add(t, m.token, m.key, row.Append(m.value[:0]))
	return err
}
