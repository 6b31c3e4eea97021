package stream

import (
	"bytes"
	"fmt"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
)

// check looks through a page that answers a request, before anything of it is
// stored, and counts its entries. The error is ErrPage.
func check(v *schema.View, q *Request, a *Answer) (rows int, err error) {
	var row record.Row
	var head record.Head
	last := q.After
	for rest := a.Entries; len(rest) > 0; rows++ {
		key, fragment, next, err := record.NextEntry(rest)
		if err != nil {
			return 0, fmt.Errorf("%w: entry %d: %w", ErrPage, rows, err)
		}
		leaf, err := checkKey(v, q, key)
		if err != nil {
			return 0, fmt.Errorf("%w: entry %d: %w", ErrPage, rows, err)
		}
		if last != nil && compareKeys(last, key) >= 0 {
			return 0, fmt.Errorf("%w: entry %d is not in order", ErrPage, rows)
		}
		if leaf.Space == record.SpaceHeads {
			err = record.DecodeHead(fragment, &head)
		} else {
			err = record.DecodeRow(fragment, &row)
		}
		if err != nil {
			return 0, fmt.Errorf("%w: entry %d: %w", ErrPage, rows, err)
		}
		last, rest = key, next
	}
	return rows, checkNext(v, q, a, last)
}

// checkKey checks that a key is of the range, and of a table of the placement.
func checkKey(v *schema.View, q *Request, key []byte) (record.Leaf, error) {
	k, err := record.ParseKey(key)
	if err != nil {
		return record.Leaf{}, err
	}
	leaf, _ := record.LeafOf(key)
	if !covers(v, q.Placement, q.Range, leaf) {
		return leaf, fmt.Errorf("leaf %+v was not asked for", leaf)
	}
	if leaf.Space == record.SpaceWindows {
		if w, err := v.Table(leaf.Table).Shape.WindowOf(k.Suffix); err != nil || w != leaf.Window {
			return leaf, fmt.Errorf("the row is not of window %d", leaf.Window)
		}
	}
	return leaf, nil
}

// checkNext checks that the stream goes on: behind what was asked for, and not
// before the last entry.
func checkNext(v *schema.View, q *Request, a *Answer, last []byte) error {
	if a.Next == nil {
		return nil
	}
	if _, err := checkKey(v, q, a.Next); err != nil {
		return fmt.Errorf("%w: the position: %w", ErrPage, err)
	}
	if last != nil && compareKeys(last, a.Next) > 0 || bytes.Equal(a.Next, q.After) {
		return fmt.Errorf("%w: it does not go on", ErrPage)
	}
	return nil
}
