package form

import (
	"encoding/binary"
	"errors"

	"github.com/dunlindb/dunlin/hlc"
)

// Hint is one group that is kept.
type Hint struct {
	Created int64 // unix microseconds
	Born    hlc.Timestamp
	Version uint64 // of the catalog that it was placed by
	Count   int    // entries
	Entries []byte
}

// ErrEncoding says that stored bytes are no hint or summary of a version that is
// known here.
var ErrEncoding = errors.New("hinted: stored bytes cannot be decoded")

const hintVersion = 1

// AppendHint appends version u8 | created i64 | born i64 | catalog version, count
// uvarint | entries.
func AppendHint(dst []byte, h *Hint) []byte {
	dst = append(dst, hintVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Created))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Born))
	dst = binary.AppendUvarint(dst, h.Version)
	dst = binary.AppendUvarint(dst, uint64(h.Count))
	return append(dst, h.Entries...)
}

// HintOverhead bounds what the encoding adds to the entries.
const HintOverhead = 1 + 8 + 8 + 2*binary.MaxVarintLen64

// DecodeHint is the inverse; entries alias b and are not looked into.
func DecodeHint(b []byte) (Hint, error) {
	d := Decoder{B: b}
	if d.U8() != hintVersion {
		return Hint{}, ErrEncoding
	}
	h := Hint{Created: int64(d.U64()), Born: hlc.Timestamp(d.U64()), Version: d.Uvarint()}
	count := d.Uvarint()
	h.Entries = d.B
	// An entry has at least its two lengths.
	if d.Bad || count == 0 || count > uint64(len(h.Entries)/2) {
		return Hint{}, ErrEncoding
	}
	h.Count = int(count)
	return h, nil
}

// Decoder takes values off B; after the first shortage it yields zeros and Bad is set.
type Decoder struct {
	B   []byte
	Bad bool
}

// Take takes n bytes, which alias B.
func (d *Decoder) Take(n int) []byte {
	if d.Bad || n > len(d.B) {
		d.Bad = true
		return nil
	}
	head := d.B[:n]
	d.B = d.B[n:]
	return head
}

// U8 takes a byte.
func (d *Decoder) U8() byte {
	if b := d.Take(1); b != nil {
		return b[0]
	}
	return 0
}

// U64 takes eight bytes, big endian.
func (d *Decoder) U64() uint64 {
	if b := d.Take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Uvarint refuses numbers written longer than needed.
func (d *Decoder) Uvarint() uint64 {
	v, n := binary.Uvarint(d.B)
	if d.Bad || n <= 0 || (n > 1 && d.B[n-1] == 0) {
		d.Bad = true
		return 0
	}
	d.B = d.B[n:]
	return v
}

// Length is a uvarint that fits a count of things held in memory.
func (d *Decoder) Length() int64 {
	v := d.Uvarint()
	if v > 1<<56 {
		d.Bad = true
		return 0
	}
	return int64(v)
}
