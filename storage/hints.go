package storage

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dunlindb/dunlin/storage/space"
)

// Hints is the store of hints: opaque keys in byte order, and opaque values. Keys
// begin with a byte below 's', with which the engine's own key begins. It is safe
// for concurrent use; after Engine.Close everything gets ErrClosed.
type Hints struct {
	engine *Engine
	turn   chan struct{} // one slot, held by the one that writes, as in Meta
	disk   space.Guard   // belongs to it
}

// HintPair is one key and value.
type HintPair struct{ Key, Value []byte }

// Hints returns the engine's hint store. It is asked for once, by the one that uses it.
func (e *Engine) Hints() *Hints {
	return &Hints{
		engine: e, turn: make(chan struct{}, 1),
		disk: space.Guard{FS: e.env.FS, Dir: e.cfg.Dir, Reserve: uint64(e.cfg.DiskReserve)},
	}
}

// Write puts all pairs or none: with sync they are on disk when it returns,
// without they may stay in memory until Sync. A *DiskFullError wrote nothing.
func (h *Hints) Write(pairs []HintPair, sync bool) error {
	return h.write("write hints", sync, func(b *pebble.Batch) error {
		if err := h.disk.Check(); err != nil {
			return err
		}
		for _, p := range pairs {
			_ = b.Set(p.Key, p.Value, nil) // a batch that is open takes everything
		}
		h.disk.Wrote(b.Len())
		return nil
	})
}

// Delete removes the keys in [from, to), without a sync: a crash may bring them back.
func (h *Hints) Delete(from, to []byte) error {
	return h.write("delete hints", false, func(b *pebble.Batch) error { return b.DeleteRange(from, to, nil) })
}

// Sync returns when everything written before is on disk.
func (h *Hints) Sync() error {
	return h.write("sync hints", true, func(b *pebble.Batch) error { return b.LogData(nil, nil) })
}

func (h *Hints) write(op string, sync bool, stage func(*pebble.Batch) error) error {
	if !h.engine.gate.Enter() {
		return ErrClosed
	}
	defer h.engine.gate.Leave()
	h.turn <- struct{}{}
	defer func() { <-h.turn }()
	if err := h.engine.stopped(); err != nil {
		return err
	}
	b := h.engine.hints.NewBatch()
	defer func() { _ = b.Close() }() // closing only returns it to its pool
	if err := stage(b); err != nil {
		return fmt.Errorf("storage: %s: %w", op, err)
	}
	return corrupted("storage: "+op, h.engine.hints.Apply(b, &pebble.WriteOptions{Sync: sync}))
}

// Scan calls f for the pairs in [from, to) in order, until it returns false. Key
// and value are valid only inside f, which must not block.
func (h *Hints) Scan(from, to []byte, f func(key, value []byte) bool) error {
	if !h.engine.gate.Enter() {
		return ErrClosed
	}
	defer h.engine.gate.Leave()
	iter, err := h.engine.hints.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return corrupted("storage: scan hints", err)
	}
	for ok := iter.First(); ok; ok = iter.Next() {
		if value, err := iter.ValueAndErr(); err != nil || !f(iter.Key(), value) {
			break // the iterator keeps the error
		}
	}
	return corrupted("storage: scan hints", iter.Close())
}

// Size estimates the bytes that table files hold of [from, to).
func (h *Hints) Size(from, to []byte) (uint64, error) {
	if !h.engine.gate.Enter() {
		return 0, ErrClosed
	}
	defer h.engine.gate.Leave()
	size, err := h.engine.hints.EstimateDiskUsage(from, to)
	return size, corrupted("storage: size of hints", err)
}
