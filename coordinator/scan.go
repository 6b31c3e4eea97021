package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/coordinator/cursor"
	"github.com/dunlindb/dunlin/coordinator/latency"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// Cursor is a position between two pages: everything up to and including it has
// been seen. Table and Reverse tie it to the request that it continues; the caller
// checks them.
type Cursor = cursor.Cursor

// MaxCursor bounds the text of a cursor.
const MaxCursor = cursor.MaxLength

// ParseCursor decodes a client's cursor. The error is a *CursorError.
func ParseCursor(s string) (Cursor, error) { return cursor.Parse(s) }

// ScanRequest asks for the partitions of a table, in token order.
type ScanRequest struct {
	Table *schema.TableView
	// Cursor is where the last page ended; empty is the beginning.
	Cursor string
	// PartitionsOnly must be set: scans of rows are not offered yet.
	PartitionsOnly bool
	// MaxRows bounds the page; 0 is Config.PageRows, which also is the most.
	MaxRows int
	// Timeout counts from the call; 0 is Config.ReadTimeout.
	Timeout time.Duration
}

// ScanResult is one page of partitions.
type ScanResult struct {
	// Partitions are the partition keys that have at least one visible row on
	// the replica that was asked.
	Partitions [][]byte
	// Next is the cursor of the next page; empty: there is none.
	Next  string
	Clock hlc.Timestamp // for the client's session token
}

// Scan returns a page of a table's partition keys. One live replica of each range
// is asked, as a read at level one is. Errors: *CursorError and those of Read.
func (c *Coordinator) Scan(ctx context.Context, req *ScanRequest) (*ScanResult, error) {
	start := time.Now()
	result, err := c.scan(ctx, req, start)
	c.metrics.observe(opScan, One, time.Since(start))
	if err != nil {
		return nil, c.metrics.failed(opScan, err)
	}
	return result, nil
}

func (c *Coordinator) scan(ctx context.Context, req *ScanRequest, start time.Time) (*ScanResult, error) {
	if !req.PartitionsOnly {
		return nil, errors.New("coordinator: scans of rows are not offered yet; set PartitionsOnly")
	}
	s := &scanner{c: c, table: req.Table, max: bound(req.MaxRows, c.cfg.PageRows), result: &ScanResult{}}
	if req.Cursor != "" {
		at, err := ParseCursor(req.Cursor)
		if err != nil {
			return nil, err
		}
		if at.Table != req.Table.ID || at.Reverse {
			return nil, &CursorError{Reason: "it belongs to another request"}
		}
		s.after = &transport.Position{Token: at.Token, Partition: at.Partition, Suffix: at.Suffix}
		s.next = at.Token.Range()
	}
	if s.view = c.env.View(); s.view == nil {
		return nil, ErrNoCatalog
	}
	if err := c.admission.BeginRead(); err != nil {
		return nil, err
	}
	defer c.admission.EndRead()
	ctx, cancel := context.WithDeadline(ctx, start.Add(c.readTimeout(ReadOptions{Timeout: req.Timeout})))
	defer cancel()
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	s.result.Clock = c.Clock()
	return s.result, nil
}

// scanner is one scan on its way. It asks for a few ranges ahead and takes their
// answers in order.
type scanner struct {
	c      *Coordinator
	view   *schema.View
	table  *schema.TableView
	max    int
	after  *transport.Position // where to go on in range next; nil: at its start
	next   token.RangeID       // first range that is not asked yet
	ahead  []chan rangePage    // questions under way, in the order of ranges
	result *ScanResult
}

// rangePage is the answer for a range.
type rangePage struct {
	id     token.RangeID
	answer transport.ScanAnswer
	err    error
}

