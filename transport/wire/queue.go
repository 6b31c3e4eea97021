package wire

import "encoding/binary"

// Frame is a frame being filled or waiting to be sent; its header is set last.
type Frame struct {
	Buf    *[]byte // of the queue's pool; nil: no frame
	Items  int
	Opened int64 // ns; budgets in the frame refer to it
}

// Queue collects items into frames, in order: callers encode straight into the
// current frame, the sender takes whole frames. It is a plain value that its
// owner's mutex guards.
type Queue struct {
	Pool   *BufferPool
	Target int // bytes at which a frame is closed; a larger item goes alone

	current Frame
	closed  []Frame // oldest first, from head
	head    int
	acks    []uint32 // packed into the next frame
	bytes   int
	hint    int // length of the last frame: what to open the next one with
}

// Empty reports whether there is nothing to send.
func (q *Queue) Empty() bool {
	return q.current.Buf == nil && q.head == len(q.closed) && len(q.acks) == 0
}

// Bytes is the size of the items that wait, acks not counted.
func (q *Queue) Bytes() int { return q.bytes }

// Ack adds an id to the acks of the next frame.
func (q *Queue) Ack(id uint32) { q.acks = append(q.acks, id) }

// Room returns the frame to append one item with size bytes of payload to, and
// counts the item. The caller appends exactly that, header first, before it
// calls the queue again.
func (q *Queue) Room(now int64, size int) *Frame {
	size += ItemSize
	c := &q.current
	if c.Buf != nil && (len(*c.Buf)+size > q.Target || c.Items >= itemsMax-1) {
		q.closed = append(q.closed, *c)
		*c = Frame{}
	}
	if c.Buf == nil {
		c.Buf = q.Pool.Get(max(HeaderSize+size, min(q.hint, q.Target)))
		*c.Buf = (*c.Buf)[:HeaderSize]
		c.Opened = now
	}
	q.grow(c, size)
	c.Items++
	q.bytes += size
	return c
}

// grow makes room for size more bytes.
func (q *Queue) grow(f *Frame, size int) {
	old := f.Buf
	if cap(*old)-len(*old) >= size {
		return
	}
	f.Buf = q.Pool.Get(max(2*cap(*old), len(*old)+size))
	*f.Buf = append((*f.Buf)[:0], *old...)
	q.Pool.Put(old)
}

// Take removes the next frame, with all acks that wait, whatever its size. ok is
// false if there is nothing.
func (q *Queue) Take(now int64) (f Frame, ok bool) {
	switch {
	case q.head < len(q.closed):
		f = q.closed[q.head]
		q.closed[q.head] = Frame{}
		q.head++
		if q.head == len(q.closed) {
			q.closed, q.head = q.closed[:0], 0
		}
	case q.current.Buf != nil:
		f, q.current = q.current, Frame{}
	case len(q.acks) > 0:
		f = Frame{Buf: q.Pool.Get(HeaderSize), Opened: now}
	default:
		return Frame{}, false
	}
	q.bytes -= len(*f.Buf) - HeaderSize
	if n := len(q.acks); n > 0 {
		q.grow(&f, ItemSize+4*n)
		b := AppendItem(*f.Buf, KindAcks, 0, uint32(n), 4*n)
		for _, id := range q.acks {
			b = binary.BigEndian.AppendUint32(b, id)
		}
		*f.Buf = b
		f.Items++
		q.acks = q.acks[:0]
	}
	q.hint = len(*f.Buf)
	return f, true
}

// Clear drops everything.
func (q *Queue) Clear() {
	q.acks = q.acks[:0]
	for {
		f, ok := q.Take(0)
		if !ok {
			return
		}
		q.Pool.Put(f.Buf)
	}
}
