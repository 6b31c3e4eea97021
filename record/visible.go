package record

import "slices"

// Expired reports whether a time to live has run out at now (Unix seconds).
func expired(ttl uint32, expiry, now int64) bool { return ttl > 0 && expiry <= now }

// Visible reduces a merged row to what a reader may see at now (Unix seconds):
// what is deleted, shadowed by the partition's head (shadow is Head.ShadowAt) or
// expired goes. It reports whether a row is left: a liveness or any value.
func (r *Row) Visible(shadow, now int64) bool {
	if !r.Deletion.IsZero() {
		shadow = max(shadow, r.Deletion.Timestamp)
		r.Deletion = Deletion{}
	}
	if r.Liveness.Timestamp <= shadow || expired(r.Liveness.TTL, r.Liveness.Expiry, now) {
		r.Liveness = Liveness{}
	}
	r.shadow()
	r.Cells = slices.DeleteFunc(r.Cells, func(c Cell) bool {
		return c.Tombstone || c.Hashed || c.Timestamp <= shadow || expired(c.TTL, c.Expiry, now)
	})
	return !r.Liveness.IsZero() || len(r.Cells) > 0
}

// LiveAt reports whether Visible would leave a row, and changes nothing.
func (r *Row) LiveAt(shadow, now int64) bool {
	if !r.Deletion.IsZero() {
		shadow = max(shadow, r.Deletion.Timestamp)
	}
	if !r.Liveness.IsZero() && r.Liveness.Timestamp > shadow && !expired(r.Liveness.TTL, r.Liveness.Expiry, now) {
		return true
	}
	for i := range r.Cells {
		c := &r.Cells[i]
		if !c.Tombstone && !c.Hashed && c.Timestamp > shadow && !expired(c.TTL, c.Expiry, now) && !r.hidden(c) {
			return true
		}
	}
	return false
}

// hidden reports whether the collection as a whole was written no earlier than
// one of its parts.
func (r *Row) hidden(c *Cell) bool {
	if len(c.Path) == 0 {
		return false
	}
	for i := range r.Cells {
		o := &r.Cells[i]
		if o.Column == c.Column && len(o.Path) == 0 && c.Timestamp <= o.Timestamp {
			return true
		}
	}
	return false
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
