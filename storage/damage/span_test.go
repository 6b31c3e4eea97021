package damage

import (
	"bytes"
	"slices"
	"sort"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"pgregory.net/rapid"
)

// blocks is an Iterator over keys in blocks, some of which cannot be read.
type blocks struct {
	keys  [][]byte
	block []int // of each key
	bad   map[int]bool
	at    int
	err   error
	fails int
	step  int
}

func (b *blocks) seek(at int) bool {
	b.at, b.err = at, nil
	if at < 0 || at >= len(b.keys) {
		return false
	}
	if b.bad[b.block[at]] {
		b.err, b.at = pebble.ErrCorruption, -1
		b.fails++
		return false
	}
	return true
}

func (b *blocks) find(key []byte) int {
	return sort.Search(len(b.keys), func(i int) bool { return bytes.Compare(b.keys[i], key) >= 0 })
}

func (b *blocks) Seek(key []byte, back bool) bool {
	if b.step = 1; back {
		b.step = -1
		return b.seek(b.find(key) - 1)
	}
	return b.seek(b.find(key))
}

func (b *blocks) Step() bool    { return b.seek(b.at + b.step) }
func (b *blocks) Reopen() error { return nil }

func (b *blocks) At() ([]byte, error) {
	if b.err != nil || b.at < 0 || b.at >= len(b.keys) {
		return nil, b.err
	}
	return b.keys[b.at], nil
}

// TestAroundIsExact: the span goes from the last key that can be read before a
// damaged block to right after the first one behind it, at the cost of few reads
// that fail.
func TestAroundIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &blocks{bad: map[int]bool{}}
		key := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0x7f, 0xfe}), 1, 30)
		b.keys = rapid.SliceOfNDistinct(key, 5, 60, func(k []byte) string { return string(k) }).Draw(t, "keys")
		slices.SortFunc(b.keys, bytes.Compare)
		size := rapid.IntRange(1, 9).Draw(t, "block")
		for i := range b.keys {
			b.block = append(b.block, i/size)
		}
		last := b.block[len(b.keys)-1]
		bad := rapid.IntRange(0, last).Draw(t, "bad")
		b.bad[bad] = true
		first, next := bad*size, min((bad+1)*size, len(b.keys))
		at := b.keys[rapid.IntRange(first, next-1).Draw(t, "at")]
		if first > 0 && rapid.Bool().Draw(t, "as a walk ends") {
			at = append(bytes.Clone(b.keys[first-1]), 0)
		}
		s, found, err := Around(b, at)
		if err != nil || !found {
			t.Fatalf("found %v, %v", found, err)
		}
		lower, upper := []byte{}, end
		if first > 0 {
			lower = b.keys[first-1]
		}
		if next < len(b.keys) {
			upper = append(bytes.Clone(b.keys[next]), 0)
		}
		if first > 0 && !bytes.Equal(s.Lower, lower) || next < len(b.keys) && !bytes.Equal(s.Upper, upper) {
			t.Errorf("[%x, %x), not [%x, %x)", s.Lower, s.Upper, lower, upper)
		}
		if bytes.Compare(s.Lower, b.keys[first]) > 0 || bytes.Compare(s.Upper, b.keys[next-1]) <= 0 {
			t.Errorf("[%x, %x) leaves damage", s.Lower, s.Upper)
		}
		if b.fails > 60 {
			t.Errorf("%d reads failed", b.fails)
		}
	})
}

// TestBetween: what is between two keys is between them, and halving ends.
func TestBetween(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytesOf := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0xff}), 0, 20)
		a, b := bytesOf.Draw(t, "a"), bytesOf.Draw(t, "b")
		if bytes.Compare(a, b) > 0 {
			a, b = b, a
		}
		for n := 0; ; n++ {
			mid := between(b, a)
			if mid == nil {
				return
			}
			if bytes.Compare(mid, a) <= 0 || bytes.Compare(mid, b) >= 0 {
				t.Fatalf("%x is not between %x and %x", mid, a, b)
			}
			if n > 1000 {
				t.Fatalf("halving does not end: %x %x", a, b)
			}
			a = mid
		}
	})
}
