package record

import (
	"bytes"
	"slices"
)

// Expired reports whether a time to live has run out at now (Unix seconds).
func expired(ttl uint32, expiry, now int64) bool { return ttl > 0 && expiry <= now }

// Visible reduces a merged row to what a reader may see at now (Unix seconds):
// what is deleted, shadowed by the partition's head (shadow is Head.ShadowAt) or
// expired goes. It reports whether a row is left: a liveness or any value.
func (r *Row) Visible(shadow, now int64) bool {
	r.hide(shadow)
	r.Deletion = Deletion{}
	if expired(r.Liveness.TTL, r.Liveness.Expiry, now) {
		r.Liveness = Liveness{}
	}
	r.Cells = slices.DeleteFunc(r.Cells, func(c Cell) bool {
		return c.Tombstone || c.Hashed || expired(c.TTL, c.Expiry, now)
	})
	return !r.Liveness.IsZero() || len(r.Cells) > 0
}

// LiveAt reports whether Visible would leave a row, and changes nothing.
func (r *Row) LiveAt(shadow, now int64) bool {
	shadow = max(shadow, r.Deletion.shadow())
	if !r.Liveness.IsZero() && !covers(shadow, r.Liveness.Timestamp) && !expired(r.Liveness.TTL, r.Liveness.Expiry, now) {
		return true
	}
	var whole *Cell
	for i := range r.Cells {
		c := &r.Cells[i]
		if len(c.Path) == 0 {
			whole = c
		}
		hidden := covers(shadow, c.Timestamp) || whole != nil && whole.hidesPart(c)
		if !hidden && !c.Tombstone && !c.Hashed && !expired(c.TTL, c.Expiry, now) {
			return true
		}
	}
	return false
}

// Without returns the row without what its own deletion and one at the timestamp
// shadow (Head.ShadowAt) hide; r is left alone.
func (r *Row) Without(shadow int64) Row {
	n := *r
	n.Cells = slices.Clone(r.Cells)
	n.hide(shadow)
	return n
}

// Cell returns the cell of a column without a path, or nil.
func (r *Row) Cell(column uint16) *Cell {
	for i := range r.Cells {
		if c := &r.Cells[i]; c.Column == column && len(c.Path) == 0 {
			return c
		}
	}
	return nil
}

// Conflicts reports whether a row and another version of it have different values
// in a cell that both have.
func (r *Row) Conflicts(other *Row) bool {
	for i := range r.Cells {
		c := &r.Cells[i]
		o := other.Cell(c.Column)
		if o != nil && !c.Tombstone && !o.Tombstone && !c.Hashed && !o.Hashed && !bytes.Equal(c.Value, o.Value) {
			return true
		}
	}
	return false
}
