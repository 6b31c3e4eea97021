package wire

import (
	"math/bits"
	"sync"
)

const (
	minTier = 9  // 512 B
	maxTier = 18 // 256 KiB
)

// BufferPool recycles byte buffers in sizes of powers of two. Its methods are
// those of gRPC's mem.BufferPool, so that a sent buffer comes back when written.
type BufferPool struct {
	tiers [maxTier - minTier + 1]sync.Pool
}

// Get returns a buffer of a length, its contents undefined; large ones are made
// to measure.
func (p *BufferPool) Get(length int) *[]byte {
	tier := max(bits.Len(uint(max(length, 1)-1)), minTier)
	if tier > maxTier {
		b := make([]byte, length)
		return &b
	}
	if b, ok := p.tiers[tier-minTier].Get().(*[]byte); ok {
		*b = (*b)[:length]
		return b
	}
	b := make([]byte, length, 1<<tier)
	return &b
}

// Put takes a buffer back; nobody else may hold it. Buffers that are not of a
// pooled size are left to the garbage collector.
func (p *BufferPool) Put(b *[]byte) {
	if tier := bits.Len(uint(cap(*b))) - 1; tier >= minTier && tier <= maxTier && cap(*b) == 1<<tier {
		p.tiers[tier-minTier].Put(b)
	}
}
