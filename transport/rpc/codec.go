package rpc

import (
	"fmt"

	"google.golang.org/grpc/mem"

	"github.com/dunlindb/dunlin/transport/wire"
)

// Message is what passes through gRPC: bytes. Sending one gives its buffer away,
// receiving one makes the receiver its owner.
type Message struct{ Buf *[]byte }

// Codec hands bytes to gRPC as they are. It is given to each server and call,
// and never registered by name.
type Codec struct{ Pool *wire.BufferPool }

// Marshal gives the buffer to gRPC, which returns it to the pool when written.
func (c Codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*Message)
	if !ok {
		return nil, fmt.Errorf("transport: cannot send a %T", v)
	}
	b := m.Buf
	m.Buf = nil
	return mem.BufferSlice{mem.NewBuffer(b, c.Pool)}, nil
}

// Unmarshal copies the message into one buffer of the pool. gRPC has checked
// the length against the receive limit before.
func (c Codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*Message)
	if !ok {
		return fmt.Errorf("transport: cannot receive a %T", v)
	}
	m.Buf = c.Pool.Get(data.Len())
	data.CopyTo(*m.Buf)
	return nil
}

// Name is the content subtype on the wire.
func (Codec) Name() string { return "dunlin" }
