package transport

import (
	"fmt"

	"google.golang.org/grpc/mem"

	"github.com/dunlindb/dunlin/transport/wire"
)

// message is what passes through gRPC: bytes. Sending one gives its buffer away,
// receiving one makes the receiver its owner.
type message struct{ buf *[]byte }

// rawCodec hands bytes to gRPC as they are. It is given to each server and call,
// and never registered by name.
type rawCodec struct{ pool *wire.BufferPool }

// Marshal gives the buffer to gRPC, which returns it to the pool when written.
func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*message)
	if !ok {
		return nil, fmt.Errorf("transport: cannot send a %T", v)
	}
	b := m.buf
	m.buf = nil
	return mem.BufferSlice{mem.NewBuffer(b, c.pool)}, nil
}

// Unmarshal copies the message into one buffer of the pool. gRPC has checked
// the length against the receive limit before.
func (c rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*message)
	if !ok {
		return fmt.Errorf("transport: cannot receive a %T", v)
	}
	m.buf = c.pool.Get(data.Len())
	data.CopyTo(*m.buf)
	return nil
}

// Name is the content subtype on the wire.
func (rawCodec) Name() string { return "dunlin" }
