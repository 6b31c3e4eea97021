package record

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
)

// RangeTombstone deletes the rows of a partition whose suffix lies from Start
// (inclusive; empty is the beginning) to End (exclusive; nil is open).
type RangeTombstone struct {
	Start, End []byte
	Deletion   Deletion
}

// Head is what a partition has besides its rows. Ranges are canonical: sorted,
// disjoint, as wide as possible, none that the partition's deletion covers.
type Head struct {
	Deletion Deletion // of the whole partition
	Ranges   []RangeTombstone
	Static   Row
}

// IsZero reports that the head says nothing.
func (h *Head) IsZero() bool {
	return h.Deletion.IsZero() && len(h.Ranges) == 0 && h.Static.IsZero()
}

const headVersion = 1

// Flags of a head.
const (
	headDeleted = 1 << 0
	headStatic  = 1 << 1
	headFlags   = headDeleted | headStatic
)

// Append appends the head's canonical encoding; Ranges may be in any form.
func (h *Head) Append(dst []byte) []byte {
	flags := byte(0)
	if !h.Deletion.IsZero() {
		flags |= headDeleted
	}
	if !h.Static.IsZero() {
		flags |= headStatic
	}
	dst = append(dst, headVersion, flags)
	if flags&headDeleted != 0 {
		dst = appendDeletion(dst, h.Deletion)
	}
	ranges := h.Ranges
	if !canonical(ranges, h.Deletion) {
		ranges = normalize(slices.Clone(ranges), h.Deletion)
	}
	dst = binary.AppendUvarint(dst, uint64(len(ranges)))
	for _, r := range ranges {
		dst = appendBytes(dst, r.Start)
		dst = appendEnd(dst, r.End)
		dst = appendDeletion(dst, r.Deletion)
	}
	if flags&headStatic != 0 {
		dst = appendBytes(dst, h.Static.Append(nil))
	}
	return dst
}

func appendDeletion(dst []byte, d Deletion) []byte {
	return appendSigned(appendSigned(dst, d.Timestamp), d.Seconds)
}

// appendEnd writes an exclusive end: length + 1, so that 0 is the open one.
func appendEnd(dst, end []byte) []byte {
	if end == nil {
		return append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(len(end))+1)
	return append(dst, end...)
}

// DecodeHead reads an encoded head into h, which aliases b. The errors are
// ErrPoison and ErrCorrupt.
func DecodeHead(b []byte, h *Head) error {
	*h = Head{Ranges: h.Ranges[:0], Static: Row{Cells: h.Static.Cells[:0]}}
	b, flags, err := takeHeader(b, headVersion, headFlags)
	if err != nil {
		return err
	}
	if flags&headDeleted != 0 {
		if h.Deletion, b, err = takeDeletion(b); err != nil {
			return err
		}
	}
	n, b, err := takeUvarint(b)
	if err != nil || n > uint64(len(b))/4 { // a range has at least four bytes
		return ErrCorrupt
	}
	for range n {
		var r RangeTombstone
		if r, b, err = takeRange(b); err != nil {
			return err
		}
		h.Ranges = append(h.Ranges, r)
	}
	if !canonical(h.Ranges, h.Deletion) {
		return ErrCorrupt
	}
	if flags&headStatic != 0 {
		var static []byte
		if static, b, err = takeBytes(b); err != nil {
			return err
		}
		if err := DecodeRow(static, &h.Static); err != nil || h.Static.IsZero() {
			return ErrCorrupt
		}
	}
	if len(b) > 0 {
		return ErrCorrupt
	}
	return nil
}

func takeDeletion(b []byte) (d Deletion, rest []byte, err error) {
	if d.Timestamp, b, err = takeSigned(b); err != nil {
		return d, nil, err
	}
	if d.Seconds, b, err = takeSigned(b); err != nil {
		return d, nil, err
	}
	if d.IsZero() {
		return d, nil, ErrCorrupt
	}
	return d, b, nil
}

func takeRange(b []byte) (r RangeTombstone, rest []byte, err error) {
	if r.Start, b, err = takeBytes(b); err != nil {
		return r, nil, err
	}
	n, b, err := takeUvarint(b)
	if err != nil || n > uint64(len(b))+1 {
		return r, nil, ErrCorrupt
	}
	if n > 0 {
		r.End, b = b[:n-1:n-1], b[n-1:]
	}
	r.Deletion, b, err = takeDeletion(b)
	return r, b, err
}

// MergeHead merges src into dst, which afterwards aliases both.
func MergeHead(dst *Head, src *Head) {
	dst.add(src)
	dst.Ranges = normalize(dst.Ranges, dst.Deletion)
}

// add merges src into h, except that the ranges are not canonical afterwards.
func (h *Head) add(src *Head) {
	if src.Deletion.Wins(h.Deletion) {
		h.Deletion = src.Deletion
	}
	h.Ranges = append(h.Ranges, src.Ranges...)
	MergeRow(&h.Static, &src.Static)
}

// NoShadow means that nothing is deleted; it is the timestamp of no write.
const NoShadow = math.MinInt64

