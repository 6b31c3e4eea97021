package antientropy

import (
	"encoding/binary"
	"errors"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/token"
)

// The kinds of calls between nodes.
const (
	kindRoots   = "antientropy.roots"
	kindLeaves  = "antientropy.leaves"
	kindBuckets = "antientropy.buckets"
	kindKeys    = "antientropy.keys"
	kindRows    = "antientropy.rows"
	kindPull    = "antientropy.pull"
)

// messageVersion is the first byte of every message; others are refused.
const messageVersion = 1

// bodyMax bounds a message: an answer may carry one row that alone is larger than
// what this node would put together.
const bodyMax = 8 << 20

var errMessage = errors.New("antientropy: a message cannot be read")

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
		return errMessage
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

// epoch is the catalog version that both sides must serve by.
type epoch struct{ generation, version uint64 }

func (e epoch) append(dst []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, e.generation), e.version)
}

func (r *reader) epoch() epoch { return epoch{r.uvarint(), r.uvarint()} }

// target is what is verified with a peer: a range in a keyspace.
type target struct {
	placement int
	id        token.RangeID
}

const placementsMax = 1 << 16

func (t target) append(dst []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(t.placement)), uint64(t.id))
}

func (r *reader) target() target {
	return target{int(r.number(placementsMax)), token.RangeID(r.number(token.Ranges - 1))}
}

// rootsRequest compares roots.
type rootsRequest struct {
	epoch   epoch
	targets []target
	roots   []uint64 // one for each
}

func (m *rootsRequest) encode() []byte {
	b := m.epoch.append([]byte{messageVersion})
	b = binary.AppendUvarint(b, uint64(len(m.targets)))
	for i, t := range m.targets {
		b = binary.BigEndian.AppendUint64(t.append(b), m.roots[i])
	}
	return b
}

func decodeRootsRequest(b []byte) (m rootsRequest, err error) {
	r := newReader(b)
	m.epoch = r.epoch()
	for range r.count(2 + 8) {
		m.targets = append(m.targets, r.target())
		m.roots = append(m.roots, r.uint64())
	}
	return m, r.end()
}

// likeness is how a peer's root compares.
type likeness byte

const (
	alike     likeness = iota
	different          // both were hashed
	unsettled          // the peer has leaves that were written since they were hashed
	elsewhere          // the peer does not hold it
	likenesses
)

func encodeLikenesses(all []likeness) []byte {
	b := binary.AppendUvarint([]byte{messageVersion}, uint64(len(all)))
	for _, l := range all {
		b = append(b, byte(l))
	}
	return b
}

func decodeLikenesses(b []byte) (all []likeness, err error) {
	r := newReader(b)
	for range r.count(1) {
		l := likeness(r.byte())
		r.bad = r.bad || l >= likenesses
		all = append(all, l)
	}
	return all, r.end()
}

// leavesRequest asks for a target's leaves, after one.
type leavesRequest struct {
	epoch  epoch
	target target
	after  *record.Leaf
}

func (m *leavesRequest) encode() []byte {
	b := m.target.append(m.epoch.append([]byte{messageVersion}))
	b = appendFlag(b, m.after != nil)
	if m.after != nil {
		b = m.after.Append(b)
	}
	return b
}

func decodeLeavesRequest(b []byte) (m leavesRequest, err error) {
	r := newReader(b)
	m.epoch, m.target = r.epoch(), r.target()
	if r.flag() {
		l := r.leaf()
		m.after = &l
	}
	return m, r.end()
}

// leavesAnswer is leaves in order. Of those that are not clean no content is sent.
type leavesAnswer struct {
	leaves []record.LeafState
	more   bool
}

func (m *leavesAnswer) encode() []byte {
	b := appendFlag([]byte{messageVersion}, m.more)
	b = binary.AppendUvarint(b, uint64(len(m.leaves)))
	for i := range m.leaves {
		l := &m.leaves[i]
		b = appendFlag(l.Leaf.Append(b), l.Clean)
		if l.Clean {
			b = binary.AppendUvarint(append(b, l.Sum[:]...), l.Keys)
		}
	}
	return b
}

func decodeLeavesAnswer(b []byte) (m leavesAnswer, err error) {
	r := newReader(b)
	m.more = r.flag()
	for range r.count(record.LeafSize + 1) {
		l := record.LeafState{Leaf: r.leaf(), Clean: r.flag()}
		if l.Clean {
			copy(l.Sum[:], r.take(uint64(len(l.Sum))))
			l.Keys = r.uvarint()
		}
		if n := len(m.leaves); n > 0 && m.leaves[n-1].Compare(l.Leaf) >= 0 {
			r.bad = true
		}
		m.leaves = append(m.leaves, l)
	}
	return m, r.end()
}
