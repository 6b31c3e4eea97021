package storage

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/token"
)

// SliceRequest asks for rows of one partition. Start (inclusive) and End
// (exclusive) bound the encoded clustering columns; nil is open.
type SliceRequest struct {
	Shape      *record.Shape
	Token      token.Token
	Partition  []byte
	Start, End []byte
	Reverse    bool
	MaxRows    int   // rows visible at Now; at least 1
	MaxBytes   int   // the slice ends once it has so many; at least 1
	Now        int64 // Unix seconds; counts what is live, hides nothing
	Floor      uint32
}

// Slice is rows of one partition with their deletions, of one moment.
type Slice struct {
	Head  []byte // the partition's head; empty if there is none
	Rows  []byte // entries (suffix, fragment), in walk order, tombstones included
	Count int    // rows
	Live  int    // rows of them that a reader would see at Now
	More  bool   // a limit ended the slice: rows may remain
}

// partitionEnd is above every suffix, which begin with 0x40 or are empty.
const partitionEnd = 0xff

// Slice reads rows of a partition into out, whose memory it reuses. The errors are
// ErrCorrupt for what cannot be read or decoded, and ErrClosed.
func (e *Engine) Slice(q *SliceRequest, out *Slice) error {
	if !e.gate.Enter() {
		return ErrClosed
	}
	defer e.gate.Leave()
	*out = Slice{Head: out.Head[:0], Rows: out.Rows[:0]}
	s, ok := e.readers.Get().(*slicer)
	if !ok {
		s = &slicer{}
	}
	defer e.readers.Put(s)
	s.q, s.out = q, out
	err := s.read(e)
	s.q, s.out, s.iter = nil, nil, nil
	return err
}

// windowsOf lists the windows that a slice crosses, in walk order; a table without
// windows has one, whose number does not matter.
func (e *Engine) windowsOf(q *SliceRequest) []uint32 {
	if q.Shape.Window == 0 {
		return []uint32{0}
	}
	first, last := q.Shape.WindowBounds(q.Start, q.End)
	all := e.windows.between(q.Shape.Table, first, last, q.Floor)
	if q.Shape.Clustering[0].Desc != q.Reverse {
		all = slices.Clone(all)
		slices.Reverse(all)
	}
	return all
}

// slicer is one slice in progress. Its iterator is made once, so that head and
// rows are of one moment, and is moved by its bounds. (An iterator kept for the
// next slice would show that the old moment.)
type slicer struct {
	q     *SliceRequest
	out   *Slice
	iter  *pebble.Iterator
	state visibility
	lower []byte
	upper []byte
}

func (s *slicer) read(e *Engine) error {
	s.lower = s.q.Shape.AppendHeadKey(s.lower[:0], s.q.Token, s.q.Partition)
	s.upper = append(append(s.upper[:0], s.lower...), 0)
	iter, err := e.rows.NewIter(&pebble.IterOptions{LowerBound: s.lower, UpperBound: s.upper})
	if err != nil {
		return corrupted("storage: slice", err)
	}
	s.iter = iter
	err = s.head()
	if err == nil {
		err = s.rows(e.windowsOf(s.q))
	}
	if closing := iter.Close(); err == nil {
		err = corrupted("storage: slice", closing)
	}
	return err
}

// visibility decides what counts as live, with reused memory.
type visibility struct {
	head record.Head
	row  record.Row
}

// live decodes a fragment and reports whether a reader would see the row.
func (v *visibility) live(suffix, fragment []byte, now int64) (bool, error) {
	if err := record.DecodeRow(fragment, &v.row); err != nil {
		return false, fmt.Errorf("%w: row: %w", ErrCorrupt, err)
	}
	return v.row.LiveAt(v.head.ShadowAt(suffix), now), nil
}

func (v *visibility) setHead(fragment []byte) error {
	if len(fragment) == 0 {
		v.head = record.Head{}
		return nil
	}
	if err := record.DecodeHead(fragment, &v.head); err != nil {
		return fmt.Errorf("%w: partition head: %w", ErrCorrupt, err)
	}
	return nil
}

// head reads the partition's head; most have none, which filters tell.
func (s *slicer) head() error {
	if s.iter.SeekPrefixGE(s.lower) {
		value, err := s.iter.ValueAndErr()
		if err != nil {
			return corrupted("storage: slice", err)
		}
		s.out.Head = append(s.out.Head[:0], value...)
	}
	if err := s.iter.Error(); err != nil {
		return corrupted("storage: slice", err)
	}
	return s.state.setHead(s.out.Head)
}

var errFull = errors.New("the slice is full")

func (s *slicer) rows(windows []uint32) error {
	for _, w := range windows {
		s.lower = s.q.Shape.AppendPartitionPrefix(s.lower[:0], w, s.q.Token, s.q.Partition)
		prefix := len(s.lower)
		s.upper = append(s.upper[:0], s.lower...)
		s.lower = append(s.lower, s.q.Start...)
		if s.q.End != nil {
			s.upper = append(s.upper, s.q.End...)
		} else {
			s.upper = append(s.upper, partitionEnd)
		}
		s.iter.SetBounds(s.lower, s.upper)
		err := s.walk(prefix)
		if errors.Is(err, errFull) {
			s.out.More = true
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// walk adds the rows inside the iterator's bounds.
func (s *slicer) walk(prefix int) error {
	step, ok := s.iter.Next, false
	if s.q.Reverse {
		step, ok = s.iter.Prev, s.iter.Last()
	} else {
		ok = s.iter.First()
	}
	for ; ok; ok = step() {
		if s.out.Live >= max(1, s.q.MaxRows) || len(s.out.Rows) >= max(1, s.q.MaxBytes) {
			return errFull
		}
		fragment, err := s.iter.ValueAndErr()
		if err != nil {
			return corrupted("storage: slice", err)
		}
		suffix := s.iter.Key()[prefix:]
		live, err := s.state.live(suffix, fragment, s.q.Now)
		if err != nil {
			return err
		}
		s.out.Rows = record.AppendEntry(s.out.Rows, suffix, fragment)
		s.out.Count++
		if live {
			s.out.Live++
		}
	}
	return corrupted("storage: slice", s.iter.Error())
}
