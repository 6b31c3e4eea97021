package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/token"
)

// Payloads of items. Byte strings are a length u32 and the bytes; the last one
// of a payload goes to its end without a length. Flags that are not known are refused.

// ErrPayload says that bytes are not what their kind promises.
var ErrPayload = errors.New("item does not match its kind's layout")

const groupHeaderSize = 21 // without an owner

const (
	flagOwner          = 1 << 0 // group
	flagReverse        = 1 << 0 // read
	flagDigest         = 1 << 1 // read
	flagStart          = 1 << 2 // read: Start is not nil
	flagEnd            = 1 << 3 // read: End is not nil
	flagPartitionsOnly = 1 << 0 // scan
	flagAfter          = 1 << 1 // scan
	flagMore           = 1 << 0 // answers
	flagHasDigest      = 1 << 1 // read answer
	flagNext           = 1 << 1 // scan answer
)

// GroupSize is the length of a group's payload.
func GroupSize(g *Group) int {
	n := groupHeaderSize + len(g.Entries)
	if g.Owner != (ring.NodeID{}) {
		n += len(g.Owner)
	}
	return n
}

// AppendGroup appends version u64 | born i64 | count u32 | flags u8 | owner? | entries.
func AppendGroup(dst []byte, g *Group) []byte {
	owned := g.Owner != (ring.NodeID{})
	dst = binary.BigEndian.AppendUint64(dst, g.Version)
	dst = binary.BigEndian.AppendUint64(dst, uint64(g.Born))
	dst = binary.BigEndian.AppendUint32(dst, uint32(g.Count))
	dst = append(dst, flag(owned, flagOwner))
	if owned {
		dst = append(dst, g.Owner[:]...)
	}
	return append(dst, g.Entries...)
}

// DecodeGroup is the inverse of AppendGroup; Entries alias b.
func DecodeGroup(b []byte) (Group, error) {
	r := reader{b: b}
	g := Group{Version: r.u64(), Born: hlc.Timestamp(r.u64()), Count: int(r.u32())}
	if r.flags(flagOwner)&flagOwner != 0 {
		copy(g.Owner[:], r.take(len(g.Owner)))
		r.bad = r.bad || g.Owner == (ring.NodeID{})
	}
	g.Entries = r.b
	// An entry has at least its two lengths.
	if r.bad || g.Count == 0 || g.Count > len(g.Entries)/2 {
		return Group{}, ErrPayload
	}
	return g, nil
}

// AppendVerdict appends version u64 | detail; the code is the item's argument.
func AppendVerdict(dst []byte, v Verdict) []byte {
	dst = binary.BigEndian.AppendUint64(dst, v.Version)
	return append(dst, v.Detail...)
}

// DecodeVerdict is the inverse of AppendVerdict. It accepts the codes that may
// travel, except OK.
func DecodeVerdict(code uint32, b []byte) (Verdict, error) {
	if code == uint32(OK) || code > uint32(Failed) || len(b) < 8 || len(b) > 8+DetailMax {
		return Verdict{}, ErrPayload
	}
	return Verdict{Code: Code(code), Version: binary.BigEndian.Uint64(b), Detail: string(b[8:])}, nil
}

// DetailMax bounds the detail of a verdict on the wire.
const DetailMax = 1 << 10

// reader consumes a payload; after the first shortage it yields zeros and bad is set.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// count reads what count32 wrote: what does not fit an int32 was not.
func (r *reader) count() int {
	n := r.u32()
	if n > math.MaxInt32 {
		r.bad = true
	}
	return int(n)
}

// bytes reads a byte string; never nil unless bad.
func (r *reader) bytes() []byte {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	return r.take(int(n))
}

// flags refuses bits outside of known.
func (r *reader) flags(known byte) byte {
	f := r.u8()
	if f&^known != 0 {
		r.bad = true
	}
	return f
}

// end reports a shortage, or bytes that nobody consumed.
func (r *reader) end() error {
	if r.bad || len(r.b) > 0 {
		return ErrPayload
	}
	return nil
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(b)))
	return append(dst, b...)
}

// count32 clamps a limit to what the wire carries; negative is none.
func count32(n int) uint32 {
	return uint32(min(max(n, 0), math.MaxInt32))
}

func flag(on bool, bit byte) byte {
	if on {
		return bit
	}
	return 0
}

// AppendReadRequest appends version u64 | table u32 | flags u8 | rows u32 |
// bytes u32 | now i64 | partition | start? | end?.
func AppendReadRequest(dst []byte, q *ReadRequest) []byte {
	dst = binary.BigEndian.AppendUint64(dst, q.Version)
	dst = binary.BigEndian.AppendUint32(dst, q.Table)
	dst = append(dst, flag(q.Reverse, flagReverse)|flag(q.Digest, flagDigest)|
		flag(q.Start != nil, flagStart)|flag(q.End != nil, flagEnd))
	dst = binary.BigEndian.AppendUint32(dst, count32(q.MaxRows))
	dst = binary.BigEndian.AppendUint32(dst, count32(q.MaxBytes))
	dst = binary.BigEndian.AppendUint64(dst, uint64(q.Now))
	dst = appendBytes(dst, q.Partition)
	if q.Start != nil {
		dst = appendBytes(dst, q.Start)
	}
	if q.End != nil {
		dst = appendBytes(dst, q.End)
	}
	return dst
}

// ReadRequestSize is the length of what AppendReadRequest appends.
func ReadRequestSize(q *ReadRequest) int {
	n := 29 + 4 + len(q.Partition)
	if q.Start != nil {
		n += 4 + len(q.Start)
	}
	if q.End != nil {
		n += 4 + len(q.End)
	}
	return n
}

