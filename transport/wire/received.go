package wire

import "sync/atomic"

// Received is a frame that came. It goes back to its pool when the loop that
// received it, and every request in it, have released it.
type Received struct {
	buf    *[]byte
	refs   atomic.Int32
	pool   *BufferPool
	pinned *atomic.Int64
}

// NewReceived takes over a buffer of the pool, held once. pinned is the sum of the
// lengths of all frames that are held.
func NewReceived(buf *[]byte, pool *BufferPool, pinned *atomic.Int64) *Received {
	r := &Received{buf: buf, pool: pool, pinned: pinned}
	r.refs.Store(1)
	r.pinned.Add(int64(len(*buf)))
	return r
}

// Bytes is the frame, until the last release.
func (r *Received) Bytes() []byte { return *r.buf }

// Hold adds a holder.
func (r *Received) Hold() { r.refs.Add(1) }

// Release takes one away.
func (r *Received) Release() {
	if r.refs.Add(-1) == 0 {
		r.pinned.Add(-int64(len(*r.buf)))
		r.pool.Put(r.buf)
		r.buf = nil
	}
}
