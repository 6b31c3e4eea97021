package rows

import (
	"context"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// Write is one write of any number of rows, as *coordinator.Write has it.
type Write interface {
	View() *schema.View
	// Stamp is what rows are written with: their timestamp, and the time from
	// which expiry and deletion seconds count.
	Stamp() (timestamp, born hlc.Timestamp)
	Add(t *schema.TableView, tok token.Token, key, value []byte) (int, error)
	// Commit may be called again after an *coordinator.OverloadedError with Local
	// set: nothing was sent.
	Commit(ctx context.Context) (Outcome, error)
	Release()
}

// Outcome is what became of a write's rows, until the write's Release.
type Outcome interface {
	Row(i int) *coordinator.GroupResult
}

// Deletion is what a delete of this write says.
func Deletion(w Write) record.Deletion {
	timestamp, born := w.Stamp()
	return record.Deletion{Timestamp: int64(timestamp), Seconds: born.Seconds()}
}

// Table finds a built-in table.
func Table(v *schema.View, id uint32) (*schema.TableView, error) {
	if v == nil {
		return nil, coordinator.ErrNoCatalog
	}
	t := v.Table(id)
	if t == nil {
		return nil, &coordinator.UnknownTableError{Table: id}
	}
	return t, nil
}

// Cell returns a column's value; nil if it has none.
func Cell(r *record.Row, column uint16) []byte {
	if c := r.Cell(column); c != nil {
		return c.Value
	}
	return nil
}
