package hinted

import (
	"bytes"
	"testing"

	"github.com/dunlindb/dunlin/hinted/form"
)

// FuzzSummary: decoding never panics, and what it accepts has one encoding.
func FuzzSummary(f *testing.F) {
	s := &segment{}
	s.add(7, &form.Hint{Created: 5, Born: 3, Count: 1, Entries: groupOf(f, 3, 1).Entries}, tally{1, 1, 100})
	f.Add(uint64(7), appendSummary(nil, s))
	f.Fuzz(func(t *testing.T, first uint64, b []byte) {
		s, err := decodeSummary(first, b)
		if err != nil {
			return
		}
		if again := appendSummary(nil, s); !bytes.Equal(again, b) || s.first != first || !s.sealed {
			t.Errorf("%x became %x", b, again)
		}
	})
}

// TestSummary: what a segment knows survives, and junk behind it does not pass.
func TestSummary(t *testing.T) {
	s := &segment{}
	for i := range 20 {
		g := groupOf(t, now(), i)
		h := form.Hint{Created: int64(100 + i), Born: g.Born, Count: 1, Entries: g.Entries}
		s.add(uint64(1000+i), &h, sizeOf(g.Entries, 1))
	}
	b := appendSummary(nil, s)
	got, err := decodeSummary(s.first, b)
	if err != nil || got.first != 1000 || got.from != 1000 || got.last != 1019 || got.oldest != 100 || got.newest != 119 ||
		got.born != s.born || got.tally != s.tally || !bytes.Equal(got.marks.Append(nil), s.marks.Append(nil)) {
		t.Errorf("%+v became %+v, %v", s, got, err)
	}
	for _, bad := range [][]byte{append(bytes.Clone(b), 0), b[:len(b)-1], {}, append([]byte{summaryVersion + 1}, b[1:]...)} {
		if _, err := decodeSummary(s.first, bad); err == nil {
			t.Errorf("%x was accepted", bad)
		}
	}
	if _, err := decodeSummary(s.last+1, b); err == nil {
		t.Error("a segment that ends before it begins was accepted")
	}
}
