package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A frame is one message of a stream of requests or answers. All integers are
// big endian.
//
//	header:  format u8 | flags u8 | items u16 | queued u32 (µs) | clock i64 | physical i64 | catalog version u64
//	item:    kind u8 | id u32 | argument u32 | length u32 | payload
//
// The layout is fixed: encoding and decoding an item cost nanoseconds, and
// nothing is generated. New kinds come with a feature bit in the hello; an
// unknown kind ends the stream.
const (
	// HeaderSize is the length of a frame's header, ItemSize that of an item's.
	HeaderSize = 32
	ItemSize   = 13

	frameFormat = 1
	itemsMax    = 1<<16 - 1
)

// Kind says what an item's payload is.
type Kind uint8

// Requests carry their budget in µs as the argument.
const (
	KindApply Kind = 1 // Group
	KindRead  Kind = 2 // ReadRequest
	KindScan  Kind = 3 // ScanRequest

	KindAcks       Kind = 16 // argument n; payload: the ids, n times u32, whose verdict is OK
	KindVerdict    Kind = 17 // argument: the code, not OK
	KindReadAnswer Kind = 18
	KindScanAnswer Kind = 19
)

// IsRequest reports whether a kind travels from the node that asks.
func (k Kind) IsRequest() bool { return k >= KindApply && k <= KindScan }

// IsAnswer reports whether a kind travels to the node that asks.
func (k Kind) IsAnswer() bool { return k >= KindAcks && k <= KindScanAnswer }

// Header is what every frame says of its sender.
type Header struct {
	Items    int
	Queued   uint32 // µs between the frame's opening, to which budgets refer, and its sending
	Clock    int64  // hybrid logical clock, µs
	Physical int64  // physical clock, µs
	Version  uint64 // catalog version
}

// Item is one decoded item; Payload aliases the frame.
type Item struct {
	Kind    Kind
	ID      uint32
	Arg     uint32
	Payload []byte
}

// Errors of decoding. A peer that causes them is broken, or is not a peer.
var (
	errShort    = errors.New("frame is cut short")
	errFormat   = errors.New("frame has an unknown format or flags")
	errTrailing = errors.New("frame has bytes after its last item")
)

// PutHeader writes the header over the first HeaderSize bytes of a frame.
func PutHeader(frame []byte, h Header) {
	_ = frame[HeaderSize-1]
	frame[0], frame[1] = frameFormat, 0
	binary.BigEndian.PutUint16(frame[2:], uint16(h.Items))
	binary.BigEndian.PutUint32(frame[4:], h.Queued)
	binary.BigEndian.PutUint64(frame[8:], uint64(h.Clock))
	binary.BigEndian.PutUint64(frame[16:], uint64(h.Physical))
	binary.BigEndian.PutUint64(frame[24:], h.Version)
}

// AppendItem appends an item's header; size bytes of payload are to follow.
func AppendItem(dst []byte, kind Kind, id, arg uint32, size int) []byte {
	n := len(dst)
	dst = append(dst, make([]byte, ItemSize)...)
	b := dst[n : n+ItemSize]
	b[0] = byte(kind)
	binary.BigEndian.PutUint32(b[1:], id)
	binary.BigEndian.PutUint32(b[5:], arg)
	binary.BigEndian.PutUint32(b[9:], uint32(size))
	return dst
}

// Decode splits a frame into items, appended to items[:0]. accept says which
// kinds may come this way.
func Decode(frame []byte, accept func(Kind) bool, items []Item) (Header, []Item, error) {
	items = items[:0]
	if len(frame) < HeaderSize {
		return Header{}, items, errShort
	}
	if frame[0] != frameFormat || frame[1] != 0 {
		return Header{}, items, errFormat
	}
	h := Header{
		Items:    int(binary.BigEndian.Uint16(frame[2:])),
		Queued:   binary.BigEndian.Uint32(frame[4:]),
		Clock:    int64(binary.BigEndian.Uint64(frame[8:])),
		Physical: int64(binary.BigEndian.Uint64(frame[16:])),
		Version:  binary.BigEndian.Uint64(frame[24:]),
	}
	rest := frame[HeaderSize:]
	for range h.Items {
		if len(rest) < ItemSize {
			return h, items, errShort
		}
		it := Item{
			Kind: Kind(rest[0]),
			ID:   binary.BigEndian.Uint32(rest[1:]),
			Arg:  binary.BigEndian.Uint32(rest[5:]),
		}
		n := binary.BigEndian.Uint32(rest[9:])
		rest = rest[ItemSize:]
		if uint64(n) > uint64(len(rest)) {
			return h, items, errShort
		}
		if !accept(it.Kind) {
			return h, items, fmt.Errorf("frame has an item of kind %d, which cannot come this way", it.Kind)
		}
		it.Payload, rest = rest[:n:n], rest[n:]
		items = append(items, it)
	}
	if len(rest) > 0 {
		return h, items, errTrailing
	}
	return h, items, nil
}

// AppendAckIDs appends the ids of an acks item's payload to ids.
func (it *Item) AppendAckIDs(ids []uint32) ([]uint32, error) {
	if uint64(len(it.Payload)) != 4*uint64(it.Arg) {
		return ids, ErrPayload
	}
	for b := it.Payload; len(b) > 0; b = b[4:] {
		ids = append(ids, binary.BigEndian.Uint32(b))
	}
	return ids, nil
}
