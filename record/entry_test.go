package record

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func TestEntriesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 0, 5), rapid.SliceOfN(rapid.Byte(), 120, 140))
		var packed []byte
		var want [][2][]byte
		for range rapid.IntRange(0, 5).Draw(t, "entries") {
			key, value := part.Draw(t, "key"), part.Draw(t, "value")
			packed = AppendEntry(packed, key, value)
			want = append(want, [2][]byte{key, value})
		}
		rest := packed
		for _, w := range want {
			key, value, next, err := NextEntry(rest)
			if err != nil || !bytes.Equal(key, w[0]) || !bytes.Equal(value, w[1]) {
				t.Fatalf("got %x, %x (%v), want %x", key, value, err, w)
			}
			rest = next
		}
		if len(rest) != 0 {
			t.Fatalf("%d bytes are left", len(rest))
		}
	})
}

func TestEntriesThatAreCutOff(t *testing.T) {
	whole := AppendEntry(nil, []byte("key"), []byte("value"))
	for n := range whole {
		if _, _, _, err := NextEntry(whole[:n]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("the first %d bytes of an entry: %v", n, err)
		}
	}
	if _, _, _, err := NextEntry([]byte{0x80, 0x00, 0x00}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a length written longer than needed: %v", err)
	}
}
