package storage

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
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
	if err := b.b.Merge(key, value, nil); err != nil && b.failed == nil {
		b.failed = err // of a batch in memory: only when it is too large
	}
}

const (
	batchBytesMax = 1 << 20 // a batch beyond it is committed before more is staged
	ackBatches    = 64      // batches between a committer and its acker
)

// committer writes the ranges that are its own.
type committer struct {
	engine *Engine
	wake   chan struct{} // one slot
	acks   chan committed
	spare  []Item // the drained queue's array, reused

	mu     sync.Mutex // guards the queue
	queue  []Item
	bytes  int
	closed bool
}

// committed is a batch on its way to the acker.
type committed struct {
	batch *pebble.Batch
	items []Item
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
	return &committer{engine: e, wake: make(chan struct{}, 1), acks: make(chan committed, ackBatches)}
}

// submit queues an item. The only errors are ErrOverloaded and ErrClosed. An item
// that alone exceeds the bound is taken by an empty queue.
func (c *committer) submit(it Item, bounded bool) error {
	size := it.Bytes()
	cfg := &c.engine.cfg
	c.mu.Lock()
	switch {
	case c.closed:
		c.mu.Unlock()
		return ErrClosed
	case bounded && len(c.queue) > 0 && (len(c.queue) >= cfg.QueueItems || c.bytes+size > cfg.QueueBytes):
		c.mu.Unlock()
		c.engine.metrics.overloads.Inc()
		return ErrOverloaded
	}
	c.queue = append(c.queue, it)
	c.bytes += size
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return nil
}

// drain takes the whole queue; closed reports that no more will come.
func (c *committer) drain() (items []Item, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	items, c.queue, c.bytes = c.queue, c.spare, 0
	c.spare = nil
	return items, c.closed
}

func (c *committer) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run commits until close, and then what is queued.
func (c *committer) run() {
	defer close(c.acks)
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
			c.commitAll(items)
			clear(items)
			if cap(items) <= 4096 {
				c.spare = items[:0]
			}
		}
	}
}

// commitAll stages items in order, in as few batches as their sizes and
// exclusive work allow.
func (c *committer) commitAll(items []Item) {
	batch := c.newBatch()
	first := 0
	for i, it := range items {
		if x, ok := it.(*exclusive); ok {
			c.commit(batch, items[first:i])
			c.runExclusive(x)
			batch, first = c.newBatch(), i+1
			continue
		}
		it.Stage(batch)
		if batch.b.Len() >= batchBytesMax {
			c.commit(batch, items[first:i+1])
			batch, first = c.newBatch(), i+1
		}
	}
	c.commit(batch, items[first:])
}

func (c *committer) newBatch() *Batch {
	return &Batch{b: c.engine.rows.NewBatch(), windows: c.engine.windows}
}

func (c *committer) runExclusive(x *exclusive) {
	if x.state.CompareAndSwap(0, 1) {
		x.Done(x.run())
	}
}

// commit applies a batch and passes it to the acker, with a copy of the items,
// whose array is reused.
func (c *committer) commit(b *Batch, items []Item) {
	if len(items) == 0 {
		_ = b.b.Close() // nothing was staged; closing only returns it to its pool
		return
	}
	done := committed{batch: b.b, items: append([]Item(nil), items...), err: b.failed}
	if done.err == nil && !b.b.Empty() {
		c.engine.metrics.batchBytes.Observe(float64(b.b.Len()))
		c.engine.written.Add(uint64(b.b.Count()))
		done.err = c.engine.apply(b.b)
	}
	c.acks <- done
}

// ack waits for each batch's sync and answers its items, in order.
func (c *committer) ack() {
	for done := range c.acks {
		err := done.err
		if err == nil && !done.batch.Empty() {
			err = c.engine.settle(done.batch)
		}
		if err != nil {
			err = fmt.Errorf("storage: commit: %w", err)
			c.engine.metrics.commitFailures.Inc()
		}
		if stopped := c.engine.stopped(); stopped != nil && err == nil {
			err = stopped
		}
		_ = done.batch.Close() // after SyncWait; closing only returns it to its pool
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

// settle waits until an applied batch is as durable as it has to be.
func (e *Engine) settle(b *pebble.Batch) error {
	if e.cfg.Durability == Periodic {
		return nil
	}
	return b.SyncWait()
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
