package tree

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/storage"
)

// Span is part of a leaf: the keys after one (nil: from the first) up to and with
// another (nil: to the last), or only those of a partition (nil: of all), as
// record.PartitionOf returns it.
type Span struct {
	Leaf           record.Leaf
	After, Through []byte
	Partition      []byte
}

// Form is how keys are seen.
type Form struct {
	record.PurgeForm
	Strip bool // fragments are shown without what does not count, empty if nothing does
}

// bounds returns the span's keys: from lower (inclusive) to upper (exclusive).
func (s *Span) bounds() (lower, upper []byte) {
	lower, upper = s.Leaf.Bounds()
	if s.Partition != nil {
		lower, upper = s.Leaf.PartitionBounds(s.Partition)
	}
	if s.After != nil {
		lower = append(bytes.Clone(s.After), 0)
	}
	if s.Through != nil {
		upper = append(bytes.Clone(s.Through), 0)
	}
	return lower, upper
}

// Visit takes a key of a walk, with its digest if counts is true: if not, nothing
// of the key is left in canonical form. It returns false to end the walk after it.
type Visit func(key, fragment []byte, sum record.Digest, counts bool) (more bool)

// Limits bound one walk.
type Limits struct {
	Rows  int
	Time  time.Duration
	Loose int // 0: loose keys are not looked for
}

// Walked is how far a walk came.
type Walked struct {
	Through []byte // the last key visited; nil: the span's end was reached
	Rows    int    // visited
	// Oldest and Expires are those of record.Canon.
	Oldest, Expires int64
	// Loose are keys of which a purge would leave less, and the fragments if they
	// are heads; as many as Limits allow, which ends the walk.
	Loose, Heads [][]byte
}

// Walker walks leaves in canonical form. It is reused, by one goroutine at a time.
type Walker struct {
	engine *storage.Engine
	canon  record.Canon

	rows, heads *storage.Cursor
	headsAt     bool   // heads stands on a key
	headsDone   bool   // no key is left
	partition   []byte // that canon's head is of
	headKey     []byte
	last        []byte // the last key that was visited
	suffix      []byte // of the row at hand
	left        []byte // of a fragment that was stripped
}

// NewWalker makes a walker of an engine's rows.
func NewWalker(e *storage.Engine) *Walker { return &Walker{engine: e} }

// Walk visits the keys of a span in order, as they are at one moment, until a
// limit. Errors are those of storage, and storage.ErrCorrupt for what cannot be
// decoded.
func (w *Walker) Walk(s Span, f Form, l Limits, see Visit) (at Walked, err error) {
	lower, upper := s.bounds()
	w.canon.Purge, w.canon.Expired = f.Purge, f.Expired
	w.canon.Oldest, w.canon.Expires = record.Never, record.Never
	if bytes.Compare(lower, upper) >= 0 {
		return Walked{Oldest: record.Never, Expires: record.Never}, nil
	}
	if w.rows, err = w.engine.Cursor(lower, upper); err != nil {
		return at, err
	}
	w.heads, w.headsAt, w.headsDone, w.partition = nil, false, false, w.partition[:0]
	until := time.Now().Add(l.Time)
	end, err := w.each(s.Leaf, lower, f.Strip, func(key, fragment []byte, sum record.Digest, counts bool) bool {
		at.Rows++
		if l.Loose > 0 && w.canon.Loose {
			at.Loose = append(at.Loose, bytes.Clone(key))
			if s.Leaf.Space == record.SpaceHeads {
				at.Heads = append(at.Heads, bytes.Clone(fragment))
			}
		}
		late := at.Rows%64 == 0 && !time.Now().Before(until)
		return see(key, fragment, sum, counts) && at.Rows < l.Rows && !late && (l.Loose == 0 || len(at.Loose) < l.Loose)
	})
	if w.heads != nil {
		err = errors.Join(err, w.heads.Close())
	}
	if err = errors.Join(err, w.rows.Close()); err == nil && !end {
		at.Through = bytes.Clone(w.last)
	}
	at.Oldest, at.Expires = w.canon.Oldest, w.canon.Expires
	return at, err
}

func (w *Walker) each(leaf record.Leaf, lower []byte, strip bool, see Visit) (end bool, err error) {
	if leaf.Space != record.SpaceHeads {
		from, to := leaf.Heads().Bounds()
		if w.heads, err = w.rows.Clone(from, to); err != nil {
			return false, err
		}
	}
	for ok := w.rows.Seek(lower); ok; ok = w.rows.Next() {
		key := w.rows.Key()
		fragment, err := w.rows.Value()
		if err != nil {
			return false, err
		}
		sum, counts, err := w.digest(leaf, key, fragment)
		if err != nil {
			return false, err
		}
		if strip && w.canon.Loose {
			if fragment, err = w.strip(leaf, fragment); err != nil {
				return false, err
			}
		}
		w.last = append(w.last[:0], key...)
		if !see(key, fragment, sum, counts) {
			return false, nil
		}
	}
	return true, w.rows.Err()
}

func (w *Walker) digest(leaf record.Leaf, key, fragment []byte) (sum record.Digest, counts bool, err error) {
	if leaf.Space == record.SpaceHeads {
		sum, counts, err = w.canon.Head(key, fragment)
		return sum, counts, damaged("partition head", err)
	}
	k, err := record.ParseKey(key)
	if err != nil {
		return sum, false, damaged("key", err)
	}
	partition := record.PartitionOf(key, k.Suffix)
	if len(w.partition) == 0 || !bytes.Equal(partition, w.partition) {
		w.partition = append(w.partition[:0], partition...)
		if err := w.enter(leaf.Table); err != nil {
			return sum, false, err
		}
	}
	w.suffix = k.Suffix
	sum, counts, err = w.canon.Row(key, k.Suffix, fragment)
	return sum, counts, damaged("row", err)
}

// strip leaves of the fragment at hand what counts.
func (w *Walker) strip(leaf record.Leaf, fragment []byte) (left []byte, err error) {
	if leaf.Space == record.SpaceHeads {
		w.left, err = w.canon.PurgeHead(w.left[:0], fragment)
		return w.left, damaged("partition head", err)
	}
	w.left, err = w.canon.PurgeRow(w.left[:0], w.suffix, fragment)
	return w.left, damaged("row", err)
}

// enter finds the head of the partition at hand. Heads and rows are in the same
// order, so the cursor over heads only moves on, and rests where there are none.
func (w *Walker) enter(table uint32) error {
	if !w.headsDone && (!w.headsAt || record.ComparePartition(w.heads.Key(), w.partition) < 0) {
		w.headKey = record.AppendHeadOf(w.headKey[:0], table, w.partition)
		w.headsAt = w.heads.Seek(w.headKey)
		w.headsDone = !w.headsAt
		if err := w.heads.Err(); err != nil {
			return err
		}
	}
	if w.headsDone || record.ComparePartition(w.heads.Key(), w.partition) != 0 {
		return damaged("no head", w.canon.SetHead(nil))
	}
	value, err := w.heads.Value()
	if err != nil {
		return err
	}
	return damaged("partition head", w.canon.SetHead(value))
}

// damaged marks what cannot be decoded as corrupt.
func damaged(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("antientropy: %s: %w: %w", what, storage.ErrCorrupt, err)
}
