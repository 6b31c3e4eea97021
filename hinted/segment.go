package hinted

import (
	"encoding/binary"
	"time"

	"github.com/dunlindb/dunlin/hinted/form"
	"github.com/dunlindb/dunlin/hlc"
)

// segment is a span of a queue's keys, with what is left in it.
type segment struct {
	first, last uint64 // sequences
	tally
	oldest, newest int64         // times of keeping of the first and last hint, unix microseconds
	born           hlc.Timestamp // smallest; hints that are done still count
	marks          form.Marks
	from           uint64 // replay goes on here: hints below are done and deleted
	sealed         bool   // its summary is stored; nothing is added
	damaged        bool   // it cannot be read, and is skipped
	gone           bool   // it is in no queue any more
}

// The versions of the stored values.
const (
	summaryVersion = 1
	floorVersion   = 1
)

// tally is how much there is of something.
type tally struct{ hints, rows, bytes int64 }

func (t *tally) add(o tally) {
	t.hints, t.rows, t.bytes = t.hints+o.hints, t.rows+o.rows, t.bytes+o.bytes
}

func (t *tally) sub(o tally) {
	t.hints, t.rows, t.bytes = t.hints-o.hints, t.rows-o.rows, t.bytes-o.bytes
}

// sizeOf is what a hint with this key and value counts.
func sizeOf(value []byte, rows int) tally {
	return tally{hints: 1, rows: int64(rows), bytes: int64(hintKeySize + len(value))}
}

// add counts a hint that was kept under seq.
func (s *segment) add(seq uint64, h *form.Hint, size tally) {
	if s.first == 0 {
		s.first, s.from, s.oldest, s.born = seq, seq, h.Created, h.Born
	}
	s.last, s.newest, s.born = seq, h.Created, min(s.born, h.Born)
	s.tally.add(size)
	s.marks.Add(h.Entries)
}

// join adds what was kept after it.
func (s *segment) join(o *segment) {
	s.last, s.newest, s.born = o.last, o.newest, min(s.born, o.born)
	s.tally.add(o.tally)
	s.marks.Merge(&o.marks)
}

// full reports whether the next hint belongs into another segment.
func (s *segment) full(cfg *Config, now time.Time) bool {
	return s.damaged || s.bytes >= cfg.SegmentBytes || s.filledFor(now) >= cfg.segmentSpan()
}

func (s *segment) filledFor(now time.Time) time.Duration {
	return now.Sub(time.UnixMicro(s.oldest))
}

// appendSummary appends version u8 | last u64 | oldest, newest, born i64 | hints,
// rows, bytes uvarint | marks; the key has first.
func appendSummary(dst []byte, s *segment) []byte {
	dst = append(dst, summaryVersion)
	for _, v := range [...]uint64{s.last, uint64(s.oldest), uint64(s.newest), uint64(s.born)} {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	for _, n := range [...]int64{s.hints, s.rows, s.bytes} {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	return s.marks.Append(dst)
}

// decodeSummary is the inverse.
func decodeSummary(first uint64, b []byte) (*segment, error) {
	d := form.Decoder{B: b}
	if d.U8() != summaryVersion {
		return nil, form.ErrEncoding
	}
	s := &segment{first: first, from: first, last: d.U64(), oldest: int64(d.U64()), newest: int64(d.U64()), born: hlc.Timestamp(d.U64()), sealed: true}
	s.hints, s.rows, s.bytes = d.Length(), d.Length(), d.Length()
	s.marks.Take(&d)
	if d.Bad || len(d.B) > 0 || s.last < s.first {
		return nil, form.ErrEncoding
	}
	return s, nil
}
