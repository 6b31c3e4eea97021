package coordinator

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// WriteOptions are a client's wishes for a write.
type WriteOptions struct {
	Level Level
	// Timeout counts from NewWrite; 0 is Config.WriteTimeout.
	Timeout time.Duration
	// Session is the last clock value that the client saw; 0 if it has none.
	Session hlc.Timestamp
	// Timestamp is the client's own write timestamp; 0 lets the clock decide.
	Timestamp hlc.Timestamp
	// Sloppy lets other nodes hold the write for replicas that are not alive, and
	// count towards the level; reads do not ask them. So does a table that says so.
	Sloppy bool
	// Receipt asks for receipts.
	Receipt bool
}

// Write is one client write of any number of rows: NewWrite, Add for each row,
// Commit, and Release when the result is not needed any more. It belongs to one
// goroutine.
type Write struct {
	c               *Coordinator
	opts            WriteOptions
	view            *schema.View
	timestamp, born hlc.Timestamp
	start, deadline time.Time
	retried         bool

	rows    []row
	added   []byte  // the rows' entries as they were added
	sorted  []byte  // the same in the groups' order, if that is another
	order   []int32 // row numbers in the groups' order
	groups  []group
	codes   []int16 // the groups' replicas' outcomes
	members []int8  // by member: 0 not asked yet whether it is alive, 1 alive, -1 dead
	result  Result

	wake      chan struct{} // one token: every group is decided
	timer     *time.Timer
	undecided atomic.Int32 // groups, and 1 while sending
	pending   atomic.Int32 // acknowledgements missing, and 1 until the answer
	holders   atomic.Int32 // the caller until Release, and Commit's acknowledgements
}

// row is one row's place in Write.added and among the groups.
type row struct {
	home       uint32 // placement and replica set: rows of one home may share a group
	group      int32  // index into Result.groups
	start, end int    // its entry
	key        [2]int
	table      uint32
	placement  int
	token      token.Token
}

// NewWrite stamps a write. The very first write of a cluster seals the catalog.
// Errors: ErrNoCatalog, ErrStopping, *UnsealableError, *SkewedError, hlc.ErrCeiling.
func (c *Coordinator) NewWrite(ctx context.Context, opts WriteOptions) (*Write, error) {
	start := time.Now()
	timeout := c.cfg.WriteTimeout
	if opts.Timeout > 0 {
		timeout = opts.Timeout
	}
	view := c.env.View()
	if view == nil {
		return nil, ErrNoCatalog
	}
	if !view.Sealed {
		sealCtx, cancel := context.WithDeadline(ctx, start.Add(timeout))
		defer cancel()
		var err error
		if view, err = c.seal(sealCtx); err != nil {
			return nil, c.metrics.failed(opWrite, err)
		}
	}
	timestamp, born, err := c.stamp(ctx, opts, start.Add(timeout))
	if err != nil {
		return nil, c.metrics.failed(opWrite, err)
	}
	w := c.takeWrite()
	w.opts, w.view, w.timestamp, w.born = opts, view, timestamp, born
	w.start, w.deadline = start, start.Add(timeout)
	return w, nil
}

// stamp gives a write its timestamp, and the time when it was accepted. It waits
// for the clock's ceiling to rise only if it must.
func (c *Coordinator) stamp(ctx context.Context, opts WriteOptions, deadline time.Time) (timestamp, born hlc.Timestamp, err error) {
	if c.env.Unfit != nil {
		if err := c.env.Unfit(); err != nil {
			return 0, 0, &SkewedError{Err: err}
		}
	}
	if err := c.env.Clock.CheckClient(opts.Timestamp); err != nil {
		return 0, 0, &SkewedError{Client: true, Field: "timestamp", Err: err}
	}
	if born, err = c.env.Clock.NowAbove(opts.Session); errors.Is(err, hlc.ErrCeiling) {
		wait, cancel := context.WithDeadline(ctx, deadline)
		born, err = c.env.Clock.Stamp(wait, opts.Session)
		cancel()
	}
	if err != nil {
		if skew := (*hlc.SkewError)(nil); errors.As(err, &skew) {
			return 0, 0, &SkewedError{Client: true, Field: "session", Err: err}
		}
		return 0, 0, fmt.Errorf("coordinator: stamp the write: %w", err)
	}
	if opts.Timestamp != 0 {
		return opts.Timestamp, born, nil
	}
	return born, born, nil
}

// takeWrite returns an empty write from the pool.
func (c *Coordinator) takeWrite() *Write {
	w, ok := c.writes.Get().(*Write)
	if !ok {
		w = &Write{c: c, wake: make(chan struct{}, 1)}
	}
	w.holders.Store(1)
	return w
}

// View returns the catalog view that the write is placed by.
func (w *Write) View() *schema.View { return w.view }

