package token

import (
	"encoding/binary"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func repeat(b byte, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = b
	}
	return out
}

// TestVectors are Cassandra's own tokens of the CQL values named.
func TestVectors(t *testing.T) {
	for _, tc := range []struct {
		name string
		key  []byte
		want Token
	}{
		{"int 0", binary.BigEndian.AppendUint32(nil, 0), -3485513579396041028},
		{"int 1", binary.BigEndian.AppendUint32(nil, 1), -4069959284402364209},
		{"bigint 1", binary.BigEndian.AppendUint64(nil, 1), 6292367497774912474},
		{"text a", []byte("a"), -8839064797231613815},
		{"text hello", []byte("hello"), -3758069500696749310},
		{"bytes fe x 8", repeat(0xfe, 8), -8927430733708461935},
		{"bytes 10 x 8", repeat(0x10, 8), 1446172840243228796},
		{"composite (text a, int 1)", []byte{0, 1, 'a', 0, 0, 4, 0, 0, 0, 1, 0}, 8247712171917364652},
		{"empty", nil, math.MinInt64},
	} {
		if got := Of(tc.key); got != tc.want {
			t.Errorf("%s: got %d, want %d", tc.name, got, tc.want)
		}
	}
}

// slowMurmur3 follows the reference source line by line, one byte at a time.
func slowMurmur3(data []byte) uint64 {
	rotl := func(x uint64, r uint) uint64 { return x<<r | x>>(64-r) }
	block := func(b []byte) (k uint64) {
		for i := range 8 {
			k += uint64(b[i]) << (8 * i)
		}
		return k
	}
	var h1, h2 uint64
	blocks := len(data) / 16
	for i := range blocks {
		k1, k2 := block(data[16*i:]), block(data[16*i+8:])
		k1 = rotl(k1*c1, 31) * c2
		h1 = (rotl(h1^k1, 27)+h2)*5 + 0x52dce729
		k2 = rotl(k2*c2, 33) * c1
		h2 = (rotl(h2^k2, 31)+h1)*5 + 0x38495ab5
	}
	tail := data[16*blocks:]
	var k1, k2 uint64
	for i := len(tail) - 1; i >= 0; i-- {
		signed := uint64(int64(int8(tail[i])))
		if i >= 8 {
			k2 ^= signed << (8 * (i - 8))
		} else {
			k1 ^= signed << (8 * i)
		}
	}
	h2 ^= rotl(k2*c2, 33) * c1
	h1 ^= rotl(k1*c1, 31) * c2
	h1 ^= uint64(len(data))
	h2 ^= uint64(len(data))
	h1 += h2
	h2 += h1
	mix := func(k uint64) uint64 {
		k = (k ^ k>>33) * 0xff51afd7ed558ccd
		k = (k ^ k>>33) * 0xc4ceb9fe1a85ec53
		return k ^ k>>33
	}
	return mix(h1) + (mix(h2))
}

func FuzzMurmur3(f *testing.F) {
	f.Add([]byte("0123456789abcdef\xff\x80"))
	f.Fuzz(func(t *testing.T, data []byte) {
		slow := slowMurmur3(data)
		if fast := murmur3(data); fast != slow {
			t.Errorf("%x: %x, reference %x", data, fast, slow)
		}
	})
}

func TestRangesTileTheRing(t *testing.T) {
	if RangeID(0).First() != Min || RangeID(Ranges-1).Last() != Max {
		t.Fatal("the ranges do not reach the ends of the ring")
	}
	for r := RangeID(1); r < Ranges; r++ {
		if r.First() != (r-1).Last()+1 {
			t.Fatalf("a gap before range %d", r)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		tok := Token(rapid.Int64().Draw(t, "token"))
		if r := tok.Range(); tok < r.First() || tok > r.Last() {
			t.Errorf("token %d is not inside its range %d", tok, r)
		}
		if FromOrdinal(tok.Ordinal()) != tok {
			t.Errorf("ordinal of %d does not come back", tok)
		}
		other := Token(rapid.Int64().Draw(t, "other"))
		if (tok < other) != (tok.Ordinal() < other.Ordinal()) {
			t.Errorf("ordinals of %d and %d are not in ring order", tok, other)
		}
	})
}

func BenchmarkOf16(b *testing.B) {
	key := []byte("sensor/000000042")
	b.ReportAllocs()
	for b.Loop() {
		Of(key)
	}
}
