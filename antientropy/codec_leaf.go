package antientropy

import (
	"encoding/binary"

	"github.com/dunlindb/dunlin/record"
)

// leafHead begins every request about one leaf.
type leafHead struct {
	epoch   epoch
	target  target
	session uint64
	leaf    record.Leaf
}

func (m *leafHead) append(dst []byte) []byte {
	b := m.target.append(m.epoch.append(dst))
	return m.leaf.Append(binary.BigEndian.AppendUint64(b, m.session))
}

func (r *reader) leafHead() leafHead {
	m := leafHead{r.epoch(), r.target(), r.uint64(), r.leaf()}
	r.bad = r.bad || m.leaf.Range != m.target.id
	return m
}

// appendChosen appends a level and buckets, as differences.
func appendChosen(dst []byte, c *chosen) []byte {
	b := binary.AppendUvarint(append(dst, byte(c.level)), uint64(len(c.buckets)))
	before := uint32(0)
	for _, bucket := range c.buckets {
		b = binary.AppendUvarint(b, uint64(bucket-before))
		before = bucket
	}
	return b
}

func (r *reader) chosen() (c chosen) {
	c.level = int(r.byte())
	r.bad = r.bad || c.level > bucketLevels
	if r.bad {
		return c
	}
	at, most := uint64(0), uint64(1)<<(bucketBits*c.level)
	for i := range r.count(1) {
		d := r.number(most)
		at += d
		if at >= most || i > 0 && d == 0 {
			r.bad = true
			return c
		}
		c.buckets = append(c.buckets, uint32(at))
	}
	return c
}

// bucketsRequest asks for the sums of the next level, below the chosen buckets.
type bucketsRequest struct {
	leafHead
	chosen chosen
}

func (m *bucketsRequest) encode() []byte {
	return appendChosen(m.leafHead.append([]byte{messageVersion}), &m.chosen)
}

func decodeBucketsRequest(b []byte) (m bucketsRequest, err error) {
	r := newReader(b)
	m.leafHead, m.chosen = r.leafHead(), r.chosen()
	r.bad = r.bad || m.chosen.level >= bucketLevels
	return m, r.end()
}

// bucketsAnswer has eight sums for each chosen bucket; none while the peer still
// reads the leaf: then the question is asked again.
type bucketsAnswer struct {
	reading bool
	keys    uint64
	sums    []uint64
}

func (m *bucketsAnswer) encode() []byte {
	b := binary.AppendUvarint(appendFlag([]byte{messageVersion}, m.reading), m.keys)
	b = binary.AppendUvarint(b, uint64(len(m.sums)))
	for _, s := range m.sums {
		b = binary.BigEndian.AppendUint64(b, s)
	}
	return b
}

func decodeBucketsAnswer(b []byte) (m bucketsAnswer, err error) {
	r := newReader(b)
	m.reading, m.keys = r.flag(), r.uvarint()
	for range r.count(8) {
		m.sums = append(m.sums, r.uint64())
	}
	return m, r.end()
}

// spanHead is a leafHead with a part of the leaf. A key is never empty, so that an
// empty one stands for an open end.
type spanHead struct {
	leafHead
	after, through []byte
}

func (m *spanHead) append(dst []byte) []byte {
	return appendBytes(appendBytes(m.leafHead.append(dst), m.after), m.through)
}

func (r *reader) spanHead() spanHead {
	m := spanHead{r.leafHead(), r.bytes(), r.bytes()}
	for _, key := range [][]byte{m.after, m.through} {
		if l, ok := record.LeafOf(key); key != nil && (!ok || l != m.leaf) {
			r.bad = true
		}
	}
	return m
}

func (m *spanHead) span() span { return span{m.leaf, m.after, m.through} }

// keysRequest lists keys of a span that fall into chosen buckets.
type keysRequest struct {
	spanHead
	chosen chosen
}

func (m *keysRequest) encode() []byte {
	return appendChosen(m.spanHead.append([]byte{messageVersion}), &m.chosen)
}

func decodeKeysRequest(b []byte) (m keysRequest, err error) {
	r := newReader(b)
	m.spanHead, m.chosen = r.spanHead(), r.chosen()
	return m, r.end()
}

// keyDigest is a key in a list: the hash of the key, and half of the digest.
type keyDigest struct{ hash, sum uint64 }

// keysAnswer lists all keys that were asked for up to and with through, or to the
// end of the span if that is nil, in key order.
type keysAnswer struct {
	through []byte
	keys    []keyDigest
}

func (m *keysAnswer) encode() []byte {
	b := appendBytes([]byte{messageVersion}, m.through)
	b = binary.AppendUvarint(b, uint64(len(m.keys)))
	for _, k := range m.keys {
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, k.hash), k.sum)
	}
	return b
}

func decodeKeysAnswer(b []byte) (m keysAnswer, err error) {
	r := newReader(b)
	m.through = r.bytes()
	for range r.count(16) {
		m.keys = append(m.keys, keyDigest{r.uint64(), r.uint64()})
	}
	return m, r.end()
}

// rowsRequest asks for the rows of a span whose keys have the hashes. As a pull
// it asks the peer to ask this node for them, and to apply them.
type rowsRequest struct {
	spanHead
	hashes []uint64
}

func (m *rowsRequest) encode() []byte {
	b := m.spanHead.append([]byte{messageVersion})
	b = binary.AppendUvarint(b, uint64(len(m.hashes)))
	for _, h := range m.hashes {
		b = binary.BigEndian.AppendUint64(b, h)
	}
	return b
}

func decodeRowsRequest(b []byte) (m rowsRequest, err error) {
	r := newReader(b)
	m.spanHead = r.spanHead()
	for range r.count(8) {
		m.hashes = append(m.hashes, r.uint64())
	}
	return m, r.end()
}

// rowsAnswer has the rows up to and with through, or to the end of the span if
// that is nil: entries of key and fragment.
type rowsAnswer struct {
	through []byte
	rows    []byte
}

func (m *rowsAnswer) encode() []byte {
	return append(appendBytes([]byte{messageVersion}, m.through), m.rows...)
}

func decodeRowsAnswer(b []byte) (m rowsAnswer, err error) {
	r := newReader(b)
	m.through = r.bytes()
	m.rows, r.b = r.b, nil
	return m, r.end()
}

// pullAnswer says how far the peer has pulled: up to and with through, or to the
// end of the span if that is nil; all of it is synced there.
type pullAnswer struct {
	through     []byte
	rows, bytes uint64
}

func (m *pullAnswer) encode() []byte {
	b := appendBytes([]byte{messageVersion}, m.through)
	return binary.AppendUvarint(binary.AppendUvarint(b, m.rows), m.bytes)
}

func decodePullAnswer(b []byte) (m pullAnswer, err error) {
	r := newReader(b)
	m = pullAnswer{r.bytes(), r.uvarint(), r.uvarint()}
	return m, r.end()
}