// Timestamp returns the timestamp for the rows' cells.
func (w *Write) Timestamp() hlc.Timestamp { return w.timestamp }

// Born returns when the write was accepted; expiry and deletion seconds derive from it.
func (w *Write) Born() hlc.Timestamp { return w.born }

// Add appends one row: its storage key, of a partition with token tok, and its
// encoded fragment. Both are copied. It returns the row's number.
// Errors: *TooLargeError, *RetiredError; the write can go on without the row.
func (w *Write) Add(t *schema.TableView, tok token.Token, key, value []byte) (int, error) {
	if n := len(key) + len(value); n > w.c.cfg.RowBytes {
		return 0, &TooLargeError{Bytes: n, Max: w.c.cfg.RowBytes}
	}
	if t.Floor > 0 {
		if err := checkFloor(t, key); err != nil {
			return 0, err
		}
	}
	start := len(w.added)
	w.added = record.AppendEntry(w.added, key, value)
	w.addRow(t.ID, t.Placement, tok, start, key)
	return len(w.rows) - 1, nil
}

// addRow notes the entry that was just appended at start.
func (w *Write) addRow(table uint32, placement int, tok token.Token, start int, key []byte) {
	keyStart := start + uvarintLen(len(key))
	w.rows = append(w.rows, row{
		home:  uint32(placement)<<16 | uint32(w.view.Ring.SetOf(placement, tok.Range())),
		start: start, end: len(w.added),
		key:   [2]int{keyStart, keyStart + len(key)},
		table: table, placement: placement, token: tok,
	})
}

// checkFloor refuses a row that retention has already given up.
func checkFloor(t *schema.TableView, key []byte) error {
	k, err := record.ParseKey(key)
	if err != nil {
		return fmt.Errorf("coordinator: add a row: %w", err)
	}
	if k.Space == record.SpaceWindows && k.Window < t.Floor {
		return &RetiredError{Table: t.FullName(), Floor: t.Shape.WindowStart(t.Floor)}
	}
	return nil
}

// uvarintLen is the length of n as an unsigned varint.
func uvarintLen(n int) int {
	length := 1
	for ; n >= 0x80; n >>= 7 {
		length++
	}
	return length
}

// Release gives the write and its result back for reuse; neither may be touched
// afterwards. A write that is not released is only slower.
func (w *Write) Release() {
	if w.holders.Add(-1) == 0 {
		w.recycle()
	}
}

// maxPooled is the size of buffers beyond which a write is left to the collector.
const maxPooled = 1 << 20

func (w *Write) recycle() {
	if cap(w.added) > maxPooled || cap(w.sorted) > maxPooled {
		return
	}
	select {
	case <-w.wake:
	default:
	}
	clear(w.groups)
	clear(w.result.groups)
	w.rows, w.added, w.sorted, w.order = w.rows[:0], w.added[:0], w.sorted[:0], w.order[:0]
	w.groups, w.codes, w.members = w.groups[:0], w.codes[:0], w.members[:0]
	w.result = Result{groups: w.result.groups[:0]}
	w.opts, w.view, w.retried = WriteOptions{}, nil, false
	w.c.writes.Put(w)
}

// place sorts the rows by home and key, and cuts them into groups.
func (w *Write) place() {
	inOrder := true
	for i := range w.rows {
		w.order = append(w.order, int32(i))
		inOrder = inOrder && (i == 0 || w.compare(int32(i-1), int32(i)) <= 0)
	}
	entries := w.added
	if !inOrder {
		slices.SortFunc(w.order, w.compare)
		for _, i := range w.order {
			w.sorted = append(w.sorted, w.added[w.rows[i].start:w.rows[i].end]...)
		}
		entries = w.sorted
	}
	for first, at := 0, 0; first < len(w.order); {
		next, size := w.cut(first)
		w.groups = append(w.groups, group{})
		w.groups[len(w.groups)-1].fill(w, first, next, entries[at:at+size:at+size])
		first, at = next, at+size
	}
}

// cut returns where the group that begins at a place of the order ends, and its
// bytes: rows of one home up to Config.GroupBytes, but at least one row.
func (w *Write) cut(first int) (next, size int) {
	home := w.rows[w.order[first]].home
	for next = first; next < len(w.order); next++ {
		r := &w.rows[w.order[next]]
		n := r.end - r.start
		if r.home != home || next > first && size+n > w.c.cfg.GroupBytes {
			break
		}
		size += n
		r.group = int32(len(w.groups))
	}
	return next, size
}

// compare orders rows, given by number, by home and key.
func (w *Write) compare(a, b int32) int {
	x, y := &w.rows[a], &w.rows[b]
	if c := cmp.Compare(x.home, y.home); c != 0 {
		return c
	}
	return bytes.Compare(w.added[x.key[0]:x.key[1]], w.added[y.key[0]:y.key[1]])
}
