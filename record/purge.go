package record

import "slices"

// PurgeForm says what may go of stored data: Canon's Purge and Expired.
type PurgeForm struct{ Purge, Expired int64 }

// Purged counts what a purge has dropped.
type Purged struct{ Keys, Bytes int }

// PurgeHead appends what is left of a stored head in a form that means the same as
// the head at the purge point: nothing, if nothing is. Until the rows that its
// deletions hide are gone, a replica must keep it as it was. The errors are
// ErrPoison and ErrCorrupt.
func (c *Canon) PurgeHead(dst, fragment []byte) ([]byte, error) {
	d := &c.digester
	d.Reset()
	if err := c.takeHead(fragment); err != nil || d.head.IsZero() {
		return dst, err
	}
	d.hashes = d.hashes[:0]
	c.shrinkExpired(&d.head.Static)
	return d.head.Append(dst), nil
}

// PurgeRow appends what is left of a stored row behind the head, without what the
// head hides and the purge point has passed: nothing, if nothing is. The errors are
// ErrPoison and ErrCorrupt.
func (c *Canon) PurgeRow(dst, suffix, fragment []byte) ([]byte, error) {
	d := &c.digester
	if err := c.takeRow(suffix, fragment); err != nil || d.row.IsZero() {
		return dst, err
	}
	d.hashes = d.hashes[:0]
	c.shrinkExpired(&d.row)
	return d.row.Append(dst), nil
}

// takeHead decodes a head and drops what does not count.
func (c *Canon) takeHead(fragment []byte) error {
	h := &c.digester.head
	if err := DecodeHead(fragment, h); err != nil {
		return err
	}
	before := h.parts()
	h.Static.hide(h.StaticShadow())
	c.purgeHead()
	c.purgeRow(&h.Static)
	c.Loose = h.parts() < before || c.holdsExpired(&h.Static)
	return nil
}

// takeRow decodes a row behind the head and drops what does not count.
func (c *Canon) takeRow(suffix, fragment []byte) error {
	r := &c.digester.row
	if err := DecodeRow(fragment, r); err != nil {
		return err
	}
	before := r.parts()
	r.hide(c.digester.head.ShadowAt(suffix))
	c.purgeRow(r)
	c.Loose = r.parts() < before || c.holdsExpired(r)
	return nil
}

// purgeHead drops the deletions that the purge point has passed. They hide rows
// all the same (SetHead), for as long as some replica has them.
func (c *Canon) purgeHead() {
	if c.Purge <= 0 {
		return
	}
	h := &c.digester.head
	if h.Deletion.Seconds <= c.Purge {
		h.Deletion = Deletion{}
	}
	h.Ranges = slices.DeleteFunc(h.Ranges, func(r RangeTombstone) bool { return r.Deletion.Seconds <= c.Purge })
}

// purgeRow drops the deletions and the expired data that the purge point has passed.
func (c *Canon) purgeRow(r *Row) {
	if c.Purge <= 0 {
		return
	}
	if r.Deletion.Seconds <= c.Purge {
		r.Deletion = Deletion{}
	}
	if r.Liveness.TTL > 0 && r.Liveness.Expiry <= c.Purge {
		r.Liveness = Liveness{}
	}
	r.Cells = slices.DeleteFunc(r.Cells, func(cell Cell) bool {
		return cell.rank() != plain && cell.Expiry <= c.Purge
	})
}

// shrinkable reports whether a cell's value can go up to its hash, once expired.
func (c *Cell) shrinkable() bool {
	return c.rank() == expiring && !c.Hashed && len(c.Value) > hashSize
}

func (c *Canon) shrinks(cell *Cell) bool { return cell.shrinkable() && cell.Expiry <= c.Expired }

func (c *Canon) holdsExpired(r *Row) bool {
	return c.Expired > 0 && slices.ContainsFunc(r.Cells, func(cell Cell) bool { return c.shrinks(&cell) })
}

func (c *Canon) shrinkExpired(r *Row) {
	if c.Expired <= 0 {
		return
	}
	for i := range r.Cells {
		if cell := &r.Cells[i]; c.shrinks(cell) {
			c.digester.shrinkCell(cell)
		}
	}
}

// parts counts what the row says.
func (r *Row) parts() int {
	n := len(r.Cells)
	if !r.Liveness.IsZero() {
		n++
	}
	if !r.Deletion.IsZero() {
		n++
	}
	return n
}

func (h *Head) parts() int {
	n := len(h.Ranges) + h.Static.parts()
	if !h.Deletion.IsZero() {
		n++
	}
	return n
}

// Frees reports whether an encoded head or row only deletes: in time it frees more
// than it takes.
func Frees(space Space, fragment []byte) bool {
	if space == SpaceHeads {
		var h Head
		return DecodeHead(fragment, &h) == nil && h.Static.deletes() && !h.IsZero()
	}
	var r Row
	return DecodeRow(fragment, &r) == nil && r.deletes() && !r.IsZero()
}

// deletes reports whether nothing in the row is alive.
func (r *Row) deletes() bool {
	return r.Liveness.IsZero() && !slices.ContainsFunc(r.Cells, func(c Cell) bool { return !c.Tombstone })
}
