package record

import (
	"bytes"
	"crypto/sha256"
	"slices"
)

// hashSize is what is left of an expired value once it is purged.
const hashSize = 8

// compare orders cells by place: column, then path.
func (c *Cell) compare(o *Cell) int {
	if c.Column != o.Column {
		return int(c.Column) - int(o.Column)
	}
	if len(c.Path)+len(o.Path) == 0 {
		return 0
	}
	return bytes.Compare(c.Path, o.Path)
}

// What a cell is; of equal timestamps the larger wins.
const (
	plain = iota
	expiring
	deleted
)

func (c *Cell) rank() int {
	switch {
	case c.Tombstone:
		return deleted
	case c.TTL > 0:
		return expiring
	default:
		return plain
	}
}

// wins reports whether c, in the same place as o, is the one to keep. The order
// is total on everything that is encoded, so that merging commutes.
func (c *Cell) wins(o *Cell) bool {
	if c.Timestamp != o.Timestamp {
		return c.Timestamp > o.Timestamp
	}
	rank := c.rank()
	if d := rank - o.rank(); d != 0 {
		return d > 0
	}
	if rank == plain {
		return bytes.Compare(c.Value, o.Value) > 0
	}
	if c.Expiry != o.Expiry || rank == deleted {
		return c.Expiry > o.Expiry
	}
	if c.TTL != o.TTL {
		return c.TTL < o.TTL
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
	if l.Timestamp != o.Timestamp {
		return l.Timestamp > o.Timestamp
	}
	if l.TTL == 0 || o.TTL == 0 {
		return l.TTL > o.TTL
	}
	if l.Expiry != o.Expiry {
		return l.Expiry > o.Expiry
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
	return !d.IsZero() && covers(d.Timestamp, timestamp)
}

// shadow is the largest timestamp that the deletion hides.
func (d Deletion) shadow() int64 {
	if d.IsZero() {
		return NoShadow
	}
	return d.Timestamp
}

// covers reports whether a deletion at the timestamp shadow hides a timestamp.
func covers(shadow, timestamp int64) bool {
	return timestamp <= shadow && shadow != NoShadow
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
	if r.hides() {
		r.hide(NoShadow)
	}
}

// hides reports whether shadow has anything to look for.
func (r *Row) hides() bool {
	if !r.Deletion.IsZero() {
		return true
	}
	for i := range r.Cells {
		if len(r.Cells[i].Path) > 0 {
			return true
		}
	}
	return false
}

// hide drops what a deletion at the timestamp shadow hides, the row's own
// deletion included, and then what shadow drops.
func (r *Row) hide(shadow int64) {
	if r.Deletion.IsZero() || covers(shadow, r.Deletion.Timestamp) {
		r.Deletion = Deletion{}
	} else {
		shadow = r.Deletion.Timestamp
	}
	if covers(shadow, r.Liveness.Timestamp) {
		r.Liveness = Liveness{}
	}
	kept := r.Cells[:0]
	whole := -1 // in kept: the last cell without a path
	for i := range r.Cells {
		c := &r.Cells[i]
		if covers(shadow, c.Timestamp) {
			continue
		}
		if whole >= 0 && kept[whole].hidesPart(c) {
			continue
		}
		if len(c.Path) == 0 {
			whole = len(kept)
		}
		kept = append(kept, *c)
	}
	r.Cells = kept
}

// hidesPart reports whether c, a cell without a path, hides a part of the same
// collection.
func (c *Cell) hidesPart(part *Cell) bool {
	return c.Column == part.Column && len(part.Path) > 0 && part.Timestamp <= c.Timestamp
}

// canonical reports whether the cells are in order and none of the row is
// hidden by the rest: the only form that is encoded.
func (r *Row) canonical() bool {
	shadow := r.Deletion.shadow()
	if !r.Liveness.IsZero() && covers(shadow, r.Liveness.Timestamp) {
		return false
	}
	var whole *Cell
	for i := range r.Cells {
		c := &r.Cells[i]
		if covers(shadow, c.Timestamp) || i > 0 && r.Cells[i-1].compare(c) >= 0 {
			return false
		}
		if whole != nil && whole.hidesPart(c) {
			return false
		}
		if len(c.Path) == 0 {
			whole = c
		}
	}
	return true
}

// normalized returns a canonical row that means the same, and leaves r alone.
func (r *Row) normalized() *Row {
	n := &Row{Liveness: r.Liveness, Deletion: r.Deletion, Cells: slices.Clone(r.Cells)}
	slices.SortFunc(n.Cells, func(a, b Cell) int {
		if d := a.compare(&b); d != 0 {
			return d
		}
		switch {
		case a.wins(&b):
			return -1
		case b.wins(&a):
			return 1
		default:
			return 0
		}
	})
	n.Cells = slices.CompactFunc(n.Cells, func(a, b Cell) bool { return a.compare(&b) == 0 })
	n.shadow()
	return n
}
