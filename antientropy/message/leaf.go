package message

import (
	"encoding/binary"
	"fmt"

	"github.com/dunlindb/dunlin/antientropy/tree"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/transport"
)

// LeafHead begins every request about one leaf, as seen at a purge point.
type LeafHead struct {
	Epoch   Epoch
	Target  Target
	Session uint64
	Point   int64
	Leaf    record.Leaf
	Filling bool // the range is being filled again where the session was begun
}

// Form is how both sides see keys.
func (m *LeafHead) Form() tree.Form {
	return tree.Form{PurgeForm: record.PurgeForm{Purge: m.Point}}
}

func (m *LeafHead) append(dst []byte) []byte {
	b := m.Target.append(m.Epoch.append(dst))
	b = binary.AppendUvarint(binary.BigEndian.AppendUint64(b, m.Session), uint64(m.Point))
	return appendFlag(m.Leaf.Append(b), m.Filling)
}

func (r *reader) leafHead() LeafHead {
	m := LeafHead{r.epoch(), r.target(), r.uint64(), r.point(), r.leaf(), r.flag()}
	r.bad = r.bad || m.Leaf.Range != m.Target.ID
	return m
}

// appendChosen appends a level and buckets, as differences.
func appendChosen(dst []byte, c *tree.Chosen) []byte {
	b := binary.AppendUvarint(append(dst, byte(c.Level)), uint64(len(c.Buckets)))
	before := uint32(0)
	for _, bucket := range c.Buckets {
		b = binary.AppendUvarint(b, uint64(bucket-before))
		before = bucket
	}
	return b
}

func (r *reader) chosen() (c tree.Chosen) {
	c.Level = int(r.byte())
	r.bad = r.bad || c.Level > tree.Levels
	if r.bad {
		return c
	}
	at, most := uint64(0), uint64(1)<<(tree.Bits*c.Level)
	for i := range r.count(1) {
		d := r.number(most)
		at += d
		if at >= most || i > 0 && d == 0 {
			r.bad = true
			return c
		}
		c.Buckets = append(c.Buckets, uint32(at))
	}
	return c
}

// BucketsRequest asks for the sums of the next level, below the chosen buckets.
type BucketsRequest struct {
	LeafHead
	Chosen tree.Chosen
}

// Encode returns the message.
func (m *BucketsRequest) Encode() []byte {
	return appendChosen(m.LeafHead.append([]byte{messageVersion}), &m.Chosen)
}

// DecodeBucketsRequest reads the message; the error is ErrMessage.
func DecodeBucketsRequest(b []byte) (m BucketsRequest, err error) {
	r := newReader(b)
	m.LeafHead, m.Chosen = r.leafHead(), r.chosen()
	r.bad = r.bad || m.Chosen.Level >= tree.Levels
	return m, r.end()
}

// BucketsAnswer has eight sums for each chosen bucket; none while the peer still
// reads the leaf: then the question is asked again.
type BucketsAnswer struct {
	Reading bool
	Keys    uint64
	Sums    []uint64
}

// Encode returns the message.
func (m *BucketsAnswer) Encode() []byte {
	b := binary.AppendUvarint(appendFlag([]byte{messageVersion}, m.Reading), m.Keys)
	b = binary.AppendUvarint(b, uint64(len(m.Sums)))
	for _, s := range m.Sums {
		b = binary.BigEndian.AppendUint64(b, s)
	}
	return b
}

// DecodeBucketsAnswer reads the message; the error is ErrMessage.
func DecodeBucketsAnswer(b []byte) (m BucketsAnswer, err error) {
	r := newReader(b)
	m.Reading, m.Keys = r.flag(), r.uvarint()
	for range r.count(8) {
		m.Sums = append(m.Sums, r.uint64())
	}
	return m, r.end()
}

// SpanHead is a LeafHead with a part of the leaf. A key is never empty, so that an
// empty one stands for an open end.
type SpanHead struct {
	LeafHead
	After, Through []byte
}

func (m *SpanHead) append(dst []byte) []byte {
	return appendBytes(appendBytes(m.LeafHead.append(dst), m.After), m.Through)
}

func (r *reader) spanHead() SpanHead {
	m := SpanHead{r.leafHead(), r.bytes(), r.bytes()}
	for _, key := range [][]byte{m.After, m.Through} {
		if l, ok := record.LeafOf(key); key != nil && (!ok || l != m.Leaf) {
			r.bad = true
		}
	}
	return m
}

// Span is the part of the leaf.
func (m *SpanHead) Span() tree.Span {
	return tree.Span{Leaf: m.Leaf, After: m.After, Through: m.Through}
}

// KeysRequest lists keys of a span that fall into chosen buckets.
type KeysRequest struct {
	SpanHead
	Chosen tree.Chosen
}

// Encode returns the message.
func (m *KeysRequest) Encode() []byte {
	return appendChosen(m.SpanHead.append([]byte{messageVersion}), &m.Chosen)
}

// DecodeKeysRequest reads the message; the error is ErrMessage.
func DecodeKeysRequest(b []byte) (m KeysRequest, err error) {
	r := newReader(b)
	m.SpanHead, m.Chosen = r.spanHead(), r.chosen()
	return m, r.end()
}

// KeyDigest is a key in a list: the hash of the key, and half of the digest.
type KeyDigest struct{ Hash, Sum uint64 }

// KeysAnswer lists all keys that were asked for up to and with through, or to the
// end of the span if that is nil, in key order.
type KeysAnswer struct {
	Through []byte
	Keys    []KeyDigest
}

