package storage

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dunlindb/dunlin/storage/space"
)

// Item is work for a committer. Stage adds writes to the committer's batch, on
// its goroutine; Done is called once, when the batch is as durable as the Config
// says, or with the error why it is not. Neither may block.
type Item interface {
	Bytes() int // about what Stage will write; counts against the queue's bound
	Stage(b *Batch)
	Done(err error)
}

// Batch collects the writes of the items that are committed together.
type Batch struct {
	b       *pebble.Batch
	windows *windows
	failed  error
}

// Merge adds a fragment to a key.
func (b *Batch) Merge(key, value []byte) {
	b.windows.note(key)
	b.keep(b.b.Merge(key, value, nil))
}

// Set replaces the value of a key: below all tables (table id 0), where replicas
// keep what must be committed with rows, or of a row in Rewrite.
func (b *Batch) Set(key, value []byte) { b.keep(b.b.Set(key, value, nil)) }

// Delete removes a key, of those that Set may replace.
func (b *Batch) Delete(key []byte) { b.keep(b.b.Delete(key, nil)) }

// DeleteRange removes all keys from lower up to upper, exclusive, that nobody writes to
// meanwhile: a fragment that came later would stay without what it was to be merged with.
func (b *Batch) DeleteRange(lower, upper []byte) { b.keep(b.b.DeleteRange(lower, upper, nil)) }

// keep remembers the first error: of a batch in memory, only that it is too large.
func (b *Batch) keep(err error) {
	if b.failed == nil {
		b.failed = err
	}
}

const (
	batchBytesMax = 1 << 20 // a batch beyond it is committed before more is staged
	ackBatches    = 64      // batches between a committer and its acker
	queueKept     = 4096    // a drained queue's array of at most so many items is reused
)

// committer writes the ranges that are its own.
type committer struct {
	engine *Engine
	wake   chan struct{} // one slot
	acks   chan committed
	disk   space.Guard
	full   error    // what disk said when the batch was made
	items  []queued // drained; those from handed on have not gone to the acker
	handed int

	mu     sync.Mutex // guards the fields below
	queue  []queued
	spare  []queued // an array for the next queue
	count  int      // items that are not answered
	bytes  int      // of them
	closed bool
}

// queued is an item with its size, which the item itself may no longer tell once
// it was answered.
type queued struct {
	Item
	size int
}

// committed is a batch on its way to the acker; batch is nil if nothing was staged.
type committed struct {
	batch *pebble.Batch
	items []queued
	begun time.Time
	err   error
}

// exclusive is an item that runs alone, between two batches.
type exclusive struct {
	run   func() error
	state atomic.Int32 // 0 waiting, 1 running, 2 given up
	done  chan error
}

// Bytes is nothing: exclusive work is not bounded by the queue.
func (x *exclusive) Bytes() int { return 0 }

// Stage does nothing: exclusive work does not ride in a batch.
func (x *exclusive) Stage(*Batch) {}

// Done answers Between.
func (x *exclusive) Done(err error) { x.done <- err }

func newCommitter(e *Engine) *committer {
	return &committer{
		engine: e, wake: make(chan struct{}, 1), acks: make(chan committed, ackBatches),
		disk: space.Guard{FS: e.env.FS, Dir: e.cfg.Dir, Reserve: uint64(e.cfg.DiskReserve)},
	}
}

// submit queues an item. The only errors are ErrOverloaded and ErrClosed. The
// bounds count items until they are answered, so that a slow disk is felt here;
// an item that alone exceeds them is taken when there is no other.
func (c *committer) submit(it Item, bounded bool) error {
	size, cfg := it.Bytes(), &c.engine.cfg
	if bounded && c.engine.pressure.Shedding() {
		c.engine.metrics.overloads.Inc()
		return errBehind
	}
	c.mu.Lock()
	switch {
	case c.closed:
		c.mu.Unlock()
		if fault := c.engine.stopped(); fault != nil {
			return fmt.Errorf("%w after a fatal error: %w", ErrClosed, fault)
		}
		return ErrClosed
	case bounded && c.count > 0 && (c.count >= cfg.QueueItems || c.bytes+size > cfg.QueueBytes):
		c.mu.Unlock()
		c.engine.metrics.overloads.Inc()
		return ErrOverloaded
	}
	c.queue = append(c.queue, queued{it, size})
	c.count++
	c.bytes += size
	c.mu.Unlock()
	c.nudge()
	return nil
}

