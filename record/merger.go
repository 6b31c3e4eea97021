package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
)

// ErrPoison means that a merge met an operand that this version cannot decode;
// the bytes keep what every operand said.
var ErrPoison = errors.New("record: poisoned by an operand of an unknown encoding")

// poisonVersion is the first byte of poison; their number and the operands follow,
// sorted, unique, each with its length.
const poisonVersion = 0xff

// IsPoison reports whether a merged value keeps operands that could not be merged.
func IsPoison(b []byte) bool { return len(b) > 0 && b[0] == poisonVersion }

// Merger merges the encoded operands of one key, in any order. It is reused:
// Reset, Add each operand, Finish. The zero value is ready for Reset.
type Merger struct {
	space    Space
	count    int
	buffer   []byte // operands, one after another, so that what is decoded stays valid
	bounds   []int  // ends of the operands in buffer
	merged   bool   // row has the merge of the operands so far
	row, in  Row
	head     Head
	incoming Head
}

// Reset starts over with the operands of a key in space.
func (m *Merger) Reset(space Space) {
	m.space, m.count = space, 0
	m.buffer, m.bounds = m.buffer[:0], m.bounds[:0]
}

// Add takes one operand; it is copied.
func (m *Merger) Add(operand []byte) {
	m.count++
	m.buffer = append(m.buffer, operand...)
	m.bounds = append(m.bounds, len(m.buffer))
}

// Finish appends the merge of all operands to dst. A single operand passes
// through untouched. An operand that cannot be decoded makes the result poison.
func (m *Merger) Finish(dst []byte) []byte {
	if m.count == 1 {
		return append(dst, m.buffer...)
	}
	m.begin()
	for i := range m.count {
		if !m.merge(m.operand(i)) {
			return m.poison(dst)
		}
	}
	return m.result(dst)
}

// Retained is about the memory that the merger keeps between uses, in bytes.
func (m *Merger) Retained() int {
	const cellSize, rangeSize = 80, 64
	cells := cap(m.row.Cells) + cap(m.in.Cells) + cap(m.head.Static.Cells) + cap(m.incoming.Static.Cells)
	return cap(m.buffer) + cells*cellSize + (cap(m.head.Ranges)+cap(m.incoming.Ranges))*rangeSize
}

func (m *Merger) operand(i int) []byte {
	from := 0
	if i > 0 {
		from = m.bounds[i-1]
	}
	return m.buffer[from:m.bounds[i]]
}

func (m *Merger) begin() {
	m.merged = false
	m.row = Row{Cells: m.row.Cells[:0]}
	m.head = Head{Ranges: m.head.Ranges[:0], Static: Row{Cells: m.head.Static.Cells[:0]}}
}

// merge adds one operand to the result; false means that it cannot be decoded.
func (m *Merger) merge(operand []byte) bool {
	if m.space == SpaceHeads {
		if DecodeHead(operand, &m.incoming) != nil {
			return false
		}
		m.head.add(&m.incoming) // many ranges are normalized once, at the end
		return true
	}
	in := &m.in
	if !m.merged {
		in = &m.row
	}
	if DecodeRow(operand, in) != nil {
		return false
	}
	if m.merged {
		MergeRow(&m.row, in)
	}
	m.merged = true
	return true
}

func (m *Merger) result(dst []byte) []byte {
	if m.space == SpaceHeads {
		m.head.Ranges = normalize(m.head.Ranges, m.head.Deletion)
		return m.head.Append(dst)
	}
	return m.row.Append(dst)
}

// poison keeps every operand that cannot be decoded, and the merge of the
// others as one more, unpacking poison on the way; sorted and unique, so that
// poisoning obeys the laws of merging too.
func (m *Merger) poison(dst []byte) []byte {
	var all, kept [][]byte
	for i := range m.count {
		all = appendOperands(all, m.operand(i))
	}
	m.begin()
	merged := false
	for _, operand := range all {
		if m.merge(operand) {
			merged = true
			continue
		}
		kept = append(kept, operand)
	}
	if merged {
		kept = append(kept, m.result(nil))
	}
	slices.SortFunc(kept, bytes.Compare)
	kept = slices.CompactFunc(kept, bytes.Equal)
	dst = append(dst, poisonVersion)
	dst = binary.AppendUvarint(dst, uint64(len(kept)))
	for _, k := range kept {
		dst = appendBytes(dst, k)
	}
	return dst
}

// appendOperands unpacks well-formed poison; anything else is one operand.
func appendOperands(kept [][]byte, operand []byte) [][]byte {
	if !IsPoison(operand) {
		return append(kept, operand)
	}
	n, b, err := takeUvarint(operand[1:])
	if err != nil || n > uint64(len(b)) {
		return append(kept, operand)
	}
	var inner [][]byte
	for range n {
		var k []byte
		if k, b, err = takeBytes(b); err != nil {
			return append(kept, operand)
		}
		inner = append(inner, k)
	}
	if len(b) > 0 {
		return append(kept, operand)
	}
	return append(kept, inner...)
}
