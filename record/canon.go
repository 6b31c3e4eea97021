package record

import (
	"bytes"
	"math"
)

// Never is later than every deletion and expiry.
const Never int64 = math.MaxInt64

// Canon digests single keys in canonical form, as a Digester does a whole answer:
// equal digests mean equal keys with equal content, however the fragments came to
// be merged. Rows are seen through the head of their partition, so SetHead comes
// before them. Data that Purge allows to be dropped is left out; no clock is read.
// The zero value is ready, and purges nothing.
type Canon struct {
	// Purge is the purge point in Unix seconds: deletions made and data expired at
	// or before it do not count. 0: all count.
	Purge int64
	// Expired lets values of cells go that expired at or before it, in Unix seconds,
	// up to their hashes; 0: none. It changes no digest.
	Expired int64
	// Oldest is the smallest deletion or expiry that was counted: a purge point
	// from there on changes what was digested. It is the caller's to reset, to Never.
	Oldest int64
	// Expires is the smallest expiry after Expired of a cell whose value can go up to
	// its hash. It is the caller's to reset, to Never.
	Expires int64
	// Loose says of the last key that PurgeHead or PurgeRow would leave less of it.
	Loose bool

	digester Digester
	head     []byte // the fragment that digester's head aliases
}

// SetHead takes the head of the rows that follow; an empty fragment is no head.
// It is copied. The errors are ErrPoison and ErrCorrupt.
func (c *Canon) SetHead(fragment []byte) error {
	d := &c.digester
	d.Reset()
	if c.head = append(c.head[:0], fragment...); len(c.head) == 0 {
		return nil
	}
	return DecodeHead(c.head, &d.head)
}

// Head digests a partition's head. ok is false if it says nothing. The errors are
// ErrPoison and ErrCorrupt.
func (c *Canon) Head(key, fragment []byte) (sum Digest, ok bool, err error) {
	d := &c.digester
	d.Reset()
	if err := c.takeHead(fragment); err != nil {
		return Digest{}, false, err
	}
	if d.head.IsZero() {
		return Digest{}, false, nil
	}
	c.age(d.head.Deletion.IsZero(), d.head.Deletion.Seconds)
	for i := range d.head.Ranges {
		c.age(false, d.head.Ranges[i].Deletion.Seconds)
	}
	c.ageRow(&d.head.Static)
	d.hashes = d.hashes[:0]
	d.shrink(&d.head.Static)
	d.scratch = d.head.Append(d.scratch[:0])
	d.add(key, d.scratch)
	return d.Sum(), true, nil
}

// Row digests a row behind the head. ok is false if nothing of it is left. The
// errors are ErrPoison and ErrCorrupt.
func (c *Canon) Row(key, suffix, fragment []byte) (sum Digest, ok bool, err error) {
	d := &c.digester
	d.sum.Reset()
	if err := c.takeRow(suffix, fragment); err != nil {
		return Digest{}, false, err
	}
	if d.row.IsZero() {
		return Digest{}, false, nil
	}
	c.ageRow(&d.row)
	d.hashes = d.hashes[:0]
	d.shrink(&d.row)
	d.scratch = d.row.Append(d.scratch[:0])
	d.add(key, d.scratch)
	return d.Sum(), true, nil
}

// age lowers Oldest to a time, unless there is none.
func (c *Canon) age(none bool, seconds int64) {
	if !none {
		c.Oldest = min(c.Oldest, seconds)
	}
}

func (c *Canon) ageRow(r *Row) {
	c.age(r.Deletion.IsZero(), r.Deletion.Seconds)
	c.age(r.Liveness.TTL == 0, r.Liveness.Expiry)
	for i := range r.Cells {
		cell := &r.Cells[i]
		c.age(cell.rank() == plain, cell.Expiry)
		if cell.shrinkable() && cell.Expiry > c.Expired {
			c.Expires = min(c.Expires, cell.Expiry)
		}
	}
}

// PartitionOf returns the part of a row's or head's key that its partition's keys
// have in common: token and partition key. The key was parsed before.
func PartitionOf(key []byte, suffix []byte) []byte {
	at := prefixSize
	if Space(key[4]) == SpaceWindows {
		at += windowSize
	}
	return key[at : len(key)-len(suffix)]
}

// AppendHeadOf appends the key of the head of a row's partition, given what
// PartitionOf returned.
func AppendHeadOf(dst []byte, table uint32, partition []byte) []byte {
	return append(AppendSpacePrefix(dst, table, SpaceHeads), partition...)
}

// ComparePartition orders a head's key against a partition, as PartitionOf returns it.
func ComparePartition(headKey, partition []byte) int {
	return bytes.Compare(headKey[prefixSize:], partition)
}