func (c *committer) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// drain takes the whole queue; closed reports that no more will come.
func (c *committer) drain() (items []queued, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	items, c.queue = c.queue, c.spare
	c.spare = nil
	return items, c.closed
}

// keep gives back a drained queue's array.
func (c *committer) keep(items []queued) {
	clear(items)
	if cap(items) > queueKept {
		return
	}
	c.mu.Lock()
	c.spare = items[:0]
	c.mu.Unlock()
}

// release takes answered items out of the bounds.
func (c *committer) release(count, bytes int) {
	c.mu.Lock()
	c.count -= count
	c.bytes -= bytes
	c.mu.Unlock()
}

// load is what the bounds count.
func (c *committer) load() (count, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count, c.bytes
}

func (c *committer) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.nudge()
}

// run commits until close, and then what is queued.
func (c *committer) run() {
	defer c.finish()
	for range c.wake {
		for {
			items, closed := c.drain()
			if len(items) == 0 {
				if closed {
					return
				}
				break
			}
			c.engine.metrics.batchItems.Observe(float64(len(items)))
			c.items, c.handed = items, 0
			c.commitAll()
			c.items, c.handed = nil, 0
			c.keep(items)
		}
	}
}

// finish ends the acker. A fatal error ends this goroutine inside Pebble: then
// what it held and what is queued is refused.
func (c *committer) finish() {
	c.close()
	queue, _ := c.drain()
	if rest := append(slices.Clone(c.items[c.handed:]), queue...); len(rest) > 0 {
		c.acks <- committed{items: rest, err: cmp.Or(c.engine.stopped(), ErrClosed)}
	}
	close(c.acks)
}

// commitAll stages the drained items in order, in as few batches as their sizes
// and exclusive work allow.
func (c *committer) commitAll() {
	batch := c.newBatch()
	for i, it := range c.items {
		if x, ok := it.Item.(*exclusive); ok {
			c.commit(batch, i)
			c.runExclusive(x)
			c.handed = i + 1
			c.release(1, 0)
			batch = c.newBatch()
			continue
		}
		if err := c.refused(it.Item); err != nil && batch.failed == nil {
			c.commit(batch, i)
			batch = &Batch{b: c.engine.rows.NewBatch(), windows: c.engine.windows, failed: err}
			c.commit(batch, i+1)
			batch = c.newBatch()
			continue
		}
		if batch.failed == nil {
			it.Stage(batch)
		}
		if batch.b.Len() >= batchBytesMax {
			c.commit(batch, i+1)
			batch = c.newBatch()
		}
	}
	c.commit(batch, len(c.items))
}

// newBatch is a batch that takes writes, or that has failed already: after a
// fatal error.
func (c *committer) newBatch() *Batch {
	c.full = c.disk.Check()
	return &Batch{b: c.engine.rows.NewBatch(), windows: c.engine.windows, failed: c.engine.stopped()}
}

// Freeing is an Item that may say that its writes lead to space being freed. It is
// asked only while the disk is full.
type Freeing interface{ Frees() bool }

// refused says why an item is not taken: the disk is full.
func (c *committer) refused(it Item) error {
	err := c.full
	if err == nil {
		return nil
	}
	if f, ok := it.(Freeing); ok && f.Frees() {
		err = c.disk.Wedged()
	}
	if err != nil {
		c.engine.metrics.diskFull.Inc()
	}
	return err
}

func (c *committer) runExclusive(x *exclusive) {
	if x.state.CompareAndSwap(0, 1) {
		x.Done(x.run())
	}
}

// commit applies a batch and passes it to the acker, with a copy of its items:
// those up to end that were not handed on before.
func (c *committer) commit(b *Batch, end int) {
	if c.handed == end {
		_ = b.b.Close() // nothing was staged; closing only returns it to its pool
		return
	}
	done := committed{batch: b.b, items: slices.Clone(c.items[c.handed:end]), begun: time.Now(), err: b.failed}
	if done.err == nil && !b.b.Empty() {
		c.engine.metrics.batchBytes.Observe(float64(b.b.Len()))
		c.engine.written.Add(uint64(b.b.Count()))
		c.disk.Wrote(b.b.Len())
		c.engine.pressure.Look(done.begun)
		if err := c.engine.apply(b.b); err != nil {
			done.err = fmt.Errorf("storage: commit: %w", err)
		}
	}
	c.handed = end
	c.acks <- done
}

