package antientropy

import (
	"encoding/binary"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/token"
)

// A leaf's keys fall into buckets by the hash of the key: eight at level 1, each
// of which is eight at the next level, down to bucketLevels. A bucket's sum is that
// of the digests of its keys, so that a bucket's is the sum of its eight.
const (
	bucketBits   = 3
	bucketFan    = 1 << bucketBits
	bucketLevels = 5
	bucketCount  = 1 << (bucketBits * bucketLevels)
)

// keyHash places a key among the buckets, and stands for it in lists of keys.
// Keys with equal hashes are told apart by their digests.
func keyHash(key []byte) uint64 { return token.Of(key).Ordinal() }

// bucketOf is the bucket of a key hash at a level.
func bucketOf(hash uint64, level int) uint32 {
	return uint32(hash >> (64 - bucketBits*level)) // at level 0 the shift leaves 0
}

// buckets is the sums of a leaf, at the deepest level.
type buckets struct {
	sums [bucketCount]uint64
	keys uint64
}

func (b *buckets) add(key []byte, sum record.Digest) {
	b.sums[bucketOf(keyHash(key), bucketLevels)] += binary.BigEndian.Uint64(sum[:8])
	b.keys++
}

// children returns the sums of the eight buckets of one.
func (b *buckets) children(bucket uint32, level int) (sums [bucketFan]uint64) {
	width := uint32(1) << (bucketBits * (bucketLevels - level - 1))
	at := bucket * bucketFan * width
	for i := range sums {
		for range width {
			sums[i] += b.sums[at]
			at++
		}
	}
	return sums
}

// deepEnough reports whether buckets of a level are small enough to list their
// keys: the next level's sums would cost as much.
func deepEnough(keys uint64, level int) bool {
	return level >= bucketLevels || keys <= 2<<(bucketBits*level)
}

// chosen tells which keys of a leaf are listed.
type chosen struct {
	level   int
	buckets []uint32 // ascending
	set     map[uint32]struct{}
}

// has reports whether a key hash is in one of the buckets.
func (c *chosen) has(hash uint64) bool {
	if c.level == 0 {
		return true
	}
	if c.set == nil {
		c.set = make(map[uint32]struct{}, len(c.buckets))
		for _, b := range c.buckets {
			c.set[b] = struct{}{}
		}
	}
	_, ok := c.set[bucketOf(hash, c.level)]
	return ok
}
