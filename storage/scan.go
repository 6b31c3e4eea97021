package storage

import (
	"bytes"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/token"
)

// Position is a row's place in token order, over all windows.
type Position struct {
	Token     token.Token
	Partition []byte
	Suffix    []byte // nil: the whole partition
}

// ScanRequest asks for the rows of a table from token From to token To (both
// inclusive), in token order, after a position.
type ScanRequest struct {
	Shape          *record.Shape
	From, To       token.Token
	After          *Position // nil: from the beginning
	PartitionsOnly bool      // names of partitions that have a visible row
	MaxRows        int       // visible rows, or partitions; at least 1
	MaxBytes       int       // at least 1
	Now            int64     // Unix seconds
	Floor          uint32
}

// ScanAnswer is part of a scan. Partitions has an entry (partition key, head) for
// each partition in Rows, before its rows; with PartitionsOnly the value is empty.
// Rows has entries (key, fragment), tombstones included; the key is the row's
// storage key.
type ScanAnswer struct {
	Partitions []byte
	Rows       []byte
	Live       int
	More       bool
	Next       *Position // the position to go on after; set when More is
}

// Scan walks a token range into out, whose memory it reuses. It reads everything
// from one moment. The errors are ErrCorrupt for what cannot be read or decoded,
// and ErrClosed.
func (e *Engine) Scan(q *ScanRequest, out *ScanAnswer) error {
	if !e.gate.Enter() {
		return ErrClosed
	}
	defer e.gate.Leave()
	*out = ScanAnswer{Partitions: out.Partitions[:0], Rows: out.Rows[:0]}
	s := &scan{q: q, out: out}
	err := s.open(e)
	if err == nil {
		err = s.walk()
	}
	if err == nil && out.More {
		err = s.position()
	}
	if closing := s.close(); err == nil {
		err = closing
	}
	return err
}

// scan is one scan in progress: one iterator a window, merged by token,
// partition and suffix. All are clones of the iterator over heads, and so of one
// moment (a snapshot would keep compactions from merging rows).
type scan struct {
	q       *ScanRequest
	out     *ScanAnswer
	sources []*source
	heads   *pebble.Iterator
	state   visibility
	headKey []byte
	head    []byte
	current []byte // token and partition of the partition at hand, as in keys
	last    []byte // key of the last row taken, or named
	whole   bool   // the last one taken is the whole partition
}

// source is one window's iterator. place is the key after the window's prefix:
// token, partition and suffix, which sort alike in all windows.
type source struct {
	iter   *pebble.Iterator
	prefix int
	place  []byte // nil: exhausted
}

func (s *scan) open(e *Engine) (err error) {
	prefix := record.AppendSpacePrefix(nil, s.q.Shape.Table, record.SpaceHeads)
	s.heads, err = e.rows.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: next(prefix)})
	if err != nil {
		return corrupted("storage: scan", err)
	}
	lower := s.start()
	var upper []byte
	if s.q.To != token.Max {
		upper = record.AppendTokenPrefix(nil, s.q.To+1)
	}
	for _, prefix := range s.prefixes(e.windows) {
		bounds := &pebble.IterOptions{LowerBound: slices.Concat(prefix, lower), UpperBound: next(prefix)}
		if upper != nil {
			bounds.UpperBound = slices.Concat(prefix, upper)
		}
		iter, err := s.heads.Clone(pebble.CloneOptions{IterOptions: bounds})
		if err != nil {
			return corrupted("storage: scan", err)
		}
		src := &source{iter: iter, prefix: len(prefix)}
		s.sources = append(s.sources, src)
		if err := src.settle(iter.First()); err != nil {
			return err
		}
	}
	return nil
}

// start is the place at which the scan begins.
func (s *scan) start() []byte {
	a := s.q.After
	if a == nil {
		return record.AppendTokenPrefix(nil, s.q.From)
	}
	place := record.AppendPartition(nil, a.Token, a.Partition)
	if a.Suffix == nil {
		return append(place, partitionEnd)
	}
	return append(append(place, a.Suffix...), 0)
}

func (s *scan) prefixes(w *windows) [][]byte {
	shape := s.q.Shape
	if shape.Window == 0 {
		return [][]byte{record.AppendSpacePrefix(nil, shape.Table, record.SpaceRows)}
	}
	var all [][]byte
	for _, window := range w.between(shape.Table, 0, 1<<32-1, s.q.Floor) {
		all = append(all, record.AppendWindowPrefix(nil, shape.Table, window))
	}
	return all
}