// ShadowAt returns the largest timestamp of the partition and range deletions
// that cover a suffix, or NoShadow.
func (h *Head) ShadowAt(suffix []byte) int64 {
	shadow := h.Deletion.shadow()
	i, _ := slices.BinarySearchFunc(h.Ranges, suffix, func(r RangeTombstone, s []byte) int {
		if r.End != nil && bytes.Compare(r.End, s) <= 0 {
			return -1
		}
		return 1
	})
	if i < len(h.Ranges) && bytes.Compare(h.Ranges[i].Start, suffix) <= 0 {
		shadow = max(shadow, h.Ranges[i].Deletion.Timestamp)
	}
	return shadow
}

// StaticShadow is the deletion that covers the static row.
func (h *Head) StaticShadow() int64 { return h.Deletion.shadow() }

// canonical reports whether ranges are as normalize would leave them.
func canonical(ranges []RangeTombstone, partition Deletion) bool {
	for i, r := range ranges {
		if r.Deletion.IsZero() || partition.Hides(r.Deletion.Timestamp) {
			return false
		}
		if r.End != nil && bytes.Compare(r.Start, r.End) >= 0 {
			return false
		}
		if i == 0 {
			continue
		}
		before := ranges[i-1]
		if before.End == nil {
			return false
		}
		switch d := bytes.Compare(before.End, r.Start); {
		case d > 0, d == 0 && before.Deletion == r.Deletion:
			return false
		}
	}
	return true
}

// compareEnds orders exclusive ends; nil is after all.
func compareEnds(a, b []byte) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return bytes.Compare(a, b)
}

// normalize brings range tombstones into canonical form: a sweep over their
// bounds that keeps the winning deletion of each piece. It works in place.
func normalize(ranges []RangeTombstone, partition Deletion) []RangeTombstone {
	ranges = slices.DeleteFunc(ranges, func(r RangeTombstone) bool {
		empty := r.End != nil && bytes.Compare(r.Start, r.End) >= 0
		return empty || r.Deletion.IsZero() || partition.Hides(r.Deletion.Timestamp)
	})
	if len(ranges) < 2 {
		return ranges
	}
	slices.SortFunc(ranges, func(a, b RangeTombstone) int { return bytes.Compare(a.Start, b.Start) })
	s := sweep{out: make([]RangeTombstone, 0, len(ranges)+2)}
	for _, r := range ranges {
		s.advance(r.Start)
		s.push(r)
	}
	s.finish()
	return s.out
}

// sweep walks the bounds of sorted ranges. open is a max-heap, by deletion, of
// the ranges begun and not known to have ended; at is where the walk stands.
type sweep struct {
	out  []RangeTombstone
	open []RangeTombstone
	at   []byte
}

// advance emits the pieces up to a bound.
func (s *sweep) advance(to []byte) {
	for len(s.open) > 0 {
		top := s.open[0]
		if top.End != nil && bytes.Compare(top.End, s.at) <= 0 {
			s.pop()
			continue
		}
		if compareEnds(top.End, to) > 0 {
			s.emit(to, top.Deletion)
			break
		}
		s.emit(top.End, top.Deletion)
		s.pop()
	}
	s.at = to
}

// finish emits the pieces after the last bound.
func (s *sweep) finish() {
	for len(s.open) > 0 {
		top := s.open[0]
		s.pop()
		if top.End != nil && bytes.Compare(top.End, s.at) <= 0 {
			continue
		}
		s.emit(top.End, top.Deletion)
		if top.End == nil {
			return // it wins everywhere that is left
		}
	}
}

// emit adds the piece from at to end, joined to its neighbour if that is equal.
func (s *sweep) emit(end []byte, d Deletion) {
	if end != nil && bytes.Compare(s.at, end) >= 0 {
		return
	}
	if n := len(s.out); n > 0 && s.out[n-1].Deletion == d && s.out[n-1].End != nil && bytes.Equal(s.out[n-1].End, s.at) {
		s.out[n-1].End = end
	} else {
		s.out = append(s.out, RangeTombstone{Start: s.at, End: end, Deletion: d})
	}
	s.at = end
}

func (s *sweep) push(r RangeTombstone) {
	s.open = append(s.open, r)
	for i := len(s.open) - 1; i > 0; {
		parent := (i - 1) / 2
		if !s.open[i].Deletion.Wins(s.open[parent].Deletion) {
			return
		}
		s.open[i], s.open[parent] = s.open[parent], s.open[i]
		i = parent
	}
}

func (s *sweep) pop() {
	n := len(s.open) - 1
	s.open[0] = s.open[n]
	s.open = s.open[:n]
	for i := 0; ; {
		child := 2*i + 1
		if child >= n {
			return
		}
		if child+1 < n && s.open[child+1].Deletion.Wins(s.open[child].Deletion) {
			child++
		}
		if !s.open[child].Deletion.Wins(s.open[i].Deletion) {
			return
		}
		s.open[i], s.open[child] = s.open[child], s.open[i]
		i = child
	}
}