// ack waits for each batch's sync and answers its items, in order.
func (c *committer) ack() {
	for done := range c.acks {
		err := done.err
		if done.batch != nil {
			if err == nil && !done.batch.Empty() {
				err = c.engine.settle(done.batch)
				c.engine.metrics.commitSeconds.Observe(time.Since(done.begun).Seconds())
			}
			_ = done.batch.Close() // after SyncWait; closing only returns it to its pool
		}
		if err == nil {
			err = c.engine.stopped()
		}
		if err != nil {
			c.engine.metrics.commitFailures.Inc()
		}
		bytes := 0
		for _, it := range done.items {
			bytes += it.size
		}
		c.release(len(done.items), bytes)
		for _, it := range done.items {
			it.Done(err)
		}
	}
}

// apply is the one place that commits rows. With sync durability Pebble writes
// and publishes the batch here and settle waits for the disk (ApplyNoSyncWait is
// marked experimental; Apply(batch, Sync) would be the other way). With periodic
// durability the syncer follows within its interval.
func (e *Engine) apply(b *pebble.Batch) error {
	if e.cfg.Durability == Periodic {
		err := e.rows.Apply(b, pebble.NoSync)
		e.syncer.dirty()
		return err
	}
	return e.rows.ApplyNoSyncWait(b, pebble.Sync)
}

// settle waits until an applied batch is as durable as it has to be. After a
// failed sync nobody knows what the log holds, and Pebble, which ends the process
// in Apply, only returns the error here.
func (e *Engine) settle(b *pebble.Batch) error {
	if e.cfg.Durability == Periodic {
		return nil
	}
	err := b.SyncWait()
	if err != nil {
		e.fatal(fmt.Errorf("storage: sync the log: %w", err))
	}
	return err
}

// Committers is the number of committers.
func (e *Engine) Committers() int { return len(e.committers) }

// Submit queues an item for a committer and does not wait. The errors are
// ErrOverloaded and ErrClosed; then Done is not called.
func (e *Engine) Submit(committer int, it Item) error {
	return e.committers[committer].submit(it, true)
}

// Between runs f on a committer's goroutine, after everything queued before and
// between two batches, and returns its error. When ctx ends first, f does not
// run, unless it has begun: then Between waits for it.
func (e *Engine) Between(ctx context.Context, committer int, f func() error) error {
	x := &exclusive{run: f, done: make(chan error, 1)}
	if err := e.committers[committer].submit(x, false); err != nil {
		return err
	}
	select {
	case err := <-x.done:
		return err
	case <-ctx.Done():
		if x.state.CompareAndSwap(0, 2) {
			return ctx.Err()
		}
		return <-x.done
	}
}

// Rewrite runs f between two batches of a committer, as Between does, and commits
// what it staged before anything else is staged: so what f has read of the
// committer's ranges is what it replaces. The batch is durable with the next write
// that is synced, and is taken while the disk is full, since it frees space.
func (e *Engine) Rewrite(ctx context.Context, committer int, f func(b *Batch) error) error {
	return e.Between(ctx, committer, func() error {
		b := &Batch{b: e.rows.NewBatch(), windows: e.windows, failed: e.stopped()}
		err := f(b)
		if err = cmp.Or(err, b.failed); err != nil || b.b.Empty() {
			_ = b.b.Close() // closing only returns it to its pool
			return err
		}
		if err := e.rows.Apply(b.b, pebble.NoSync); err != nil {
			return fmt.Errorf("storage: rewrite: %w", err)
		}
		return b.b.Close()
	})
}

// Quiesce runs f while all committers stand still between two batches.
func (e *Engine) Quiesce(ctx context.Context, f func() error) error {
	for c := len(e.committers) - 1; c >= 0; c-- {
		inner := f
		f = func() error { return e.Between(ctx, c, inner) }
	}
	return f()
}
