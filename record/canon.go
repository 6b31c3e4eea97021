package record

import (
	"bytes"
	"math"
	"slices"
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
	// Oldest is the smallest deletion or expiry that was counted: a purge point
	// from there on changes what was digested. It is the caller's to reset, to Never.
	Oldest int64

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
	if err := DecodeHead(fragment, &d.head); err != nil {
		return Digest{}, false, err
	}
	d.head.Static.hide(d.head.StaticShadow())
	c.purgeHead()
	c.purgeRow(&d.head.Static)
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
	if err := DecodeRow(fragment, &d.row); err != nil {
		return Digest{}, false, err
	}
	d.row.hide(d.head.ShadowAt(suffix))
	c.purgeRow(&d.row)
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
		c.age(r.Cells[i].rank() == plain, r.Cells[i].Expiry)
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
