package record

import "encoding/binary"

// Liveness says that a row exists even without cells (CQL INSERT). The zero
// value is none. TTL is in seconds, 0 for none; Expiry in Unix seconds.
type Liveness struct {
	Timestamp int64
	TTL       uint32
	Expiry    int64
}

// Deletion hides everything with a timestamp at or below its own. The zero
// value is none. Seconds is when it was made, in Unix seconds, from the
// coordinator's clock and never from a client's timestamp.
type Deletion struct {
	Timestamp int64
	Seconds   int64
}

// Cell is one column's value, or its tombstone.
type Cell struct {
	Column    uint16
	Path      []byte // inside a collection; nil for others
	Timestamp int64  // microseconds
	Tombstone bool   // no value; Expiry is the deletion time
	Hashed    bool   // expired and purged: Value is the 8-byte hash of the value
	TTL       uint32 // seconds; 0: does not expire
	Expiry    int64  // Unix seconds; of a tombstone: when it was made
	Value     []byte
}

// Row is a fragment of a row, or a whole one. Cells are sorted by column and
// path once it was encoded or merged.
type Row struct {
	Liveness Liveness
	Deletion Deletion
	Cells    []Cell
}

// IsZero reports that there is no liveness.
func (l Liveness) IsZero() bool { return l == Liveness{} }

// IsZero reports that there is no deletion.
func (d Deletion) IsZero() bool { return d == Deletion{} }

// IsZero reports that the row says nothing.
func (r *Row) IsZero() bool {
	return r.Liveness.IsZero() && r.Deletion.IsZero() && len(r.Cells) == 0
}

const rowVersion = 1

// Flags of a row.
const (
	rowLive     = 1 << 0
	rowExpiring = 1 << 1 // the liveness
	rowDeleted  = 1 << 2
	rowFlags    = rowLive | rowExpiring | rowDeleted
)

// Flags of a cell.
const (
	cellTombstone = 1 << 0
	cellExpiring  = 1 << 1
	cellHashed    = 1 << 2
	cellPath      = 1 << 3
	cellOwnTime   = 1 << 4 // a timestamp delta follows; else the row's base timestamp
	cellFlags     = cellTombstone | cellExpiring | cellHashed | cellPath | cellOwnTime
)

// base is the timestamp that the others are written relative to.
func (r *Row) base() int64 {
	switch {
	case !r.Liveness.IsZero():
		return r.Liveness.Timestamp
	case len(r.Cells) > 0:
		return r.Cells[0].Timestamp
	default:
		return r.Deletion.Timestamp
	}
}

// Append appends the row's canonical encoding, whatever order its cells are in.
func (r *Row) Append(dst []byte) []byte {
	if !r.canonical() {
		r = r.normalized()
	}
	flags := byte(0)
	if !r.Liveness.IsZero() {
		flags |= rowLive
		if r.Liveness.TTL > 0 {
			flags |= rowExpiring
		}
	}
	if !r.Deletion.IsZero() {
		flags |= rowDeleted
	}
	base := r.base()
	dst = appendSigned(append(dst, rowVersion, flags), base)
	if flags&rowExpiring != 0 {
		dst = binary.AppendUvarint(dst, uint64(r.Liveness.TTL))
		dst = appendSigned(dst, r.Liveness.Expiry)
	}
	if flags&rowDeleted != 0 {
		dst = appendSigned(dst, r.Deletion.Timestamp-base)
		dst = appendSigned(dst, r.Deletion.Seconds)
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Cells)))
	for i := range r.Cells {
		dst = r.Cells[i].append(dst, base)
	}
	return dst
}

func (c *Cell) append(dst []byte, base int64) []byte {
	flags := byte(0)
	if c.Tombstone {
		flags |= cellTombstone
	} else if c.TTL > 0 {
		flags |= cellExpiring
		if c.Hashed {
			flags |= cellHashed
		}
	}
	if len(c.Path) > 0 {
		flags |= cellPath
	}
	if c.Timestamp != base {
		flags |= cellOwnTime
	}
	dst = append(binary.AppendUvarint(dst, uint64(c.Column)), flags)
	if flags&cellOwnTime != 0 {
		dst = appendSigned(dst, c.Timestamp-base)
	}
	if flags&cellPath != 0 {
		dst = appendBytes(dst, c.Path)
	}
	if flags&cellTombstone != 0 {
		return appendSigned(dst, c.Expiry)
	}
	if flags&cellExpiring != 0 {
		dst = binary.AppendUvarint(dst, uint64(c.TTL))
		dst = appendSigned(dst, c.Expiry)
	}
	return appendBytes(dst, c.Value)
}

