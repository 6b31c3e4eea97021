package stream

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/dunlindb/dunlin/token"
)

// Page is the kind of the call that asks a source for a page.
const Page = "rebalance.page"

// messageVersion is the first byte of every message; others are refused.
const messageVersion = 1

const (
	// bytesMax bounds the entries of an answer: one may alone be larger than what a
	// source would put together.
	bytesMax      = 8 << 20
	keyMax        = 1 << 20
	placementsMax = 1 << 16
)

// Request asks for the entries of a range that follow a key.
type Request struct {
	Generation, Version uint64 // of the catalog that the asking node serves by
	Placement           int
	Range               token.RangeID
	After               []byte // a storage key; nil: from the beginning
	MaxBytes            int    // 0: what the source likes
}

// Encode returns the message.
func (m *Request) Encode() []byte {
	b := append(make([]byte, 0, 32+len(m.After)), messageVersion)
	for _, v := range [...]uint64{m.Generation, m.Version, uint64(m.Placement), uint64(m.Range), uint64(m.MaxBytes)} {
		b = binary.AppendUvarint(b, v)
	}
	return appendKey(b, m.After)
}

// DecodeRequest reads the message, which the request aliases; the error is ErrMessage.
func DecodeRequest(b []byte) (m Request, err error) {
	r := newReader(b)
	m.Generation, m.Version = r.number(1<<64-1), r.number(1<<64-1)
	m.Placement = int(r.number(placementsMax))
	m.Range = token.RangeID(r.number(token.Ranges - 1))
	m.MaxBytes = int(r.number(bytesMax))
	m.After = r.key()
	if r.bad || len(r.b) > 0 {
		return Request{}, fmt.Errorf("%w: a request of %d bytes", ErrMessage, len(b))
	}
	return m, nil
}

// Answer is a page.
type Answer struct {
	Next    []byte // the key to go on after; nil: nothing follows
	Entries []byte // of storage key and fragment, in the order of the stream
}

// answerHead is the length of what comes before what the checksum is of.
const answerHead = 1 + 4

// Encode returns the message: version, CRC-32C of the rest, position and entries.
func (m *Answer) Encode() []byte {
	b := make([]byte, answerHead, answerHead+binary.MaxVarintLen32+len(m.Next)+len(m.Entries))
	b = append(appendKey(b, m.Next), m.Entries...)
	b[0] = messageVersion
	binary.BigEndian.PutUint32(b[1:], checksum(b[answerHead:]))
	return b
}

// DecodeAnswer reads the message, which the answer aliases. The errors are
// ErrMessage, and ErrDamaged if the checksum is of something else.
func DecodeAnswer(b []byte) (m Answer, err error) {
	r := newReader(b)
	if sum := r.take(4); !r.bad && checksum(r.b) != binary.BigEndian.Uint32(sum) {
		return m, fmt.Errorf("%w: the checksum of %d bytes is not %08x", ErrDamaged, len(b), sum)
	}
	m.Next = r.key()
	if m.Entries = r.b; r.bad {
		return Answer{}, fmt.Errorf("%w: an answer of %d bytes", ErrMessage, len(b))
	}
	return m, nil
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func appendKey(dst, key []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(key))), key...)
}

// reader takes a message apart. After the first failure it returns zeros.
type reader struct {
	b   []byte
	bad bool
}

func newReader(b []byte) *reader {
	r := &reader{b: b, bad: len(b) > bytesMax+keyMax}
	if v := r.take(1); r.bad || v[0] != messageVersion {
		r.bad = true
	}
	return r
}

func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	head := r.b[:n:n]
	r.b = r.b[n:]
	return head
}

// number is a uvarint up to a most, written no longer than needed.
func (r *reader) number(most uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 || v > most || n > 1 && r.b[n-1] == 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// key is nil for no bytes.
func (r *reader) key() []byte {
	if b := r.take(r.number(keyMax)); len(b) > 0 {
		return b
	}
	return nil
}
