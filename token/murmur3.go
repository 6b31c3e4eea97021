package token

import (
	"encoding/binary"
	"math/bits"
)

const (
	c1 = 0x87c37b91114253d5
	c2 = 0x4cf5ad432745937f
)

// murmur3 is the first half of MurmurHash3_x64_128 with seed 0 (A. Appleby,
// smhasher), with Cassandra's quirk: the bytes of the last, incomplete block are
// taken as signed, so that a byte above 0x7f fills all higher bits.
func murmur3(data []byte) uint64 {
	var h1, h2 uint64
	n := len(data)
	for len(data) >= 16 {
		k1 := binary.LittleEndian.Uint64(data)
		k2 := binary.LittleEndian.Uint64(data[8:])
		data = data[16:]

		h1 ^= mix1(k1)
		h1 = bits.RotateLeft64(h1, 27) + h2
		h1 = h1*5 + 0x52dce729

		h2 ^= mix2(k2)
		h2 = bits.RotateLeft64(h2, 31) + h1
		h2 = h2*5 + 0x38495ab5
	}
	if len(data) > 8 {
		h2 ^= mix2(signedTail(data[8:]))
		data = data[:8]
	}
	if len(data) > 0 {
		h1 ^= mix1(signedTail(data))
	}
	h1 ^= uint64(n)
	h2 ^= uint64(n)
	h1 += h2
	h2 += h1
	h1 = finalize(h1)
	h2 = finalize(h2)
	return h1 + h2
}

// signedTail xors at most eight sign-extended bytes, each at its place.
func signedTail(tail []byte) uint64 {
	var k uint64
	for i, b := range tail {
		k ^= uint64(int64(int8(b))) << (8 * i)
	}
	return k
}

func mix1(k uint64) uint64 { return bits.RotateLeft64(k*c1, 31) * c2 }

func mix2(k uint64) uint64 { return bits.RotateLeft64(k*c2, 33) * c1 }

func finalize(k uint64) uint64 {
	k ^= k >> 33
	k *= 0xff51afd7ed558ccd
	k ^= k >> 33
	k *= 0xc4ceb9fe1a85ec53
	return k ^ k>>33
}
