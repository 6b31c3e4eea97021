package httpapi

import (
	"context"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/httpapi/rows"
)

// Coordinator carries out reads and writes: Coordinated makes one of a
// *coordinator.Coordinator, whose methods these are.
type Coordinator interface {
	NewWrite(ctx context.Context, opts coordinator.WriteOptions) (rows.Write, error)
	Read(ctx context.Context, req *coordinator.ReadRequest) (*coordinator.ReadResult, error)
	Scan(ctx context.Context, req *coordinator.ScanRequest) (*coordinator.ScanResult, error)
	// Clock is the session token for an answer.
	Clock() hlc.Timestamp
}

// Coordinated makes the node's coordinator a Coordinator.
func Coordinated(c *coordinator.Coordinator) Coordinator { return coordinated{c} }

type coordinated struct{ *coordinator.Coordinator }

func (c coordinated) NewWrite(ctx context.Context, opts coordinator.WriteOptions) (rows.Write, error) {
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

func (w coordinatedWrite) Commit(ctx context.Context) (rows.Outcome, error) {
	r, err := w.Write.Commit(ctx)
	if err != nil {
		return nil, err
	}
	return r, nil
}
