package httpapi

import (
	"context"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// Coordinator carries out reads and writes: Coordinated makes one of a
// *coordinator.Coordinator, whose methods these are.
type Coordinator interface {
	NewWrite(ctx context.Context, opts coordinator.WriteOptions) (Write, error)
	Read(ctx context.Context, req *coordinator.ReadRequest) (*coordinator.ReadResult, error)
	Scan(ctx context.Context, req *coordinator.ScanRequest) (*coordinator.ScanResult, error)
	// Clock is the session token for an answer.
	Clock() hlc.Timestamp
}

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

// Coordinated makes the node's coordinator a Coordinator.
func Coordinated(c *coordinator.Coordinator) Coordinator { return coordinated{c} }

type coordinated struct{ *coordinator.Coordinator }

func (c coordinated) NewWrite(ctx context.Context, opts coordinator.WriteOptions) (Write, error) {
	w, err := c.Coordinator.NewWrite(ctx, opts)
	if err != nil {
		return nil, err
	}
	return coordinatedWrite{w}, nil
}

type coordinatedWrite struct{ *coordinator.Write }

func (w coordinatedWrite) Stamp() (timestamp, born hlc.Timestamp) {
	return w.Timestamp(), w.Born()
}

func (w coordinatedWrite) Commit(ctx context.Context) (Outcome, error) {
	r, err := w.Write.Commit(ctx)
	if err != nil {
		return nil, err
	}
	return r, nil
}
