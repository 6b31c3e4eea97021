package message

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/token"
)

// The kinds of calls between nodes.
const (
	Roots   = "antientropy.roots"
	Leaves  = "antientropy.leaves"
	Buckets = "antientropy.buckets"
	Keys    = "antientropy.keys"
	Rows    = "antientropy.rows"
	Pull    = "antientropy.pull"
	Purge   = "antientropy.purge"
)

// messageVersion is the first byte of every message; others are refused.
const messageVersion = 3 // 1 had no purge points, 2 no word of ranges that are filled again

// bodyMax bounds a message: an answer may carry one row that alone is larger than
// what this node would put together.
const bodyMax = 8 << 20

// ErrMessage is a message that cannot be read, or that says what it must not.
var ErrMessage = errors.New("antientropy: a message cannot be read")

// reader takes a message apart. After the first failure it returns zeros.
type reader struct {
	b   []byte
	bad bool
}

func newReader(b []byte) *reader {
	r := &reader{b: b, bad: len(b) > bodyMax}
	if r.byte() != messageVersion {
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

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) flag() bool {
	b := r.byte()
	r.bad = r.bad || b > 1
	return b == 1
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// number is a uvarint up to a most.
func (r *reader) number(most uint64) uint64 {
	v := r.uvarint()
	if v > most {
		r.bad = true
		return 0
	}
	return v
}

// count is the number of items of at least size bytes that follow.
func (r *reader) count(size int) int { return int(r.number(uint64(len(r.b) / size))) }

// point is a purge point.
func (r *reader) point() int64 { return int64(r.number(math.MaxInt64)) }

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// bytes is nil for no bytes.
func (r *reader) bytes() []byte {
	if b := r.take(r.uvarint()); len(b) > 0 {
		return b
	}
	return nil
}

func (r *reader) leaf() record.Leaf {
	l, err := record.ParseLeaf(r.take(record.LeafSize))
	r.bad = r.bad || err != nil
	return l
}

// end checks that the message was whole and no longer.
func (r *reader) end() error {
	if r.bad || len(r.b) > 0 {
		return ErrMessage
	}
	return nil
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func appendFlag(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// Epoch is the catalog version that both sides must serve by.
type Epoch struct{ Generation, Version uint64 }

func (e Epoch) append(dst []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, e.Generation), e.Version)
}

func (r *reader) epoch() Epoch { return Epoch{r.uvarint(), r.uvarint()} }

// Target is what is verified with a peer: a range in a keyspace.
type Target struct {
	Placement int
	ID        token.RangeID
}

const placementsMax = 1 << 16

func (t Target) append(dst []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(t.Placement)), uint64(t.ID))
}

func (r *reader) target() Target {
	return Target{int(r.number(placementsMax)), token.RangeID(r.number(token.Ranges - 1))}
}

// RootsRequest compares roots.
type RootsRequest struct {
	Epoch   Epoch
	Targets []Target
	Roots   []uint64 // one for each
	Points  []int64  // one for each: the purge point, Unix seconds
}

// Encode returns the message.
func (m *RootsRequest) Encode() []byte {
	b := m.Epoch.append([]byte{messageVersion})
	b = binary.AppendUvarint(b, uint64(len(m.Targets)))
	for i, t := range m.Targets {
		b = binary.AppendUvarint(binary.BigEndian.AppendUint64(t.append(b), m.Roots[i]), uint64(m.Points[i]))
	}
	return b
}

// DecodeRootsRequest reads the message; the error is ErrMessage.
func DecodeRootsRequest(b []byte) (m RootsRequest, err error) {
	r := newReader(b)
	m.Epoch = r.epoch()
	for range r.count(2 + 8 + 1) {
		m.Targets = append(m.Targets, r.target())
		m.Roots = append(m.Roots, r.uint64())
		m.Points = append(m.Points, r.point())
	}
	return m, r.end()
}

// Likeness is how a peer's root compares.
type Likeness byte

// How roots compare.
const (
	Alike     Likeness = iota
	Different          // both were hashed
	Unsettled          // the peer has leaves that were written since they were hashed
	Elsewhere          // the peer does not hold it, or not whole
	likenesses
)

// EncodeLikenesses returns the answer to a RootsRequest: one for each root.
func EncodeLikenesses(all []Likeness) []byte {
	b := binary.AppendUvarint([]byte{messageVersion}, uint64(len(all)))
	for _, l := range all {
		b = append(b, byte(l))
	}
	return b
}

// DecodeLikenesses reads the message; the error is ErrMessage.
func DecodeLikenesses(b []byte) (all []Likeness, err error) {
	r := newReader(b)
	for range r.count(1) {
		l := Likeness(r.byte())
		r.bad = r.bad || l >= likenesses
		all = append(all, l)
	}
	return all, r.end()
}

// LeavesRequest asks for a target's leaves, after one, as seen at a purge point.
type LeavesRequest struct {
	Epoch   Epoch
	Target  Target
	Point   int64
	Filling bool // the range is being filled again where the session was begun
	After   *record.Leaf
}

// Encode returns the message.
func (m *LeavesRequest) Encode() []byte {
	b := m.Target.append(m.Epoch.append([]byte{messageVersion}))
	b = appendFlag(appendFlag(binary.AppendUvarint(b, uint64(m.Point)), m.Filling), m.After != nil)
	if m.After != nil {
		b = m.After.Append(b)
	}
	return b
}

// DecodeLeavesRequest reads the message; the error is ErrMessage.
func DecodeLeavesRequest(b []byte) (m LeavesRequest, err error) {
	r := newReader(b)
	m.Epoch, m.Target, m.Point, m.Filling = r.epoch(), r.target(), r.point(), r.flag()
	if r.flag() {
		l := r.leaf()
		m.After = &l
	}
	return m, r.end()
}

// LeavesAnswer is leaves in order. Of those that are not clean no content is sent.
// If the peer's purge point is larger than the question's, it has that alone.
type LeavesAnswer struct {
	Point  int64
	Leaves []record.LeafState
	More   bool
}

// Encode returns the message.
func (m *LeavesAnswer) Encode() []byte {
	b := appendFlag(binary.AppendUvarint([]byte{messageVersion}, uint64(m.Point)), m.More)
	b = binary.AppendUvarint(b, uint64(len(m.Leaves)))
	for i := range m.Leaves {
		l := &m.Leaves[i]
		b = appendFlag(l.Leaf.Append(b), l.Clean)
		if l.Clean {
			b = binary.AppendUvarint(append(b, l.Sum[:]...), l.Keys)
		}
	}
	return b
}

// DecodeLeavesAnswer reads the message; the error is ErrMessage.
func DecodeLeavesAnswer(b []byte) (m LeavesAnswer, err error) {
	r := newReader(b)
	m.Point, m.More = r.point(), r.flag()
	for range r.count(record.LeafSize + 1) {
		l := record.LeafState{Leaf: r.leaf(), Clean: r.flag()}
		if l.Clean {
			copy(l.Sum[:], r.take(uint64(len(l.Sum))))
			l.Keys = r.uvarint()
		}
		if n := len(m.Leaves); n > 0 && m.Leaves[n-1].Compare(l.Leaf) >= 0 {
			r.bad = true
		}
		m.Leaves = append(m.Leaves, l)
	}
	return m, r.end()
}