// run fills the result. Ranges are asked for one, then two, four, … at a time:
// most tables are met in the first few ranges.
func (s *scanner) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	width := 1
	for done := false; !done; {
		for len(s.ahead) < width && int(s.next) < token.Ranges {
			s.start(ctx, s.next, s.after)
			s.next, s.after = s.next+1, nil
		}
		if len(s.ahead) == 0 {
			return nil
		}
		page := <-s.ahead[0]
		s.ahead = s.ahead[1:]
		if page.err != nil {
			return page.err
		}
		if err := s.take(ctx, &page); err != nil {
			return err
		}
		width = min(2*width, s.c.cfg.ScanAhead)
		done = len(s.result.Partitions) >= s.max
	}
	last := s.result.Partitions[len(s.result.Partitions)-1]
	s.result.Next = Cursor{Table: s.table.ID, Token: token.Of(last), Partition: last}.String()
	return nil
}

// start asks for a range in a goroutine of its own, which ends with ctx.
func (s *scanner) start(ctx context.Context, id token.RangeID, after *transport.Position) {
	answer := make(chan rangePage, 1)
	s.ahead = append(s.ahead, answer)
	s.c.admission.BeginTask()
	go func() {
		defer s.c.admission.EndTask()
		a, err := s.c.scanRange(ctx, s.view, s.table.ID, id, after, s.max)
		answer <- rangePage{id: id, answer: a, err: err}
	}()
}

// take adds the partitions of a range to the result. If the range has more, it is
// asked again before the others.
func (s *scanner) take(ctx context.Context, page *rangePage) error {
	for {
		for rest := page.answer.Partitions; len(rest) > 0; {
			partition, _, next, err := record.NextEntry(rest)
			if err != nil || token.Of(partition).Range() != page.id {
				return fmt.Errorf("coordinator: scan range %d: a replica's answer is not readable", page.id)
			}
			if len(s.result.Partitions) == s.max {
				return nil
			}
			s.result.Partitions = append(s.result.Partitions, partition)
			rest = next
		}
		if !page.answer.More || len(s.result.Partitions) == s.max {
			return nil
		}
		if page.answer.Next == nil {
			return fmt.Errorf("coordinator: scan range %d: a replica has more, but not from where", page.id)
		}
		page.answer, page.err = s.c.scanRange(ctx, s.view, s.table.ID, page.id, page.answer.Next, s.max-len(s.result.Partitions))
		if page.err != nil {
			return page.err
		}
	}
}

// scanRange asks the nearest live replica of a range, and another when it is slow
// or fails; and once more with a newer catalog if that is why.
func (c *Coordinator) scanRange(ctx context.Context, view *schema.View, table uint32, id token.RangeID, after *transport.Position, rows int) (transport.ScanAnswer, error) {
	for retried := false; ; retried = true {
		t := view.Table(table)
		if t == nil {
			return transport.ScanAnswer{}, &UnknownTableError{Table: table}
		}
		candidates := c.nearest(view, view.Ring.Replicas(t.Placement, id))
		if len(candidates) == 0 {
			return transport.ScanAnswer{}, &UnavailableError{Need: 1}
		}
		g := newGather[transport.ScanAnswer](ctx, c, latency.Kind{Table: table, Op: uint8(opScan)}, 1, candidates)
		answer, err := scanQuestion(g, &transport.ScanRequest{
			Version: view.Version, Table: table, Range: id, After: after, PartitionsOnly: true,
			MaxRows: rows, MaxBytes: c.cfg.PageBytes, Now: c.env.Clock.Physical().Unix(),
		})
		g.stop()
		if err == nil || retried || !g.failures.Retry() {
			return answer, err
		}
		newer, ok := c.newer(ctx, view, g.from, g.newest)
		if !ok {
			return answer, err
		}
		c.metrics.retries.WithLabelValues(opNames[opScan]).Inc()
		view = newer
	}
}

// scanQuestion puts one scan request to candidates until one answers.
func scanQuestion(g *gather[transport.ScanAnswer], wire *transport.ScanRequest) (transport.ScanAnswer, error) {
	question := func(ctx context.Context, id ring.NodeID) (transport.ScanAnswer, error) {
		return g.c.env.Peers.Scan(ctx, id, wire)
	}
	g.ask(0, false, question)
	for {
		reply, what, err := g.wait(0)
		if err != nil {
			return transport.ScanAnswer{}, err
		}
		if what == answered {
			return reply.answer, nil
		}
		if i, ok := g.spare(what); ok {
			g.ask(i, false, question)
		}
	}
}
