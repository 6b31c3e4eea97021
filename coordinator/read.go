package coordinator

import (
	"context"
	"time"

	"github.com/dunlindb/dunlin/coordinator/page"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/schema"
)

// ReadOptions are a client's wishes for a read.
type ReadOptions struct {
	Level Level
	// Timeout counts from the call; 0 is Config.ReadTimeout.
	Timeout time.Duration
	// Session is the last clock value that the client saw; 0 if it has none.
	Session hlc.Timestamp
	// Receipt asks for a receipt.
	Receipt bool
}

// ReadRequest asks for a slice of one partition.
type ReadRequest struct {
	Table     *schema.TableView
	Partition []byte
	// Start (inclusive) and End (exclusive) are encoded clustering suffix bounds;
	// nil is open.
	Start, End []byte
	Reverse    bool
	// MaxRows and MaxBytes bound the page; 0 is Config.PageRows and PageBytes,
	// which also are the most.
	MaxRows, MaxBytes int
	Options           ReadOptions
}

// Row is one visible row of an answer.
type Row = page.Row

// ReadResult is one page of a partition: merged over as many replicas as the
// level asks for, visible rows only.
type ReadResult struct {
	Rows []Row // in walk order
	// More: the page ended at a limit, and rows may remain after the last one.
	More    bool
	Clock   hlc.Timestamp // for the client's session token
	Receipt *Receipt
}

// Read returns a page of a partition. Errors: *UnavailableError, *TimeoutError,
// *OverloadedError, *LevelError, *SkewedError, *UnknownTableError, ErrNoCatalog,
// ErrStopping.
func (c *Coordinator) Read(ctx context.Context, req *ReadRequest) (*ReadResult, error) {
	start := time.Now()
	result, err := c.read(ctx, req, start)
	c.metrics.observe(opRead, req.Options.Level, time.Since(start))
	if err != nil {
		return nil, c.metrics.failed(opRead, err)
	}
	c.metrics.rowsRead.Add(float64(len(result.Rows)))
	return result, nil
}

func (c *Coordinator) read(ctx context.Context, req *ReadRequest, start time.Time) (*ReadResult, error) {
	if err := c.env.Clock.CheckClient(req.Options.Session); err != nil {
		return nil, &SkewedError{Client: true, Field: "session", Err: err}
	}
	if err := c.admission.BeginRead(); err != nil {
		return nil, err
	}
	defer c.admission.EndRead()
	ctx, cancel := context.WithDeadline(ctx, start.Add(c.readTimeout(req.Options)))
	defer cancel()
	bounded := *req
	bounded.MaxRows = bound(req.MaxRows, c.cfg.PageRows)
	bounded.MaxBytes = bound(req.MaxBytes, c.cfg.PageBytes)
	view := c.env.View()
	if view == nil {
		return nil, ErrNoCatalog
	}
	for retried := false; ; retried = true {
		r, err := c.newReader(ctx, view, &bounded)
		if err != nil {
			return nil, err
		}
		err = r.run(bounded.Table)
		if err == nil {
			return r.result(req, start), nil
		}
		if retried || !r.failures.Retry() {
			return nil, err
		}
		newer, ok := c.newer(ctx, view, r.from, r.newest)
		if !ok {
			return nil, err
		}
		table := newer.Table(req.Table.ID)
		if table == nil {
			return nil, &UnknownTableError{Table: req.Table.ID}
		}
		c.metrics.retries.WithLabelValues(opNames[opRead]).Inc()
		view, bounded.Table = newer, table
	}
}

// result is the answer of a reader whose page is done.
func (r *reader) result(req *ReadRequest, start time.Time) *ReadResult {
	result := &ReadResult{Clock: r.c.Clock()}
	result.Rows, result.More = r.page.Rows()
	if req.Options.Receipt {
		result.Receipt = r.receipt(r.view.Version, start)
		result.Receipt.Repaired = r.repaired
	}
	return result
}

func (c *Coordinator) readTimeout(o ReadOptions) time.Duration {
	if o.Timeout > 0 {
		return o.Timeout
	}
	return c.cfg.ReadTimeout
}

// bound is a wish up to a most; 0 wishes for the most.
func bound(wish, most int) int {
	if wish <= 0 {
		return most
	}
	return min(wish, most)
}