// next is the first key after all keys with a prefix.
func next(prefix []byte) []byte {
	end := slices.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		end[i]++
		if end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

func (src *source) settle(ok bool) error {
	src.place = nil
	if ok {
		src.place = src.iter.Key()[src.prefix:]
		return nil
	}
	return corrupted("storage: scan", src.iter.Error())
}

// least is the source whose row comes next; nil at the end.
func (s *scan) least() *source {
	var best *source
	for _, src := range s.sources {
		if src.place != nil && (best == nil || bytes.Compare(src.place, best.place) < 0) {
			best = src
		}
	}
	return best
}

func (s *scan) walk() error {
	for src := s.least(); src != nil; src = s.least() {
		key, err := record.ParseKey(src.iter.Key())
		if err != nil {
			return errors.Join(ErrCorrupt, err)
		}
		if len(s.out.Rows)+len(s.out.Partitions) >= max(1, s.q.MaxBytes) || s.out.Live >= max(1, s.q.MaxRows) {
			s.out.More = true
			return nil
		}
		if err := s.enter(src, key); err != nil {
			return err
		}
		if s.q.PartitionsOnly {
			err = s.name(src, key)
		} else {
			err = s.add(src, key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// enter reads the head of a partition when its first row comes up.
func (s *scan) enter(src *source, key record.Key) error {
	partition := src.place[:len(src.place)-len(key.Suffix)]
	if bytes.Equal(partition, s.current) {
		return nil
	}
	s.current = append(s.current[:0], partition...)
	s.head = s.head[:0]
	s.headKey = s.q.Shape.AppendHeadKey(s.headKey[:0], key.Token, key.Partition)
	if s.heads.SeekGE(s.headKey) && bytes.Equal(s.heads.Key(), s.headKey) {
		value, err := s.heads.ValueAndErr()
		if err != nil {
			return corrupted("storage: scan", err)
		}
		s.head = append(s.head, value...)
	}
	if err := s.heads.Error(); err != nil {
		return corrupted("storage: scan", err)
	}
	if !s.q.PartitionsOnly {
		s.out.Partitions = record.AppendEntry(s.out.Partitions, key.Partition, s.head)
	}
	return s.state.setHead(s.head)
}

// add adds one row and moves on.
func (s *scan) add(src *source, key record.Key) error {
	fragment, err := src.iter.ValueAndErr()
	if err != nil {
		return corrupted("storage: scan", err)
	}
	live, err := s.state.live(key.Suffix, fragment, s.q.Now)
	if err != nil {
		return err
	}
	s.out.Rows = record.AppendEntry(s.out.Rows, src.iter.Key(), fragment)
	if live {
		s.out.Live++
	}
	s.last = append(s.last[:0], src.iter.Key()...)
	return src.settle(src.iter.Next())
}

// name adds the partition if the row at hand is visible, and then leaves it in
// all windows; else it moves on to the partition's next row.
func (s *scan) name(src *source, key record.Key) error {
	fragment, err := src.iter.ValueAndErr()
	if err != nil {
		return corrupted("storage: scan", err)
	}
	live, err := s.state.live(key.Suffix, fragment, s.q.Now)
	if err != nil {
		return err
	}
	if !live {
		return src.settle(src.iter.Next())
	}
	s.out.Partitions = record.AppendEntry(s.out.Partitions, key.Partition, nil)
	s.out.Live++
	s.last, s.whole = append(s.last[:0], src.iter.Key()...), true
	return s.leave()
}

// leave moves every source past the current partition.
func (s *scan) leave() error {
	for _, src := range s.sources {
		if src.place == nil || !bytes.HasPrefix(src.place, s.current) {
			continue
		}
		target := append(slices.Clone(src.iter.Key()[:src.prefix]), s.current...)
		if err := src.settle(src.iter.SeekGE(append(target, partitionEnd))); err != nil {
			return err
		}
	}
	return nil
}

// position says where to go on.
func (s *scan) position() error {
	key, err := record.ParseKey(s.last)
	if err != nil {
		return errors.Join(ErrCorrupt, err)
	}
	s.out.Next = &Position{Token: key.Token, Partition: bytes.Clone(key.Partition)}
	if !s.whole {
		s.out.Next.Suffix = append([]byte{}, key.Suffix...)
	}
	return nil
}

func (s *scan) close() error {
	var errs []error
	for _, src := range s.sources {
		errs = append(errs, corrupted("storage: scan", src.iter.Close()))
	}
	if s.heads != nil {
		errs = append(errs, corrupted("storage: scan", s.heads.Close()))
	}
	return errors.Join(errs...)
}