// DecodeReadRequest is the inverse of AppendReadRequest; slices of q alias b.
func DecodeReadRequest(b []byte, q *ReadRequest) error {
	r := reader{b: b}
	q.Version, q.Table = r.u64(), r.u32()
	f := r.flags(flagReverse | flagDigest | flagStart | flagEnd)
	q.Reverse, q.Digest = f&flagReverse != 0, f&flagDigest != 0
	q.MaxRows, q.MaxBytes = r.count(), r.count()
	q.Now = int64(r.u64())
	q.Partition = r.bytes()
	if f&flagStart != 0 {
		q.Start = r.bytes()
	}
	if f&flagEnd != 0 {
		q.End = r.bytes()
	}
	return r.end()
}

// AppendReadAnswer appends flags u8 | live u32 | digest? | head | rows to the end.
func AppendReadAnswer(dst []byte, a *ReadAnswer) []byte {
	hasDigest := a.Digest != record.Digest{}
	dst = append(dst, flag(a.More, flagMore)|flag(hasDigest, flagHasDigest))
	dst = binary.BigEndian.AppendUint32(dst, count32(a.Live))
	if hasDigest {
		dst = append(dst, a.Digest[:]...)
	}
	dst = appendBytes(dst, a.Head)
	return append(dst, a.Rows...)
}

// DecodeReadAnswer is the inverse of AppendReadAnswer; slices of a alias b.
func DecodeReadAnswer(b []byte, a *ReadAnswer) error {
	r := reader{b: b}
	f := r.flags(flagMore | flagHasDigest)
	a.More = f&flagMore != 0
	a.Live = r.count()
	if f&flagHasDigest != 0 {
		copy(a.Digest[:], r.take(len(a.Digest)))
		r.bad = r.bad || a.Digest == record.Digest{} // none is said by the flag
	}
	a.Head = r.bytes()
	a.Rows = r.take(len(r.b))
	return r.end()
}

func appendPosition(dst []byte, p *Position) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.Token))
	dst = appendBytes(dst, p.Partition)
	return appendBytes(dst, p.Suffix)
}

func (r *reader) position() *Position {
	return &Position{Token: token.Token(r.u64()), Partition: r.bytes(), Suffix: r.bytes()}
}

// AppendScanRequest appends version u64 | table u32 | range u16 | flags u8 |
// rows u32 | bytes u32 | now i64 | position?.
func AppendScanRequest(dst []byte, q *ScanRequest) []byte {
	dst = binary.BigEndian.AppendUint64(dst, q.Version)
	dst = binary.BigEndian.AppendUint32(dst, q.Table)
	dst = binary.BigEndian.AppendUint16(dst, uint16(q.Range))
	dst = append(dst, flag(q.PartitionsOnly, flagPartitionsOnly)|flag(q.After != nil, flagAfter))
	dst = binary.BigEndian.AppendUint32(dst, count32(q.MaxRows))
	dst = binary.BigEndian.AppendUint32(dst, count32(q.MaxBytes))
	dst = binary.BigEndian.AppendUint64(dst, uint64(q.Now))
	if q.After != nil {
		dst = appendPosition(dst, q.After)
	}
	return dst
}

// ScanRequestSize is the length of what AppendScanRequest appends.
func ScanRequestSize(q *ScanRequest) int {
	n := 31
	if q.After != nil {
		n += 16 + len(q.After.Partition) + len(q.After.Suffix)
	}
	return n
}

// DecodeScanRequest is the inverse of AppendScanRequest; slices of q alias b.
func DecodeScanRequest(b []byte, q *ScanRequest) error {
	r := reader{b: b}
	q.Version, q.Table, q.Range = r.u64(), r.u32(), token.RangeID(r.u16())
	if q.Range >= token.Ranges {
		return fmt.Errorf("%w: range %d of %d", ErrPayload, q.Range, token.Ranges)
	}
	f := r.flags(flagPartitionsOnly | flagAfter)
	q.PartitionsOnly = f&flagPartitionsOnly != 0
	q.MaxRows, q.MaxBytes = r.count(), r.count()
	q.Now = int64(r.u64())
	if f&flagAfter != 0 {
		q.After = r.position()
	}
	return r.end()
}

// AppendScanAnswer appends flags u8 | live u32 | position? | partitions | rows to the end.
func AppendScanAnswer(dst []byte, a *ScanAnswer) []byte {
	dst = append(dst, flag(a.More, flagMore)|flag(a.Next != nil, flagNext))
	dst = binary.BigEndian.AppendUint32(dst, count32(a.Live))
	if a.Next != nil {
		dst = appendPosition(dst, a.Next)
	}
	dst = appendBytes(dst, a.Partitions)
	return append(dst, a.Rows...)
}

// DecodeScanAnswer is the inverse of AppendScanAnswer; slices of a alias b.
func DecodeScanAnswer(b []byte, a *ScanAnswer) error {
	r := reader{b: b}
	f := r.flags(flagMore | flagNext)
	a.More = f&flagMore != 0
	a.Live = r.count()
	if f&flagNext != 0 {
		a.Next = r.position()
	}
	a.Partitions = r.bytes()
	a.Rows = r.take(len(r.b))
	return r.end()
}

// Query is a decoded ReadRequest or ScanRequest: one of the two is set.
type Query struct {
	Read *ReadRequest
	Scan *ScanRequest
}

// DecodeQuery decodes the payload of a KindRead or KindScan item.
func DecodeQuery(kind Kind, payload []byte) (Query, error) {
	if kind == KindScan {
		q := new(ScanRequest)
		return Query{Scan: q}, DecodeScanRequest(payload, q)
	}
	q := new(ReadRequest)
	return Query{Read: q}, DecodeReadRequest(payload, q)
}
