package record

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/dunlindb/dunlin/token"
)

// Leaf names the rows that replicas compare as one: those of a table, a range and,
// in windowed tables, a window; or the partition heads of a table and a range. It
// is a function of a row's key alone, never of how much data there is.
type Leaf struct {
	Range  token.RangeID
	Table  uint32
	Space  Space
	Window uint32 // SpaceWindows only
}

// LeafSize is the length of an encoded leaf.
const LeafSize = 2 + 4 + 1 + 4

// LeafOf returns the leaf of a storage key, without looking at the rest.
func LeafOf(key []byte) (Leaf, bool) {
	space, ok := KeySpace(key)
	t, whole := KeyToken(key)
	if !ok || !whole {
		return Leaf{}, false
	}
	l := Leaf{Range: t.Range(), Table: binary.BigEndian.Uint32(key), Space: space}
	if space == SpaceWindows {
		l.Window = binary.BigEndian.Uint32(key[prefixSize:])
	}
	return l, true
}

// Compare orders leaves by range, table, space and window, as their encodings do.
func (l Leaf) Compare(o Leaf) int {
	return cmp.Or(cmp.Compare(l.Range, o.Range), cmp.Compare(l.Table, o.Table),
		cmp.Compare(l.Space, o.Space), cmp.Compare(l.Window, o.Window))
}

// Append appends the encoded leaf.
func (l Leaf) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(l.Range))
	dst = binary.BigEndian.AppendUint32(dst, l.Table)
	return binary.BigEndian.AppendUint32(append(dst, byte(l.Space)), l.Window)
}

// ParseLeaf reads an encoded leaf; b has exactly LeafSize bytes.
func ParseLeaf(b []byte) (Leaf, error) {
	if len(b) != LeafSize {
		return Leaf{}, fmt.Errorf("record: a leaf of %d bytes: %w", len(b), ErrCorrupt)
	}
	l := Leaf{
		Range: token.RangeID(binary.BigEndian.Uint16(b)), Table: binary.BigEndian.Uint32(b[2:]),
		Space: Space(b[6]), Window: binary.BigEndian.Uint32(b[7:]),
	}
	if l.Range >= token.Ranges || l.Space > SpaceWindows || l.Space != SpaceWindows && l.Window != 0 {
		return Leaf{}, fmt.Errorf("record: leaf %+v: %w", l, ErrCorrupt)
	}
	return l, nil
}

// Bounds returns the smallest key that can be in the leaf, and the first one
// after all of them.
func (l Leaf) Bounds() (lower, upper []byte) {
	prefix := l.prefix()
	lower = AppendTokenPrefix(prefix[:len(prefix):len(prefix)], l.Range.First())
	return lower, after(AppendTokenPrefix(prefix[:len(prefix):len(prefix)], l.Range.Last()))
}

// after turns a prefix of keys into the first key after all that begin with it.
func after(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		prefix[i]++
		if prefix[i] != 0 {
			break // else it carries, into what follows all of those
		}
	}
	return prefix
}

// PartitionBounds returns the bounds of the part of the leaf that is a partition's,
// as PartitionOf returns it.
func (l Leaf) PartitionBounds(partition []byte) (lower, upper []byte) {
	prefix := l.prefix()
	lower = append(prefix[:len(prefix):len(prefix)], partition...)
	return lower, after(append(prefix[:len(prefix):len(prefix)], partition...))
}

func (l Leaf) prefix() []byte {
	if l.Space == SpaceWindows {
		return AppendWindowPrefix(nil, l.Table, l.Window)
	}
	return AppendSpacePrefix(nil, l.Table, l.Space)
}

// Heads returns the leaf with the heads of the leaf's partitions.
func (l Leaf) Heads() Leaf { return Leaf{Range: l.Range, Table: l.Table, Space: SpaceHeads} }

// LeafContent is what a leaf holds in canonical form. Replicas with equal Sum and
// Keys hold the same.
type LeafContent struct {
	Sum   Digest // of the keys' digests: a sum modulo 2^128, so in any order
	Keys  uint64 // that say something
	Bytes uint64 // of all keys and fragments as they are stored here; not compared
	// Oldest: a purge point from there on changes Sum; Never if none does. Expires:
	// values of cells have expired from there on; Never if none do. Not compared.
	Oldest, Expires int64
}

// Equal reports whether two replicas' leaves hold the same.
func (c *LeafContent) Equal(o *LeafContent) bool { return c.Sum == o.Sum && c.Keys == o.Keys }

// Add adds the digest of a key.
func (c *LeafContent) Add(sum Digest) {
	low, carry := bits.Add64(binary.BigEndian.Uint64(c.Sum[8:]), binary.BigEndian.Uint64(sum[8:]), 0)
	high, _ := bits.Add64(binary.BigEndian.Uint64(c.Sum[:]), binary.BigEndian.Uint64(sum[:]), carry)
	binary.BigEndian.PutUint64(c.Sum[:], high)
	binary.BigEndian.PutUint64(c.Sum[8:], low)
	c.Keys++
}

// LeafState is a leaf as its replica knows it.
type LeafState struct {
	Leaf
	LeafContent      // if Clean
	Clean       bool // nothing was written since the content was hashed
	Recent      bool // something was written in this period of settling or the last
}

// LeafCut is a leaf that was hashed since the cut that its ticket stands for.
type LeafCut struct {
	Leaf
	LeafContent
	Ticket uint64
}