// Encode returns the message.
func (m *KeysAnswer) Encode() []byte {
	b := appendBytes([]byte{messageVersion}, m.Through)
	b = binary.AppendUvarint(b, uint64(len(m.Keys)))
	for _, k := range m.Keys {
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, k.Hash), k.Sum)
	}
	return b
}

// DecodeKeysAnswer reads the message; the error is ErrMessage.
func DecodeKeysAnswer(b []byte) (m KeysAnswer, err error) {
	r := newReader(b)
	m.Through = r.bytes()
	for range r.count(16) {
		m.Keys = append(m.Keys, KeyDigest{r.uint64(), r.uint64()})
	}
	return m, r.end()
}

// Differ returns the hashes of keys in theirs that are not the same in ours, and
// the other way round.
func Differ(ours, theirs []KeyDigest) (wanted, offered []uint64) {
	return missing(theirs, ours), missing(ours, theirs)
}

// missing lists the hashes of keys of a that b does not have like that.
func missing(a, b []KeyDigest) (hashes []uint64) {
	if len(a) == 0 {
		return nil
	}
	in := make(map[KeyDigest]struct{}, len(b))
	for _, k := range b {
		in[k] = struct{}{}
	}
	for _, k := range a {
		if _, ok := in[k]; !ok {
			hashes = append(hashes, k.Hash)
		}
	}
	return hashes
}

// RowsRequest asks for the rows of a span whose keys have the hashes. As a pull
// it asks the peer to ask this node for them, and to apply them.
type RowsRequest struct {
	SpanHead
	Hashes []uint64
}

// Encode returns the message.
func (m *RowsRequest) Encode() []byte {
	b := m.SpanHead.append([]byte{messageVersion})
	b = binary.AppendUvarint(b, uint64(len(m.Hashes)))
	for _, h := range m.Hashes {
		b = binary.BigEndian.AppendUint64(b, h)
	}
	return b
}

// Wanted is the hashes, to be looked up.
func (m *RowsRequest) Wanted() map[uint64]struct{} {
	set := make(map[uint64]struct{}, len(m.Hashes))
	for _, h := range m.Hashes {
		set[h] = struct{}{}
	}
	return set
}

// DecodeRowsRequest reads the message; the error is ErrMessage.
func DecodeRowsRequest(b []byte) (m RowsRequest, err error) {
	r := newReader(b)
	m.SpanHead = r.spanHead()
	for range r.count(8) {
		m.Hashes = append(m.Hashes, r.uint64())
	}
	return m, r.end()
}

// RowsAnswer has the rows up to and with through, or to the end of the span if
// that is nil: entries of key and fragment.
type RowsAnswer struct {
	Through []byte
	Rows    []byte
}

// Encode returns the message.
func (m *RowsAnswer) Encode() []byte {
	return append(appendBytes([]byte{messageVersion}, m.Through), m.Rows...)
}

// DecodeRowsAnswer reads the message; the error is ErrMessage.
func DecodeRowsAnswer(b []byte) (m RowsAnswer, err error) {
	r := newReader(b)
	m.Through = r.bytes()
	m.Rows, r.b = r.b, nil
	return m, r.end()
}

// Groups cuts the rows into groups. A peer is not believed: they have to be of the
// leaf, to be asked for, and to be readable. The error is ErrMessage.
func (m *RowsAnswer) Groups(leaf record.Leaf, wanted map[uint64]struct{}) (groups []transport.Group, err error) {
	const groupBytes = 64 << 10
	var canon record.Canon
	if err := canon.SetHead(nil); err != nil {
		return nil, err
	}
	start, count := m.Rows, 0
	cut := func(rest []byte) {
		if count > 0 {
			groups = append(groups, transport.Group{Count: count, Entries: start[:len(start)-len(rest)]})
		}
		start, count = rest, 0
	}
	for rest := m.Rows; len(rest) > 0; {
		key, fragment, next, err := record.NextEntry(rest)
		if err != nil {
			return nil, fmt.Errorf("%w: rows: %w", ErrMessage, err)
		}
		if err := checkRow(&canon, leaf, wanted, key, fragment); err != nil {
			return nil, err
		}
		if count > 0 && len(start)-len(next) > groupBytes {
			cut(rest)
		}
		rest = next
		count++
	}
	cut(nil)
	return groups, nil
}

func checkRow(canon *record.Canon, leaf record.Leaf, wanted map[uint64]struct{}, key, fragment []byte) error {
	k, err := record.ParseKey(key)
	if err != nil {
		return fmt.Errorf("%w: rows: %w", ErrMessage, err)
	}
	at, _ := record.LeafOf(key)
	if _, ok := wanted[tree.KeyHash(key)]; !ok || at != leaf {
		return fmt.Errorf("%w: a row that was not asked for", ErrMessage)
	}
	if leaf.Space == record.SpaceHeads {
		_, _, err = canon.Head(key, fragment)
	} else {
		_, _, err = canon.Row(key, k.Suffix, fragment)
	}
	if err != nil {
		return fmt.Errorf("%w: a row: %w", ErrMessage, err)
	}
	return nil
}

// PullAnswer says how far the peer has pulled: up to and with through, or to the
// end of the span if that is nil; all of it is synced there.
type PullAnswer struct {
	Through     []byte
	Rows, Bytes uint64
}

// Encode returns the message.
func (m *PullAnswer) Encode() []byte {
	b := appendBytes([]byte{messageVersion}, m.Through)
	return binary.AppendUvarint(binary.AppendUvarint(b, m.Rows), m.Bytes)
}

// DecodePullAnswer reads the message; the error is ErrMessage.
func DecodePullAnswer(b []byte) (m PullAnswer, err error) {
	r := newReader(b)
	m = PullAnswer{r.bytes(), r.uvarint(), r.uvarint()}
	return m, r.end()
}
