package storage

import "github.com/cockroachdb/pebble/v2"

// Cursor walks keys of the row store as they were when it was made. It is an
// iterator and no snapshot, which would keep compactions from merging rows. It
// belongs to one goroutine, and Engine.Close waits until it is closed.
type Cursor struct {
	engine *Engine
	iter   *pebble.Iterator
}

// Cursor makes a cursor over the keys from lower (inclusive) to upper (exclusive).
func (e *Engine) Cursor(lower, upper []byte) (*Cursor, error) {
	if !e.gate.Enter() {
		return nil, ErrClosed
	}
	iter, err := e.rows.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		e.gate.Leave()
		return nil, corrupted("storage: cursor", err)
	}
	return &Cursor{engine: e, iter: iter}, nil
}

// Clone makes a cursor of the same moment over other keys.
func (c *Cursor) Clone(lower, upper []byte) (*Cursor, error) {
	if !c.engine.gate.Enter() {
		return nil, ErrClosed
	}
	iter, err := c.iter.Clone(pebble.CloneOptions{IterOptions: &pebble.IterOptions{LowerBound: lower, UpperBound: upper}})
	if err != nil {
		c.engine.gate.Leave()
		return nil, corrupted("storage: cursor", err)
	}
	return &Cursor{engine: c.engine, iter: iter}, nil
}

// Seek moves to the first key at or after a key; false means the end, or Err.
func (c *Cursor) Seek(key []byte) bool { return c.iter.SeekGE(key) }

// Next moves to the next key; false means the end, or Err.
func (c *Cursor) Next() bool { return c.iter.Next() }

// Key is the key at hand, valid until the cursor moves.
func (c *Cursor) Key() []byte { return c.iter.Key() }

// Value is the merged value at hand, valid until the cursor moves.
func (c *Cursor) Value() ([]byte, error) {
	value, err := c.iter.ValueAndErr()
	return value, corrupted("storage: cursor", err)
}

// Err is why the cursor ended early. ErrCorrupt: what follows cannot be read.
func (c *Cursor) Err() error { return corrupted("storage: cursor", c.iter.Error()) }

// Close ends the cursor.
func (c *Cursor) Close() error {
	defer c.engine.gate.Leave()
	return corrupted("storage: cursor", c.iter.Close())
}
