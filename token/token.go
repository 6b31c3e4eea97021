package token

import "math"

// Token is a position on the ring.
type Token int64

// Min and Max are the ends of the ring.
const (
	Min Token = math.MinInt64
	Max Token = math.MaxInt64
)

// RangeBits and Ranges fix how finely the ring is cut. They are part of the
// stored format.
const (
	RangeBits = 10
	Ranges    = 1 << RangeBits
)

// RangeID names one of the Ranges token ranges, in ring order from Min.
type RangeID uint16

const signBit = 1 << 63

// Of returns the token of a partition key. As in Cassandra, the empty key has
// the smallest token, and the hash math.MinInt64 is moved to math.MaxInt64.
func Of(partitionKey []byte) Token {
	if len(partitionKey) == 0 {
		return Min
	}
	h := int64(murmur3(partitionKey))
	if h == math.MinInt64 {
		return Max
	}
	return Token(h)
}

// Ordinal is the token as an unsigned number in ring order, so that its
// big-endian bytes sort as tokens do.
func (t Token) Ordinal() uint64 { return uint64(t) ^ signBit }

// FromOrdinal is the inverse of Ordinal.
func FromOrdinal(u uint64) Token { return Token(u ^ signBit) }

// Range returns the range that holds the token.
func (t Token) Range() RangeID { return RangeID(t.Ordinal() >> (64 - RangeBits)) }

// First returns the smallest token of the range.
func (r RangeID) First() Token { return FromOrdinal(uint64(r) << (64 - RangeBits)) }

// Last returns the largest token of the range.
func (r RangeID) Last() Token {
	return FromOrdinal(uint64(r)<<(64-RangeBits) | (1<<(64-RangeBits) - 1))
}
