package record

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// Digest identifies the content of an answer: two replicas with equal digests
// hold the same rows and deletions.
type Digest [16]byte

// Digester computes digests of what a partition says, in canonical form: what
// its head's deletions hide is left out, since one replica may have dropped it
// already; deletions and expired cells count, since another replica may not know
// them. Of expiring cells the value's hash counts, which outlives a purge. It is
// SHA-256 cut to 16 bytes. Use: Reset, AddHead, AddRow in order, AddEnd after a
// limit, Sum. The zero
// value is ready for Reset.
type Digester struct {
	sum     hash.Hash
	row     Row
	head    Head
	scratch []byte
	hashes  []byte
	lengths [2 * binary.MaxVarintLen64]byte
	full    [sha256.Size]byte
}

// Reset starts a new digest.
func (d *Digester) Reset() {
	if d.sum == nil {
		d.sum = sha256.New()
	}
	d.sum.Reset()
	d.head = Head{Ranges: d.head.Ranges[:0], Static: Row{Cells: d.head.Static.Cells[:0]}}
}

// AddHead adds the partition's head, whose bytes must not change before Sum; an
// empty fragment is no head. The errors are ErrPoison and ErrCorrupt.
func (d *Digester) AddHead(fragment []byte) error {
	d.scratch = d.scratch[:0]
	if len(fragment) > 0 {
		if err := DecodeHead(fragment, &d.head); err != nil {
			return err
		}
		d.head.Static.hide(d.head.StaticShadow())
		d.shrink(&d.head.Static)
		if !d.head.IsZero() {
			d.scratch = d.head.Append(d.scratch)
		}
	}
	d.add(nil, d.scratch)
	return nil
}

// AddRow adds a row of the partition. The errors are ErrPoison and ErrCorrupt.
func (d *Digester) AddRow(suffix, fragment []byte) error {
	if err := DecodeRow(fragment, &d.row); err != nil {
		return err
	}
	d.row.hide(d.head.ShadowAt(suffix))
	if d.row.IsZero() {
		return nil
	}
	d.hashes = d.hashes[:0]
	d.shrink(&d.row)
	d.scratch = d.row.Append(d.scratch[:0])
	d.add(suffix, d.scratch)
	return nil
}

// AddEnd adds where a limit ended an answer: the suffix of its last row, hidden
// or not. Answers that a limit ended agree only as far as both went.
func (d *Digester) AddEnd(suffix []byte) { d.add(suffix, nil) }

// Sum returns the digest of what was added since Reset.
func (d *Digester) Sum() Digest {
	return Digest(d.sum.Sum(d.full[:0])[:len(Digest{})])
}

// shrink replaces the values of expiring cells by their hashes.
func (d *Digester) shrink(r *Row) {
	for i := range r.Cells {
		if c := &r.Cells[i]; c.rank() == expiring && !c.Hashed {
			d.shrinkCell(c)
		}
	}
}

func (d *Digester) shrinkCell(c *Cell) {
	h := c.hash()
	d.hashes = append(d.hashes, h[:]...)
	c.Value, c.Hashed = d.hashes[len(d.hashes)-hashSize:], true
}

func (d *Digester) add(key, value []byte) {
	n := binary.PutUvarint(d.lengths[:], uint64(len(key)))
	n += binary.PutUvarint(d.lengths[n:], uint64(len(value)))
	d.sum.Write(d.lengths[:n]) // a hash never returns an error
	d.sum.Write(key)
	d.sum.Write(value)
}