// DecodeRow reads an encoded row into r, whose cells alias b and whose slice of
// cells is reused. The errors are ErrPoison and ErrCorrupt.
func DecodeRow(b []byte, r *Row) error {
	*r = Row{Cells: r.Cells[:0]}
	b, flags, err := takeHeader(b, rowVersion, rowFlags)
	if err != nil {
		return err
	}
	base, b, err := takeSigned(b)
	if err != nil {
		return err
	}
	if b, err = r.takeFixed(b, flags, base); err != nil {
		return err
	}
	n, b, err := takeUvarint(b)
	if err != nil || n > uint64(len(b))/3 { // a cell has at least three bytes
		return ErrCorrupt
	}
	for range n {
		var c Cell
		if b, err = c.take(b, base); err != nil {
			return err
		}
		r.Cells = append(r.Cells, c)
	}
	if len(b) > 0 || r.base() != base || !r.canonical() {
		return ErrCorrupt
	}
	return nil
}

// takeHeader takes version and flags, and refuses what it does not know.
func takeHeader(b []byte, version, known byte) (rest []byte, flags byte, err error) {
	if len(b) < 2 {
		return nil, 0, ErrCorrupt
	}
	if b[0] == poisonVersion {
		return nil, 0, ErrPoison
	}
	if b[0] != version || b[1]&^known != 0 {
		return nil, 0, ErrCorrupt
	}
	return b[2:], b[1], nil
}

func (r *Row) takeFixed(b []byte, flags byte, base int64) (rest []byte, err error) {
	if flags&rowLive != 0 {
		r.Liveness.Timestamp = base
		if flags&rowExpiring != 0 {
			if r.Liveness.TTL, r.Liveness.Expiry, b, err = takeExpiry(b); err != nil {
				return nil, err
			}
		}
	} else if flags&rowExpiring != 0 {
		return nil, ErrCorrupt
	}
	if flags&rowDeleted != 0 {
		var delta int64
		if delta, b, err = takeSigned(b); err != nil {
			return nil, err
		}
		r.Deletion.Timestamp = base + delta
		if r.Deletion.Seconds, b, err = takeSigned(b); err != nil {
			return nil, err
		}
		if r.Deletion.IsZero() {
			return nil, ErrCorrupt
		}
	}
	if flags&rowLive != 0 && r.Liveness.IsZero() {
		return nil, ErrCorrupt
	}
	return b, nil
}

func takeExpiry(b []byte) (ttl uint32, expiry int64, rest []byte, err error) {
	v, b, err := takeUvarint(b)
	if err != nil || v == 0 || v > 1<<32-1 {
		return 0, 0, nil, ErrCorrupt
	}
	expiry, b, err = takeSigned(b)
	return uint32(v), expiry, b, err
}

func (c *Cell) take(b []byte, base int64) (rest []byte, err error) {
	column, b, err := takeUvarint(b)
	if err != nil || column > 1<<16-1 || len(b) == 0 {
		return nil, ErrCorrupt
	}
	flags := b[0]
	b = b[1:]
	c.Column, c.Timestamp = uint16(column), base
	if flags&^cellFlags != 0 {
		return nil, ErrCorrupt
	}
	if flags&cellOwnTime != 0 {
		var delta int64
		if delta, b, err = takeSigned(b); err != nil || delta == 0 {
			return nil, ErrCorrupt
		}
		c.Timestamp += delta
	}
	if flags&cellPath != 0 {
		if c.Path, b, err = takeBytes(b); err != nil || len(c.Path) == 0 {
			return nil, ErrCorrupt
		}
	}
	if flags&cellTombstone != 0 {
		c.Tombstone = true
		c.Expiry, b, err = takeSigned(b)
		if flags&(cellExpiring|cellHashed) != 0 {
			return nil, ErrCorrupt
		}
		return b, err
	}
	if flags&cellExpiring != 0 {
		if c.TTL, c.Expiry, b, err = takeExpiry(b); err != nil {
			return nil, err
		}
	}
	c.Hashed = flags&cellHashed != 0
	c.Value, b, err = takeBytes(b)
	if err != nil || (c.Hashed && (c.TTL == 0 || len(c.Value) != hashSize)) {
		return nil, ErrCorrupt
	}
	return b, nil
}
