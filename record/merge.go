package record

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"slices"
)

// hashSize is what is left of an expired value once it is purged.
const hashSize = 8

// compare orders cells by place: column, then path.
func (c *Cell) compare(o *Cell) int {
	if d := cmp.Compare(c.Column, o.Column); d != 0 {
		return d
	}
	return bytes.Compare(c.Path, o.Path)
}

// rank orders tombstone over expiring over plain.
func (c *Cell) rank() int {
	switch {
	case c.Tombstone:
		return 2
	case c.TTL > 0:
		return 1
	default:
		return 0
	}
}

// wins reports whether c, in the same place as o, is the one to keep. The order
// is total on everything that is encoded, so that merging commutes.
func (c *Cell) wins(o *Cell) bool {
	if d := cmp.Compare(c.Timestamp, o.Timestamp); d != 0 {
		return d > 0
	}
	if d := cmp.Compare(c.rank(), o.rank()); d != 0 {
		return d > 0
	}
	if d := cmp.Compare(c.Expiry, o.Expiry); d != 0 {
		return d > 0
	}
	if d := cmp.Compare(o.TTL, c.TTL); d != 0 {
		return d > 0
	}
	if c.rank() != 1 {
		return bytes.Compare(c.Value, o.Value) > 0
	}
	ch, oh := c.hash(), o.hash()
	if d := bytes.Compare(ch[:], oh[:]); d != 0 {
		return d > 0
	}
	if c.Hashed != o.Hashed {
		return o.Hashed // equal hashes: the value still says more
	}
	return bytes.Compare(c.Value, o.Value) > 0
}

// hash is the value's hash, which outlives the value of an expired cell.
func (c *Cell) hash() [hashSize]byte {
	if c.Hashed {
		return [hashSize]byte(c.Value)
	}
	sum := sha256.Sum256(c.Value)
	return [hashSize]byte(sum[:hashSize])
}

// wins orders livenesses: later timestamp; expiring over plain; later expiry;
// smaller TTL.
func (l Liveness) wins(o Liveness) bool {
	if l.IsZero() || o.IsZero() {
		return o.IsZero() && !l.IsZero()
	}
	if d := cmp.Compare(l.Timestamp, o.Timestamp); d != 0 {
		return d > 0
	}
	if (l.TTL > 0) != (o.TTL > 0) {
		return l.TTL > 0
	}
	if d := cmp.Compare(l.Expiry, o.Expiry); d != 0 {
		return d > 0
	}
	return l.TTL < o.TTL
}

// Wins reports whether d, of two deletions of the same thing, is the one to keep.
func (d Deletion) Wins(o Deletion) bool {
	if d.IsZero() || o.IsZero() {
		return o.IsZero() && !d.IsZero()
	}
	if d.Timestamp != o.Timestamp {
		return d.Timestamp > o.Timestamp
	}
	return d.Seconds > o.Seconds
}

// Hides reports whether the deletion shadows a timestamp.
func (d Deletion) Hides(timestamp int64) bool {
	return !d.IsZero() && timestamp <= d.Timestamp
}

// MergeRow merges src into dst. Cells of dst afterwards alias both.
func MergeRow(dst *Row, src *Row) {
	if src.Liveness.wins(dst.Liveness) {
		dst.Liveness = src.Liveness
	}
	if src.Deletion.Wins(dst.Deletion) {
		dst.Deletion = src.Deletion
	}
	dst.Cells = mergeCells(dst.Cells, src.Cells)
	dst.shadow()
}

// mergeCells merges the sorted b into the sorted a and returns a, grown.
func mergeCells(a, b []Cell) []Cell {
	switch {
	case len(b) == 0:
		return a
	case len(a) == 0 || a[len(a)-1].compare(&b[0]) < 0:
		return append(a, b...)
	}
	fresh := 0
	for i, j := 0, 0; j < len(b); j++ {
		for i < len(a) && a[i].compare(&b[j]) < 0 {
			i++
		}
		if i < len(a) && a[i].compare(&b[j]) == 0 {
			if b[j].wins(&a[i]) {
				a[i] = b[j]
			}
			continue
		}
		fresh++
	}
	if fresh == 0 {
		return a
	}
	return insertCells(a, b, fresh)
}

// insertCells puts the cells of b whose place is new into a, from the end, so
// that nothing is overwritten before it has moved.
func insertCells(a, b []Cell, fresh int) []Cell {
	i, j := len(a)-1, len(b)-1
	a = slices.Grow(a, fresh)[:len(a)+fresh]
	for k := len(a) - 1; j >= 0 && k > i; k-- {
		for j >= 0 && i >= 0 && a[i].compare(&b[j]) == 0 {
			j-- // already merged in place
		}
		if j < 0 {
			break
		}
		if i >= 0 && a[i].compare(&b[j]) > 0 {
			a[k] = a[i]
			i--
			continue
		}
		a[k] = b[j]
		j--
	}
	return a
}

// shadow drops what the row's own deletion hides, and the parts of collections
// that were written no later than the collection as a whole: its tombstone, or
// any other cell without a path, since the winner keeps the largest timestamp.
func (r *Row) shadow() {
	if r.Deletion.Hides(r.Liveness.Timestamp) {
		r.Liveness = Liveness{}
	}
	r.Cells = slices.DeleteFunc(r.Cells, func(c Cell) bool { return r.Deletion.Hides(c.Timestamp) })
	kept := r.Cells[:0]
	var whole *Cell
	for i := range r.Cells {
		c := r.Cells[i]
		if whole != nil && whole.Column == c.Column && c.Timestamp <= whole.Timestamp {
			continue
		}
		kept = append(kept, c)
		if len(c.Path) == 0 {
			whole = &kept[len(kept)-1]
		}
	}
	r.Cells = kept
}
