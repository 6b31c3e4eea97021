package antientropy

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/storage"
)

// span is part of a leaf: the keys after one (nil: from the first) up to and with
// another (nil: to the last).
type span struct {
	leaf           record.Leaf
	after, through []byte
}

// bounds returns the span's keys: from lower (inclusive) to upper (exclusive).
func (s *span) bounds() (lower, upper []byte) {
	lower, upper = s.leaf.Bounds()
	if s.after != nil {
		lower = append(bytes.Clone(s.after), 0)
	}
	if s.through != nil {
		upper = append(bytes.Clone(s.through), 0)
	}
	return lower, upper
}

// visit takes a key of a walk, with its digest if counts is true: if not, nothing
// of the key is left in canonical form. It returns false to end the walk after it.
type visit func(key, fragment []byte, sum record.Digest, counts bool) (more bool)

// walker walks leaves in canonical form. It is reused, by one goroutine at a time.
type walker struct {
	engine *storage.Engine
	canon  record.Canon

	rows, heads *storage.Cursor
	headsAt     bool   // heads stands on a key
	headsDone   bool   // no key is left
	partition   []byte // that canon's head is of
	headKey     []byte
	last        []byte // the last key that was visited
}

func newWalker(e *storage.Engine) *walker { return &walker{engine: e} }

// piece bounds a walk, in rows and time.
type piece struct {
	rows  int
	until time.Time
}

// more counts a row and reports whether another may follow.
func (p *piece) more() bool {
	p.rows--
	return p.rows > 0 && (p.rows%64 != 0 || time.Now().Before(p.until))
}

// walk visits the keys of a span in order, as they are at one moment. end reports
// that it came to the span's end; otherwise w.last is the last key visited. Errors
// of storage, and storage.ErrCorrupt for what cannot be decoded.
func (w *walker) walk(s span, see visit) (end bool, err error) {
	lower, upper := s.bounds()
	if bytes.Compare(lower, upper) >= 0 {
		return true, nil
	}
	if w.rows, err = w.engine.Cursor(lower, upper); err != nil {
		return false, err
	}
	w.heads, w.headsAt, w.headsDone, w.partition = nil, false, false, w.partition[:0]
	end, err = w.each(s.leaf, lower, see)
	if w.heads != nil {
		err = errors.Join(err, w.heads.Close())
	}
	return end, errors.Join(err, w.rows.Close())
}

func (w *walker) each(leaf record.Leaf, lower []byte, see visit) (end bool, err error) {
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
		w.last = append(w.last[:0], key...)
		if !see(key, fragment, sum, counts) {
			return false, nil
		}
	}
	return true, w.rows.Err()
}

func (w *walker) digest(leaf record.Leaf, key, fragment []byte) (sum record.Digest, counts bool, err error) {
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
	sum, counts, err = w.canon.Row(key, k.Suffix, fragment)
	return sum, counts, damaged("row", err)
}

// enter finds the head of the partition at hand. Heads and rows are in the same
// order, so the cursor over heads only moves on, and rests where there are none.
func (w *walker) enter(table uint32) error {
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
