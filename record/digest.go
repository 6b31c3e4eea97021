package record

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// Digest identifies the content of an answer: two replicas with equal digests
// hold the same rows and deletions.
type Digest [16]byte

// Digester computes digests over keys and fragments in their canonical form,
// deletions and expired cells included; of expiring cells the value's hash
// counts, so that a purged value does not differ. It is SHA-256 cut to 16 bytes.
// The zero value is ready for Reset.
type Digester struct {
	sum     hash.Hash
	row     Row
	head    Head
	scratch []byte
	hashes  []byte
}

// Reset starts a new digest.
func (d *Digester) Reset() {
	if d.sum == nil {
		d.sum = sha256.New()
	}
	d.sum.Reset()
}

// AddRow adds a row; key tells it from the others, its suffix for instance. The
// errors are ErrPoison and ErrCorrupt.
func (d *Digester) AddRow(key, fragment []byte) error {
	if err := DecodeRow(fragment, &d.row); err != nil {
		return err
	}
	d.add(key, d.canonicalRow(&d.row))
	return nil
}

// AddHead adds a partition's head; an empty fragment is no head.
func (d *Digester) AddHead(fragment []byte) error {
	if len(fragment) == 0 {
		d.add(nil, nil)
		return nil
	}
	if err := DecodeHead(fragment, &d.head); err != nil {
		return err
	}
	d.shrink(&d.head.Static)
	d.head.Static.shadow()
	d.scratch = d.head.Append(d.scratch[:0])
	d.add(nil, d.scratch)
	return nil
}

// Sum returns the digest of what was added since Reset.
func (d *Digester) Sum() Digest {
	var full [sha256.Size]byte
	return Digest(d.sum.Sum(full[:0])[:len(Digest{})])
}

func (d *Digester) canonicalRow(r *Row) []byte {
	r.shadow()
	d.shrink(r)
	d.scratch = r.Append(d.scratch[:0])
	return d.scratch
}

// shrink replaces the values of expiring cells by their hashes.
func (d *Digester) shrink(r *Row) {
	d.hashes = d.hashes[:0]
	for i := range r.Cells {
		c := &r.Cells[i]
		if c.TTL == 0 || c.Tombstone || c.Hashed {
			continue
		}
		h := c.hash()
		d.hashes = append(d.hashes, h[:]...)
		c.Value, c.Hashed = d.hashes[len(d.hashes)-hashSize:], true
	}
}

func (d *Digester) add(key, value []byte) {
	var lengths [2 * binary.MaxVarintLen64]byte
	n := binary.PutUvarint(lengths[:], uint64(len(key)))
	n += binary.PutUvarint(lengths[n:], uint64(len(value)))
	d.sum.Write(lengths[:n]) // a hash never returns an error
	d.sum.Write(key)
	d.sum.Write(value)
}
