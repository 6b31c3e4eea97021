package tree

import (
	"encoding/binary"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/token"
)

// A leaf's keys fall into buckets by the hash of the key: eight at level 1, each
// of which is eight at the next level, down to Levels. A bucket's sum is that
// of the digests of its keys, so that a bucket's is the sum of its eight.
const (
	Bits   = 3
	Fan    = 1 << Bits
	Levels = 5
)

// KeyHash places a key among the buckets, and stands for it in lists of keys.
// Keys with equal hashes are told apart by their digests.
func KeyHash(key []byte) uint64 { return token.Of(key).Ordinal() }

// bucketOf is the bucket of a key hash at a level.
func bucketOf(hash uint64, level int) uint32 {
	return uint32(hash >> (64 - Bits*level)) // at level 0 the shift leaves 0
}

// Buckets is the sums of a leaf, at the deepest level.
type Buckets struct {
	Keys uint64
	sums [1 << (Bits * Levels)]uint64
}

// Add adds a key with its digest.
func (b *Buckets) Add(key []byte, sum record.Digest) {
	b.sums[bucketOf(KeyHash(key), Levels)] += binary.BigEndian.Uint64(sum[:8])
	b.Keys++
}

// Children returns the sums of the eight buckets of one.
func (b *Buckets) Children(bucket uint32, level int) (sums [Fan]uint64) {
	width := uint32(1) << (Bits * (Levels - level - 1))
	at := bucket * Fan * width
	for i := range sums {
		for range width {
			sums[i] += b.sums[at]
			at++
		}
	}
	return sums
}

// DeepEnough reports whether buckets of a level are small enough to list their
// keys: the next level's sums would cost as much.
func DeepEnough(keys uint64, level int) bool {
	return level >= Levels || keys <= 2<<(Bits*level)
}

// Chosen tells which keys of a leaf are listed.
type Chosen struct {
	Level   int
	Buckets []uint32 // ascending; at level 0 there is one
	set     map[uint32]struct{}
}

// Has reports whether a key hash is in one of the buckets.
func (c *Chosen) Has(hash uint64) bool {
	if c.Level == 0 {
		return true
	}
	if c.set == nil {
		c.set = make(map[uint32]struct{}, len(c.Buckets))
		for _, b := range c.Buckets {
			c.set[b] = struct{}{}
		}
	}
	_, ok := c.set[bucketOf(hash, c.Level)]
	return ok
}
